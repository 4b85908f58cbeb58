import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from assay.errors import TaskError
from assay.task.documents import BLOCK, allocate, spread
from assay.task.examples import DocumentInfo
from assay.task.task import Task
from assay.task.zoo_text import zoo_reference
from tests.task.handles import MODELS, Handle, novel, stories

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def text(number: int, words: int = 40) -> str:
    rng = np.random.default_rng(number)
    return f"Text {number}. " + " ".join(rng.choice(WORDS, size=words)) + "."


TEXTS = [text(i) for i in range(20)]


@pytest.fixture(scope="module")
def test_split() -> Task:
    return Task.text(novel(), split="test")


@pytest.fixture(scope="module")
def sampled() -> Task:
    return Task.text(novel(), max_documents=20)


def rows_of(task: Task, document: int) -> list[list[int]]:
    return [task.tokens[row][task.real[row]].tolist() for row in np.flatnonzero(task.document == document)]


def test_windows_start_with_bos_never_cross_a_document_and_give_it_back():
    model = novel()
    long = [text(100 + i, 500) for i in range(4)]
    task = Task.text(model, texts=long, reference=TEXTS, context=64)
    assert task.tokens.shape[1] == 64
    assert (task.tokens[:, 0] == 0).all()
    assert not task.scored[:, 0].any()
    for index, written in enumerate(long):
        ids = model.tokenizer(written, add_special_tokens=False)["input_ids"]
        joined = [i for row in rows_of(task, index) for i in row[1:]]
        assert joined == ids[: len(joined)]
        assert len(ids) - len(joined) < 16
        assert task.offset[task.document == index].tolist() == [63 * i for i in range(len(rows_of(task, index)))]


def test_tails_under_16_tokens_are_dropped():
    model = novel()
    ids = model.tokenizer(text(7, 300), add_special_tokens=False)["input_ids"]
    for over, rows in ((15, 2), (16, 3)):
        cut = model.tokenizer.decode(ids[: 2 * 63 + over])
        if len(model.tokenizer(cut, add_special_tokens=False)["input_ids"]) != 2 * 63 + over:
            pytest.skip("the text does not tokenise as its tokens")
        task = Task.text(model, texts=[cut], reference=TEXTS, context=64)
        assert len(task.tokens) == rows
        assert task.count == (63 * 2 + over if rows == 3 else 63 * 2)


def test_without_bos_the_first_token_is_read_and_not_scored():
    with_bos = Task.text(novel(), texts=TEXTS, bos=True)
    without = Task.text(novel(), texts=TEXTS, bos=False)
    assert without.tokens.shape[1] == with_bos.tokens.shape[1] - 1
    assert without.real[:, 0].all()
    assert not without.scored[:, 0].any()
    assert without.count == with_bos.count - len(without.tokens)
    assert Task.text(Handle("gpt", novel().tokenizer, None), texts=TEXTS).notes["bos"] is False


def test_padding_is_neither_real_nor_scored():
    task = Task.text(novel(), texts=[text(101, 30), text(102, 60)], reference=TEXTS)
    lengths = task.real.sum(1)
    assert lengths[0] < lengths[1] == task.tokens.shape[1]
    assert torch.equal(task.scored[:, 1:], task.real[:, 1:])
    assert task.last.tolist() == (lengths - 1).tolist()


def test_texts_without_a_reference_are_split_30_to_70_by_content():
    task = Task.text(novel(), texts=TEXTS)
    assert task.reference is not None
    assert len(task.reference.documents) == 6
    assert len(task.documents) == 14
    assert task.description.reference.how == "documents split 30/70 by content hash (reference/scored)"
    shuffled = Task.text(novel(), texts=TEXTS[::-1])
    assert {d.hash for d in shuffled.documents} == {d.hash for d in task.documents}
    assert not {d.hash for d in task.documents} & {d.hash for d in task.reference.documents}
    twice = Task.text(novel(), texts=TEXTS + TEXTS)
    assert twice.reference is not None
    assert not {d.hash for d in twice.documents} & {d.hash for d in twice.reference.documents}


def test_reference_is_as_wide_as_what_is_scored():
    task = Task.text(novel(), texts=[text(1, 30), text(2, 30)], reference=[text(3, 500)])
    assert task.reference is not None
    assert task.reference.tokens.shape[1] == task.tokens.shape[1]
    assert len(task.reference.tokens) > 1


def test_test_split_has_the_documents_and_tokens_that_the_familys_endpoints_store(test_split):
    counts = Counter()
    for row, document in enumerate(test_split.document):
        counts[test_split.documents[document].name] += int(test_split.scored[row].sum())
    stored = json.loads((MODELS / "novel-attn2-rep" / "endpoints.json").read_text())[-1]["documents"]["test"]
    assert dict(counts) == {name: count for name, (_, count) in stored.items() if ":" not in name}
    # a sample takes long modules in pieces, whose losses are stored beside the module's
    assert {name.partition(":")[0] for name in stored if ":" in name} == {n for n, c in counts.items() if c > BLOCK}


def test_zoo_documents_carry_their_stratum(test_split):
    assert set(test_split.strata) == {"en", "fr", "python"}
    unseen = Task.text(novel(), split="unseen", max_documents=6)
    assert set(unseen.strata) == {"en, unseen", "fr, unseen", "python, unseen"}
    assert unseen.documents[0].source == "en"


def test_zoo_reference_is_full_windows_of_training_text_spread_over_works(test_split):
    reference = test_split.reference
    assert reference is not None
    assert len(reference.tokens) == 512
    assert reference.scored[:, 1:].all()
    works = Counter(d.name.partition("@")[0] for d in reference.documents)
    assert len(works) > 80
    assert {d.source for d in reference.documents} == {"en", "fr", "python"}
    assert len({d.hash for d in reference.documents}) == 512
    assert test_split.overlap().documents == ()
    assert test_split.overlap().share < 1e-3


def test_same_seed_gives_the_same_data_and_another_seed_other_data():
    first, same, other = (Task.text(stories(), max_documents=20, seed=seed) for seed in (0, 0, 1))
    assert first.fingerprint == same.fingerprint != other.fingerprint
    assert first.reference is not None
    assert same.reference is not None
    assert other.reference is not None
    assert first.reference.fingerprint == same.reference.fingerprint != other.reference.fingerprint


def test_max_documents_samples_enough_of_every_source_spread_over_works_and_says_so(test_split, sampled):
    task = sampled
    assert len(task.documents) == 20
    assert task.description.sources == {"en": 10, "fr": 5, "python": 5}  # pieces of long modules count
    assert len(set(task.clusters)) >= 17  # works and modules
    assert max(int(task.scored[task.document == i].sum()) for i in range(20)) <= 2_000
    notes = task.description.notes
    assert notes["sampling"] == "20 of 262 documents, enough of every source, spread over its works, seed 0"
    assert "sampling" not in test_split.description.notes


def test_allocation_is_proportional_exact_and_leaves_no_source_out():
    assert allocate({"a": 50, "b": 50}, 10) == {"a": 5, "b": 5}
    assert allocate({"a": 98, "b": 1, "c": 1}, 10) == {"a": 8, "b": 1, "c": 1}
    assert allocate({"a": 133, "b": 70, "c": 21}, 30) == {"a": 17, "b": 8, "c": 5}
    assert allocate({"a": 2, "b": 3}, 5) == {"a": 2, "b": 3}
    assert sum(allocate({"a": 7, "b": 11, "c": 13}, 9).values()) == 9
    assert sum(allocate({"a": 7, "b": 11, "c": 13}, 2).values()) == 2


def test_a_spread_takes_enough_of_every_source_and_many_works():
    sources = ["en"] * 133 + ["fr"] * 70 + ["python"] * 21
    works = [f"novel {i // 10}" for i in range(203)] + [f"module {i}" for i in range(21)]
    chosen = spread(sources, works, 30, seed=0)
    assert chosen == sorted(set(chosen))
    assert Counter(sources[i] for i in chosen) == {"en": 17, "fr": 8, "python": 5}
    assert len({works[i] for i in chosen}) >= 24
    assert spread(sources, works, 30, seed=1) != chosen


def test_equal_texts_are_one_cluster_and_join_the_works_that_hold_them():
    text = "Once upon a time there was a little girl who loved to play outside in the park with her dog."
    other = "One day a boy found a big red ball in the garden and he took it home to show his mother."
    task = Task.text(stories(), texts=[text] * 40, reference=[other])
    assert len(task.documents) == 40
    resamples = task.resamples(range(40), 0, np.full(40, 20.0))
    assert (resamples.clusters, resamples.effective()) == (1, 1.0)
    infos = [DocumentInfo(n, "en", h, work=w) for n, h, w in (("a#0", "1", "a"), ("b#0", "2", "b"), ("b#1", "1", "b"))]
    joined = replace(task.subset([0, 1, 2]), documents=tuple(infos))
    assert joined.clusters == [0, 0, 0]


def test_scored_training_text_and_its_reference_do_not_overlap():
    task = Task.text(novel(), split="train", max_documents=40)
    assert len(task.documents) == 40
    overlap = task.overlap()
    assert overlap.documents == ()
    assert overlap.share < 1e-3  # stock phrases and licences


def test_stories_are_documents():
    task = Task.text(stories(), max_documents=30)
    assert len(task.documents) == 30
    assert (task.tokens[:, 0] == 1).all()
    assert set(task.strata) == {"stories"}
    assert task.tokens.shape[1] <= 512
    assert task.reference is not None
    assert len(task.reference.tokens) >= 500
    assert task.overlap().documents == ()
    assert Task.text(stories(), max_documents=30).fingerprint == task.fingerprint


def test_subset_keeps_rows_names_and_reference(sampled):
    task = sampled
    part = task.subset([7, 2])
    assert [d.name for d in part.documents] == [task.documents[2].name, task.documents[7].name]
    rows = np.flatnonzero(np.isin(task.document, [2, 7]))
    assert torch.equal(part.tokens, task.tokens[rows])
    assert set(part.document) == {0, 1}
    assert part.reference is task.reference
    assert part.fingerprint != task.fingerprint
    assert part.description.notes["subset"] == "2 of 20 documents"
    assert task.subset(range(20)) is task
    with pytest.raises(TaskError, match=r"needs at least one document"):
        task.subset([])
    with pytest.raises(IndexError, match=r"documents 0 to 19"):
        task.subset([20])


def test_items_predict_each_scored_token_from_the_column_before_it():
    task = Task.text(novel(), texts=TEXTS)
    rows = np.array([3, 1])
    items = task.items(rows)
    targets = task.targets(rows, items)
    logits = torch.arange(2 * task.tokens.shape[1], dtype=torch.float32).reshape(2, -1, 1)
    assert len(targets) == int(task.scored[rows].sum())
    expected = [task.tokens[rows[r], p] for r, p in zip(items.row, items.position, strict=True)]
    assert targets.tolist() == [int(e) for e in expected]
    columns = task.gather(logits, items).squeeze(-1) - torch.from_numpy(items.row) * task.tokens.shape[1]
    assert columns.tolist() == (items.position - 1).tolist()


def test_a_window_of_training_text_inside_a_scored_text_is_refused():
    documents, _ = zoo_reference(novel(), "train", None, [], 255, 0)
    copied = next(d for d in documents if len(d.tokens) == 255 and d.source == "en")
    scored = novel().tokenizer.decode(copied.tokens[:-20])  # of tokens that are cut anew from their text
    with pytest.raises(TaskError, match=r"overlaps what is scored: texts\[1\] stands word for word in en/"):
        Task.text(novel(), texts=[text(1, 300), scored], reference="train")


def test_one_file_is_one_document_and_needs_others_beside_it(tmp_path):
    (tmp_path / "own.txt").write_text(TEXTS[0])
    with pytest.raises(TaskError, match=r"own.txt is one document, and others are needed to fill ablations; give more"):
        Task.text(novel(), files=tmp_path / "own.txt")


def test_a_reference_that_nobody_chose_says_so_where_it_overlaps():
    with pytest.raises(TaskError, match=r"word for word in .*; three tenths of what was given became the reference: "):
        Task.text(novel(), texts=[TEXTS[5], "As it was said: " + TEXTS[5]])


def test_the_description_says_how_large_the_reference_is():
    assert Task.text(novel(), texts=TEXTS).description.reference.documents == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"texts": []}, "texts is an empty list; give at least one text"),
        ({"texts": "one text"}, "texts must be a list of texts, one document each, not one string"),
        ({"texts": [TEXTS[0], " \n"]}, "texts[1] is empty"),
        ({"texts": [TEXTS[0], "Too short."]}, "texts[1] has 4 tokens; a document needs at least 16 after BOS"),
        ({"texts": TEXTS, "reference": [""]}, "reference[0] is empty"),
        ({"texts": TEXTS[:1]}, "documents can only be split into reference and scored ones when at least two differ"),
        (
            {"texts": TEXTS, "reference": [text(77), TEXTS[3]]},
            "the reference overlaps what is scored: reference[1] equals texts[3]",
        ),
        (
            {"texts": TEXTS, "reference": [text(77), f"As it was said: {TEXTS[3]} And so on."]},
            "the reference overlaps what is scored: texts[3] stands word for word in reference[1]",
        ),
        (
            {"texts": [*TEXTS, TEXTS[5] + text(77)], "reference": [text(78), text(77)]},
            "the reference overlaps what is scored: reference[1] stands word for word in texts[20]",
        ),
        (
            {"texts": [TEXTS[5], "As it was said: " + TEXTS[5]]},
            "the reference overlaps what is scored: texts[0] stands word for word in texts[1]",
        ),
        ({"texts": TEXTS, "split": "test"}, "'split' and 'texts' are both given; a task has one or the other"),
        ({"split": "tets"}, "unknown split 'tets' of the text of zoo:novel-attn2-rep; did you mean 'test'?"),
        ({"reference": "trian"}, "unknown split 'trian' of the text of zoo:novel-attn2-rep; did you mean 'train'"),
        ({"reference": "test"}, "the reference overlaps what is scored: both are the split 'test'"),
        ({"texts": TEXTS, "metric": "lose"}, "unknown metric 'lose'; did you mean 'loss'?"),
        ({"texts": TEXTS, "metric": "logit_diff"}, "the metric 'logit_diff' needs a correct and an incorrect answer"),
        ({"texts": TEXTS, "context": 257}, "a context of 257 is longer than the 256 that zoo:novel-attn2-rep reads"),
        ({"texts": TEXTS, "context": 16}, "a context of 16 is too short"),
        ({"texts": TEXTS, "max_documents": 0}, "'max_documents' must be at least 1, not 0"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_one_sentence(arguments, message):
    with pytest.raises(TaskError) as refusal:
        Task.text(novel(), **arguments)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_tokenizer_that_does_not_fit_is_refused():
    with pytest.raises(
        TaskError, match=r"for texts\[0\], but zoo:novel-attn2-rep has a vocabulary of 300; tokenizer and model"
    ):
        Task.text(novel(vocab=300), texts=TEXTS)


def test_models_without_text_tokenizer_or_bos_are_refused_where_these_are_needed():
    with pytest.raises(TaskError, match=r"^bare has no tokenizer"):
        Task.text(Handle("bare", None), texts=TEXTS)
    with pytest.raises(TaskError, match=r"^bos is True, but the tokenizer of gpt has no BOS token$"):
        Task.text(Handle("gpt", novel().tokenizer, None), texts=TEXTS, bos=True)


def test_another_model_reads_the_built_in_text_in_its_own_tokens_and_the_name_says_what_it_may_have_seen():
    own, other = novel(), replace(novel(), name="gpt2")
    task = Task.text(other, split="unseen", max_documents=8)
    assert task.name == "unseen text of assay's novels and Python modules, which gpt2 may have seen"
    assert not any(document.unseen for document in task.documents)
    same = Task.text(own, split="unseen", max_documents=8)
    assert all(document.unseen for document in same.documents)
    assert torch.equal(task.tokens, same.tokens)


def test_a_row_may_begin_with_any_token_that_is_named():
    model = novel()
    token = model.tokenizer.convert_ids_to_tokens(7)
    task = Task.text(model, texts=TEXTS, bos=token)
    assert (task.tokens[:, 0] == 7).all()
    assert task.notes["bos_id"] == 7
    with pytest.raises(TaskError, match=r"^bos 'no such' is no token of zoo:novel-attn2-rep; valid: 'auto', "):
        Task.text(model, texts=TEXTS, bos="no such")
