"""What a claim was found on, as a file: documents and 13-grams that are scored again are found, others are not."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import pytest

from assay.errors import ClaimError
from assay.explanations.components.sets import Keep
from assay.measure.checks.checks import run_checks
from assay.measure.checks.evidence import Evidence
from assay.measure.measure import measure
from assay.planted.worlds import world
from assay.record.about import Check
from assay.task.found_on import found_on, read_found_on, shared_with
from assay.task.overlap import overlap
from assay.task.task import Task
from tests.measure.planted import planted as planted_heads
from tests.measure.planted import text_task
from tests.task.handles import novel

WORDS = ["river", "stone", "garden", "window", "letter", "morning", "winter", "table", "silver", "bridge", "candle"]


def repeats(seed: int) -> Task:
    return Task.repeat(novel(), n=6, length=20, seed=seed)


def test_a_file_gives_back_what_was_kept(tmp_path):
    kept = found_on(repeats(0), "mine")
    path = tmp_path / "selection.json"
    path.write_text(kept.to_text())
    read = read_found_on(str(path), novel())
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
    task = world("and_gate").task(n=8)
    found = shared_with(task, found_on(task, "mine"))
    assert len(found.documents) == 8
    assert found.total == 0


def test_words_are_no_file_and_a_broken_file_is_named(tmp_path):
    for words in (
        "repeated random tokens",
        "a\0b",
        "the 31 stories. " * 40,
        str(tmp_path),
        "what gone.json held",
    ):
        assert read_found_on(words, novel()) is None
    os.mkfifo(tmp_path / "pipe.txt")
    for name, why in (("gone.json", "is not there"), ("pipe.txt", "is no regular file")):
        with pytest.raises(ClaimError, match=f"^the 'found_on' file '.*{name}' {why}; give another, or say in words"):
            read_found_on(str(tmp_path / name), novel())
    deep = '{"a":' * 100_000
    for name, content in (
        *(
            (f"{i}.json", text)
            for i, text in enumerate((b"{", b'{"format": "other", "version": 1}', b"[]", deep.encode()))
        ),
        ("bytes.txt", b"\xff\xfe\x00"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ClaimError, match=r"^the 'found_on' file '.*' (cannot be read|is not JSON)"):
            read_found_on(str(tmp_path / name), novel())


def leak(task: Task, given: str | None, model: Any) -> Check:
    """The leak check's verdict on a claim that was found on what is named."""
    found = None if given is None else read_found_on(given, model)
    overlap = None if found is None else shared_with(task, found)
    evidence = Evidence("zero", {}, found_on=given, overlap=overlap)
    (check,) = [check for check in run_checks(evidence) if check.name == "leak"]
    return check


def test_what_a_search_wrote_is_compared_with_what_is_scored(tmp_path):
    case = world("and_gate")
    task = case.task(n=8)
    path = tmp_path / "selection.json"
    for found, state in ((task.subset([2, 5]), "fired"), (case.task(n=8, seed=3), "passed")):
        path.write_text(found_on(found, "search").to_text())
        assert leak(task, str(path), case.model).state == state
    for given in (None, "another search"):
        assert leak(task, given, case.model).state == "unknown"


STORIES = [f"Story {i}. " + " ".join(np.random.default_rng(i).permutation(WORDS)) for i in range(6)]


def test_texts_are_compared_by_document_and_by_runs_of_words(tmp_path):
    task = Task.text(novel(), texts=STORIES[:3], reference=STORIES[3:5])
    for name, text, state, documents in (
        ("whole.txt", STORIES[1], "fired", 1),
        ("other.txt", STORIES[5], "passed", 0),
        ("part.txt", STORIES[5] + STORIES[2][20:140], "fired", 0),
        ("reference.txt", STORIES[3], "passed", 0),  # what fills ablations is not what a claim was found on
    ):
        (tmp_path / name).write_text(text)
        check = leak(task, str(tmp_path / name), novel())
        assert (check.state, f"shares {documents} documents" in check.evidence) == (state, True), name
    lines = tmp_path / "stories.jsonl"
    for which, state in (((4, 5), "passed"), ((5, 0), "fired")):
        lines.write_text("".join(json.dumps({"text": STORIES[i]}) + "\n" for i in which))
        assert leak(task, str(lines), novel()).state == state


def test_documents_that_stand_within_a_text_are_shared_documents(tmp_path):
    task = Task.text(novel(), texts=STORIES[:3], reference=STORIES[3:5])
    path = tmp_path / "notes.txt"
    for text, documents in (
        ("Some notes. " + STORIES[1] + " The end.", ["texts[1]"]),
        ("Some notes.\n\n" + STORIES[1].replace(" ", "\r\n  ") + "\n\nThe end.", ["texts[1]"]),
        ("\n\n".join(STORIES[:3]), ["texts[0]", "texts[1]", "texts[2]"]),
        ("Some notes. " + STORIES[1].replace("river", "sea") + " The end.", []),
        (STORIES[5], []),
    ):
        path.write_text(text)
        found = read_found_on(str(path), novel())
        assert found is not None
        assert [name for name, _ in shared_with(task, found).documents] == documents
    path = tmp_path / "notes.jsonl"
    path.write_text(json.dumps({"text": "Some notes. " + STORIES[1]}) + "\n" + json.dumps({"text": "No more."}) + "\n")
    assert "shares 1 documents" in leak(task, str(path), novel()).evidence


def test_a_document_within_what_a_search_kept_is_a_shared_document(tmp_path):
    ids = np.arange(300, 700)
    scored = Task.from_ids(novel(), [ids[100:160], ids[:60][::-1]], reference=[ids + 1000])
    there = Task.from_ids(novel(), [ids], reference=[ids + 1000])
    path = tmp_path / "selection.json"
    path.write_text(found_on(there, "search").to_text())
    found = read_found_on(str(path), novel())
    assert found is not None
    assert [name for name, _ in shared_with(scored, found).documents] == ["ids[0]"]


def test_short_prompts_are_found_in_a_text_as_whole_words(tmp_path):
    rows = [{"clean": clean, "correct": " the"} for clean in ("the cat is in", "cat", "a dog", "one bird")]
    task = Task.prompts(novel(), rows, reference=[{"clean": "two birds", "correct": " the"}], metric="loss")
    path = tmp_path / "prompts.txt"
    path.write_text("two dogs\nconcatenate\nthe cat\nis in\nany dogs")
    found = read_found_on(str(path), novel())
    assert found is not None
    assert [name for name, _ in shared_with(task, found).documents] == [d.name for d in task.documents[:2]]


def test_prompts_are_compared_whole(tmp_path):
    rows = [{"clean": f"{a} met {b}. {b} gave {a} to", "correct": " the"}
            for a in WORDS[:3] for b in WORDS[3:6]]  # fmt: skip
    task = Task.prompts(novel(), rows[:4], reference=rows[4:6], metric="loss")
    path = tmp_path / "prompts.csv"
    for which, state in ((rows[2:3], "fired"), (rows[6:], "passed")):
        path.write_text("clean,correct\n" + "".join(f"{row['clean']},{row['correct']}\n" for row in which))
        assert leak(task, str(path), novel()).state == state


@pytest.mark.parametrize("words", ["repeated random tokens", "the 31 test stories that are scored here"])
def test_a_description_in_words_is_unknown_in_a_whole_measurement(words):
    result = measure(Keep(["a0.h2"]), planted_heads(), text_task(), ablation="zero", controls=0, found_on=words)
    (check,) = [check for check in result.checks if check.name == "leak"]
    assert check.state == "unknown"
    assert "names no file of documents" in check.evidence


def test_a_broken_file_is_named_before_anything_is_scored(tmp_path, monkeypatch):
    monkeypatch.setattr("assay.measure.workbench.systems", lambda *_: pytest.fail("something was run"))
    (tmp_path / "selection.json").write_text("{")
    with pytest.raises(ClaimError, match=r"the 'found_on' file '.*selection\.json' is not JSON"):
        measure(Keep(["a0.h2"]), planted_heads(), text_task(), found_on=str(tmp_path / "selection.json"))
