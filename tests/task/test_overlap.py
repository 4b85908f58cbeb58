import numpy as np
import pytest

from assay.errors import TaskError
from assay.task.overlap import ids_text, ngram_hashes, refuse_contained, shared_13grams
from assay.task.task import Task
from tests.task.handles import novel


def test_a_shared_run_of_13_tokens_is_found_and_one_of_12_is_not():
    rng = np.random.default_rng(0)
    ours, theirs = rng.integers(4_096, size=400), rng.integers(4_096, size=400)
    assert shared_13grams([ours], [theirs]) == [0]
    theirs[100:112] = ours[200:212]
    assert shared_13grams([ours], [theirs]) == [0]
    theirs[100:113] = ours[200:213]
    assert shared_13grams([ours], [theirs]) == [1]
    theirs[100:120] = ours[200:220]
    assert shared_13grams([ours, rng.integers(4_096, size=50)], [theirs]) == [8, 0]


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
    most = passages[1].rpartition(" ")[0]  # all but its last word: a whole one is refused
    task = Task.text(novel(), texts=[passages[0], passages[1]], reference=[passages[2] + " " + most, passages[3]])
    found = task.overlap()
    assert found.documents == ()
    assert found.affected == ("texts[1]",)
    assert 0.3 < found.share < 0.7


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
