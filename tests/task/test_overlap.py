import numpy as np
import pytest

from assay.errors import TaskError
from assay.task.documents import Document
from assay.task.overlap import contained, ids_text, ngram_hashes, refuse_contained, refuse_half, shared_13grams
from assay.task.task import Task
from tests.task.handles import novel


def test_a_shared_run_of_13_tokens_is_found_and_one_of_12_is_not():
    rng = np.random.default_rng(0)
    ours, theirs = rng.integers(4_096, size=400), rng.integers(4_096, size=400)
    assert shared_13grams([ours], [theirs]) == [(0, 388)]
    theirs[100:112] = ours[200:212]
    assert shared_13grams([ours], [theirs]) == [(0, 388)]
    theirs[100:113] = ours[200:213]
    assert shared_13grams([ours], [theirs]) == [(1, 388)]
    theirs[100:120] = ours[200:220]
    assert shared_13grams([ours, rng.integers(4_096, size=50)], [theirs]) == [(8, 388), (0, 38)]


def test_hashes_are_of_the_runs_and_their_order():
    row = np.arange(30)
    hashes = ngram_hashes(row)
    assert len(hashes) == 18
    assert len(np.unique(hashes)) == 18
    assert ngram_hashes(row[5:18])[0] == hashes[5]
    assert ngram_hashes(row[17:4:-1])[0] != hashes[5]
    assert len(ngram_hashes(row[:12])) == 0


def test_overlap_names_the_documents_that_share_text():
    rng = np.random.default_rng(1)
    words = ["river", "stone", "garden", "window", "letter", "morning", "winter", "table", "silver", "bridge"]
    passages = [" ".join(rng.choice(words, size=40)) for _ in range(4)]
    some = " ".join(passages[1].split()[:18])  # half of one is refused
    task = Task.text(novel(), texts=[passages[0], passages[1]], reference=[passages[2] + " " + some, passages[3]])
    found = task.overlap()
    assert found.documents == ()
    assert found.affected == ("texts[1]",)
    assert 0.1 < found.share < 0.25


def test_ids_are_found_within_others_at_any_place_and_only_whole():
    outer = np.array([70_000, 1, 0xD800, 3, 3])
    assert ids_text(outer[1:4]) in ids_text(outer)
    assert ids_text(np.array([1, 3])) not in ids_text(outer)
    assert ids_text(np.array([256])) not in ids_text(np.array([1, 1]))  # bytes 0, 1, 0, 0 at an odd place


def test_the_pair_that_overlaps_is_named_whichever_side_is_longer():
    refuse_contained([("a", "one"), ("b", "two")], [("c", "three"), ("d", "ox")])
    for scored, reference, words in (
        ([("a", "xonex")], [("c", "no"), ("d", "one")], "d stands word for word in a"),
        ([("a", "one")], [("c", "no"), ("d", "xonex")], "a stands word for word in d"),
        ([("a", "one")], [("c", "one")], "a equals c"),
    ):
        with pytest.raises(TaskError, match=f"^the reference overlaps what is scored: {words}$"):
            refuse_contained(scored, reference)
    refuse_contained([("a", "o\0t")], [("b", "xo"), ("c", "ty")])  # a seam between two texts is no text


WORDS = ["the", "river", "a", "stone", "garden", "window", "letter", "morning", "winter", "table", "silver", "bridge"]
STORIES = [" ".join(np.random.default_rng(i).choice(WORDS, size=80)) for i in range(8)]


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda text: text.replace(" the ", "  the "),
        lambda text: "Once\n" + text.replace(" the ", "\nthe ") + "\nthe end",
        lambda text: "Once " + text.replace(" a ", "\r\n\ta ") + " the end",
    ],
)
def test_a_scored_text_is_found_in_the_reference_however_its_lines_are_broken(rewrite):
    for scored, reference in (
        (STORIES[:3], [STORIES[4], rewrite(STORIES[1])]),
        ([STORIES[0], rewrite(STORIES[1])], [STORIES[4], rewrite(rewrite(STORIES[1]))]),
    ):
        with pytest.raises(TaskError, match=r"overlaps what is scored: texts\[1\] stands word .* in reference\[1\]$|"
                                            r"overlaps what is scored: texts\[1\] equals reference\[1\]$"):  # fmt: skip
            Task.text(novel(), texts=scored, reference=reference)


def test_a_reference_with_half_of_a_scored_document_is_refused_and_one_with_a_third_is_not():
    words = STORIES[1].split()
    for kept, refused in ((60, True), (30, False)):
        reference = [STORIES[4], "once " + " ".join(words[:kept]) + " banana " + STORIES[5]]
        if refused:
            with pytest.raises(
                TaskError, match=r"scored: [67]\d % of the runs of 13 tokens of texts\[1\] stand in it$"
            ):
                Task.text(novel(), texts=STORIES[:3], reference=reference)
        else:
            assert Task.text(novel(), texts=STORIES[:3], reference=reference).overlap().affected == ("texts[1]",)
    scored, other = [np.arange(500, 540), np.arange(1, 141)], np.arange(1_000, 1_040)
    with pytest.raises(TaskError, match=r"scored: 50 % of the runs of 13 tokens of ids\[1\] stand in it$"):
        Task.from_ids(novel(), scored, reference=[np.append(np.arange(1, 77), 900), other])
    assert Task.from_ids(novel(), scored, reference=[np.append(np.arange(1, 76), 900), other]).overlap().shared == 63


def test_short_texts_of_one_template_are_not_refused():
    def made(ids: list[int]) -> list[Document]:
        return [Document(f"texts[{i}]", "text", np.append(np.arange(42), 100 + i)) for i in ids]

    refuse_half(made([0, 1]), made([2]))
    longer = [Document("long", "text", np.append(np.arange(43), 100))]
    with pytest.raises(TaskError, match="96 % of the runs of 13 tokens of long"):
        refuse_half(longer, [Document("other", "text", np.arange(43))])


def test_texts_within_others_are_those_of_the_plain_search():
    rng = np.random.default_rng(2)
    outer = ["".join(rng.choice(list("ab\0"), size=int(n))) for n in rng.integers(1, 400, size=12)]
    inner = ["".join(rng.choice(list("ab"), size=int(n))) for n in rng.integers(0, 12, size=60)]
    inner += [one[3 : 3 + n] for one in outer for n in (20, 60)]
    inner += ["".join(rng.choice(list("ab"), size=int(n))) for n in rng.integers(12, 60, size=20)]
    wanted = [i for i, text in enumerate(inner) if text and any(text in one for one in outer)]
    assert 20 < len(wanted) < len(inner) - 10
    assert list(contained(inner, outer)) == wanted


def test_a_reference_of_texts_beside_a_split_is_compared_too():
    task = Task.text(novel(), split="test", max_documents=3)
    long = [task.tokenizer.decode(task.tokens[task.document == d][task.real[task.document == d]].tolist(),
                                  skip_special_tokens=True) for d in range(3)]  # fmt: skip
    with pytest.raises(TaskError, match="overlaps what is scored: "):
        Task.text(novel(), split="test", max_documents=3, reference=["Once " + text for text in long])
