"""What a claim was found on, as a file: documents and 13-grams that are scored again are found, others are not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from assay.errors import ClaimError
from assay.intervene.ablations import Workbench
from assay.intervene.runner import Runner
from assay.measure.checks import run_checks
from assay.measure.evidence import Evidence
from assay.measure.gathered import found_overlap
from assay.planted.library import planted
from assay.task.found_on import found_on, read_found_on, shared_with
from assay.task.overlap import overlap
from assay.task.task import Task
from tests.task.handles import novel


def repeats(seed: int) -> Task:
    return Task.repeat(novel(), n=6, length=20, seed=seed)


def test_a_file_gives_back_what_was_kept(tmp_path):
    kept = found_on(repeats(0), "mine")
    path = tmp_path / "selection.json"
    path.write_text(kept.to_text())
    read = read_found_on(path)
    assert read is not None
    assert (read.name, read.documents) == (kept.name, kept.documents)
    np.testing.assert_array_equal(read.ngrams, kept.ngrams)
    assert len(kept.ngrams) == 6 * 20  # of 20 tokens, twice: the second round says nothing new


def test_shared_documents_and_13_grams_are_those_of_the_plain_comparison():
    one, other = repeats(0), repeats(1)
    assert shared_with(other, found_on(one, "mine")).documents == ()
    assert shared_with(other, found_on(one, "mine")).shared == 0
    same = shared_with(one, found_on(one, "mine"))
    plain = overlap(one, one)
    assert len(same.documents) == 6
    assert (same.shared, same.total, same.affected) == (plain.shared, plain.total, plain.affected)
    half = found_on(one.subset([0, 1]), "half")
    assert len(shared_with(one, half).documents) == 2
    assert shared_with(one, half).affected == tuple(d.name for d in one.documents[:2])


def test_rows_shorter_than_13_tokens_are_compared_as_documents():
    task = planted("and_gate").task(n=8)
    found = shared_with(task, found_on(task, "mine"))
    assert len(found.documents) == 8
    assert found.total == 0


def test_words_are_no_file_and_a_broken_file_is_named(tmp_path):
    assert read_found_on("repeated random tokens") is None
    assert read_found_on(tmp_path / "nothing.json") is None
    for text in ("{", json.dumps({"format": "other", "version": 1}), "[]"):
        path = tmp_path / "broken.json"
        path.write_text(text)
        with pytest.raises(ClaimError, match="named by 'found_on', cannot be read"):
            read_found_on(path)


def test_a_measurement_compares_its_data_with_what_the_claim_was_found_on(tmp_path):
    case = planted("and_gate")
    task = case.task(n=8)
    bench = Workbench(Runner(case.model, task), 0)
    path = tmp_path / "selection.json"
    for found, count in ((task.subset([2, 5]), 2), (case.task(n=8, seed=3), 0)):
        path.write_text(found_on(found, "search").to_text())
        overlap = found_overlap(bench, str(path))
        assert overlap is not None
        assert len(overlap.documents) == count
        evidence = Evidence("circuit", "zero", {}, found_on=str(path), overlap=overlap)
        (leak,) = [check for check in run_checks(evidence) if check.name == "leak"]
        assert leak.state == ("fired" if count else "passed")
    assert found_overlap(bench, str(tmp_path / "gone.json")) is None
    assert found_overlap(bench, None) is None
