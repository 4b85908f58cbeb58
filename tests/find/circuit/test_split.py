"""Selection and evaluation share no document, and the claim file's fields give the evaluation again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from assay.errors import TaskError
from assay.explanations.claims.file import claim_of
from assay.find.split import SearchSplit, split_task, without
from assay.planted.worlds import world
from assay.task.examples import Examples
from assay.task.task import Task
from tests.measure.planted import planted as tiny

LONG = "w21 w22 w23 w24 w25 w26 w27 w28 w29 w30 w31 w32 w33 w34 w35 w36 w37 w38"


def hashes(task: Task) -> set[str]:
    return {document.hash for document in task.documents}


def apart(split: SearchSplit) -> None:
    assert not hashes(split.selection) & hashes(split.evaluation)
    for task in (split.selection, split.evaluation):
        assert isinstance(task.reference, Examples)
        assert not {document.hash for document in task.reference.documents} & hashes(task)


def again(split: SearchSplit, model, name: str, folder: Path) -> Task:
    """The evaluation as the claim file describes it."""
    for file, text in split.files.items():
        (folder / file).write_text(text)
    claim = claim_of({"model": name, **split.claim, "explanation": {"kind": "keep", "components": ["a0.h0"]}})
    return claim.build_task(model, claim.documents, 0)


def test_planted_rows_are_of_two_streams_and_none_is_seen_twice(tmp_path):
    model = world("and_gate").model  # 512 rows in all, so that 200 and 100 of them meet
    split = split_task(model, {"kind": "planted"}, documents=200, select=100)
    apart(split)
    assert len(split.selection.documents) < 100
    assert len(split.evaluation.documents) == 200
    assert again(split, model, model.name, tmp_path).fingerprint == split.evaluation.fingerprint


def test_repeats_are_of_two_streams(tmp_path):
    model = tiny()
    split = split_task(model, {"kind": "repeat", "length": 8}, documents=12, select=6, seed=4)
    apart(split)
    assert (len(split.evaluation.documents), len(split.selection.documents)) == (12, 6)
    assert again(split, model, "gpt2", tmp_path).fingerprint == split.evaluation.fingerprint


def prompt_rows(groups: int) -> list[dict[str, str]]:
    rows = []
    for i in range(3 * groups):
        words = f"w{20 + i % 17} w{21 + i % 23} w{22 + i % 7}"
        rows.append({"clean": words, "corrupted": f"w{40 + i % 9} {words[4:]}", "correct": "w41", "incorrect": "w42",
                     "group": f"g{i % groups}"})  # fmt: skip
    return rows


def write(path: Path, rows: list[dict[str, str]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_prompts_are_split_by_group_and_written_down(tmp_path):
    model, file = tiny(), write(tmp_path / "prompts.jsonl", prompt_rows(10))
    split = split_task(model, {"kind": "prompts", "file": file}, documents=50, select=50, folder=str(tmp_path))
    apart(split)
    groups = {name: {d.name for d in part.documents}
              for name, part in (("s", split.selection), ("e", split.evaluation),
                                 ("r", split.evaluation.reference))}  # fmt: skip
    assert sum(len(part) for part in groups.values()) == 10
    assert not groups["s"] & groups["e"]
    assert len(groups["r"]) == 3
    assert set(split.files) == {"selection.jsonl", "evaluation.jsonl", "reference.jsonl"}
    rebuilt = again(split, model, "gpt2", tmp_path)
    assert rebuilt.fingerprint == split.evaluation.fingerprint
    assert rebuilt.counterfactual is not None


def test_texts_are_split_by_content(tmp_path):
    model = tiny()
    files = []
    for i in range(10):
        words = np.random.default_rng(i).integers(21, 50, 20)
        (tmp_path / f"{i}.txt").write_text(" ".join(f"w{w}" for w in words))
        files.append(str(tmp_path / f"{i}.txt"))
    split = split_task(model, {"kind": "text", "files": files}, documents=50, select=50)
    apart(split)
    assert len(split.selection.documents) + len(split.evaluation.documents) == 7
    assert again(split, model, "gpt2", tmp_path).fingerprint == split.evaluation.fingerprint


def test_rows_of_texts_are_split_by_content_and_written_down(tmp_path):
    model = tiny()
    words = [np.random.default_rng(i).integers(21, 50, 20) for i in range(10)]
    rows = [{"body": " ".join(f"w{w}" for w in some)} for some in words]
    file = write(tmp_path / "texts.jsonl", [*rows, {"body": ""}])
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "own.txt").write_text(" ".join(f"w{w}" for w in range(21, 41)))
    wanted = {"kind": "text", "files": [file, str(tmp_path / "more")], "column": "body"}
    split = split_task(model, wanted, documents=50, select=50, folder=str(tmp_path))
    apart(split)
    assert split.claim["task"] == {"kind": "text", "files": [str(tmp_path / "evaluation.jsonl")]}
    assert set(split.files) == {"evaluation.jsonl", "reference.jsonl"}
    reference = split.evaluation.reference
    assert reference is not None
    assert len(split.selection.documents) + len(split.evaluation.documents) + len(reference.documents) == 11
    assert again(split, model, "gpt2", tmp_path).fingerprint == split.evaluation.fingerprint


def test_too_few_to_split(tmp_path):
    model = tiny()
    (tmp_path / "one.txt").write_text(LONG)
    file = str(tmp_path / "one.txt")
    with pytest.raises(TaskError, match="1 different texts cannot be split into reference, selection and evaluation"):
        split_task(model, {"kind": "text", "files": [file, file]}, documents=4, select=4)
    rows = write(tmp_path / "p.jsonl", [{**row, "group": f"g{i % 2}"} for i, row in enumerate(prompt_rows(2))])
    with pytest.raises(TaskError, match="2 different prompt groups cannot be split"):
        split_task(model, {"kind": "prompts", "file": rows}, documents=4, select=4)


def test_a_counterfactual_of_another_length_is_named_with_its_line(tmp_path):
    rows = prompt_rows(5)
    rows[3]["corrupted"] += " w30"
    file = write(tmp_path / "p.jsonl", rows)
    with pytest.raises(TaskError, match=r"p\.jsonl:4: 'corrupted' has 4 tokens and 'clean' 3"):
        split_task(tiny(), {"kind": "prompts", "file": file}, documents=4, select=4)


def test_nothing_is_left_to_search_on():
    task = world("or_gate").task(n=6)
    with pytest.raises(TaskError, match="every document that 'planted:or_gate, 6 rows' could be searched on"):
        without(task.subset([1, 4]), task)
    assert len(without(task, task.subset([1, 4])).documents) == 4
