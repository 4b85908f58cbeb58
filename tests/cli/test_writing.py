"""The commands that write: what cannot be written is said before anything is computed, what was computed is kept, and
nothing outside of what was named is touched."""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import assay
import assay.find.circuit.search  # before `load` is replaced, or they would keep what it is replaced with
import assay.measure.measure
from assay.errors import RunError
from assay.store import register
from assay.store.runs import write_run
from tests.report import records

CLAIM = """\
model: zoo:stories-260k
task: {kind: repeat, n: 4, length: 6}
explanation: {kind: constant, components: [a2.h1]}
ablation: zero
controls: 0
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(run: Run) -> Run:
    """Runs a command in a folder with a claim file: (exit code, stdout, stderr)."""
    Path("claim.yaml").write_text(CLAIM)
    return run


def refused(result: tuple[int, str, str], sentence: str) -> None:
    code, out, err = result
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert sentence in err


def broken_register(kind: str) -> None:
    path = Path("runs/register.jsonl")
    path.parent.mkdir()
    match kind:
        case "broken":
            path.write_text("{}\n")
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "endless":
            path.symlink_to("/dev/zero")


@pytest.mark.parametrize("kind", ["broken", "folder", "pipe", "endless"])
@pytest.mark.parametrize(
    "command",
    [("measure", "claim.yaml"), ("demo", "--out", "runs"), ("find", "circuit", "zoo:stories-260k")],
    ids=lambda command: command[0],
)
def test_a_register_that_cannot_be_used_is_said_before_anything_is_loaded(
    run: Run, monkeypatch: pytest.MonkeyPatch, kind: str, command: tuple[str, ...]
):
    monkeypatch.setattr("assay.model.load.load", lambda *_, **__: pytest.fail("a model was loaded"))
    broken_register(kind)
    refused(run(*command), "the register '")
    assert [path.name for path in Path("runs").iterdir()] == ["register.jsonl"]


def fails(*_: object, **__: object) -> Any:
    raise RunError("the register 'x' cannot be written: No space left on device")


def test_a_run_is_saved_whatever_the_register_does(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("assay.measure.record.log", fails)
    code, out, err = run("measure", "claim.yaml")
    assert code == 0
    assert err.startswith("headline: recovers ")  # each stage as it is done, where nobody watches too
    assert err.endswith(
        "\nthe run is saved in 'runs/claim', but not logged as a try: the register 'x' cannot be written: "
        "No space left on device\n"
    )
    assert "RESULT" in out
    record = json.loads(Path("runs/claim/measurement.json").read_text())
    assert record["tries"]["tried"] == 1  # as it would have been
    with pytest.warns(UserWarning, match="not logged as a try: the register .x. cannot be written"):
        result = assay.measure(assay.load_claim("claim.yaml"), out="runs/other")
    assert result.record.recovered.to_json() == record["recovered"]


def test_a_run_is_saved_before_it_is_logged(run: Run, monkeypatch: pytest.MonkeyPatch):
    real, seen = register.log, []

    def log(path: Path, entry: register.Try) -> register.Tried:
        seen.append((path, entry.p, Path("runs/claim/measurement.json").exists()))
        return real(path, entry)

    monkeypatch.setattr("assay.measure.record.log", log)
    assert run("measure", "claim.yaml")[0] == 0
    assert seen
    assert all(there for _, _, there in seen)
    logged = len(seen)
    monkeypatch.setattr("assay.store.runs.os.rename", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    code, out, err = run("measure", "claim.yaml", "--out", "runs/full")
    last = err.splitlines(keepends=True)[-1]  # after those of the stages
    refused((code, out, last), "could not be written to 'runs/full': No space left")
    assert len(seen) == logged  # a run that is not there is no try
    assert len({entry.key for entry in register.entries("runs/register.jsonl")}) == 1


def stored(record: dict[str, Any], examples: pa.Table) -> Path:
    return write_run("runs/theirs", record, examples, "old page", extra={"circuit.svg": "old drawing"})


@pytest.mark.parametrize("target", ["precious.txt", "nowhere.txt", "/dev/full"])
def test_a_report_writes_nothing_outside_of_its_run_folder(run: Run, target: str):
    folder = stored(records.data("circuit"), records.examples())
    Path("precious.txt").write_text("precious")
    place = target if target.startswith("/") else os.path.abspath(target)
    for name in ("report.html", "circuit.svg"):
        (folder / name).unlink()
        (folder / name).symlink_to(place)
    code, _, err = run("report", "runs/theirs")
    assert (code, err) == (0, "")
    assert Path("precious.txt").read_text() == "precious"
    assert not Path("nowhere.txt").exists()
    assert (folder / "report.html").read_text().startswith("<!doctype html>")
    assert (folder / "circuit.svg").read_text().startswith("<svg")
    assert not any(path.is_symlink() for path in folder.iterdir())


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_earlier_page_whole(run: Run, monkeypatch: pytest.MonkeyPatch, call: str):
    folder = stored(records.data(), records.examples())
    before = sorted(path.name for path in folder.iterdir())

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        code, out, err = run("report", "runs/theirs")
    assert code == 2
    assert err == f"assay: '{folder / 'report.html'}' cannot be written: No space left on device\n"
    assert "RESULT" in out
    assert (folder / "report.html").read_text() == "old page"
    assert sorted(path.name for path in folder.iterdir()) == before


def test_init_replaces_no_link_and_leaves_an_earlier_file_whole(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("assay.planted.load.load", lambda *_, **__: pytest.fail("a model was loaded"))
    Path("link.yaml").symlink_to("nowhere.yaml")
    refused(run("init", "zoo:stories-260k", "--out", "link.yaml"), "the file 'link.yaml' exists")
    Path("claim.yaml").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(
            "pathlib.Path.mkdir", lambda *_, **__: (_ for _ in ()).throw(OSError(30, "Read-only file system"))
        )
        refused(run("init", "zoo:stories-260k"), "the claim file 'claim.yaml' cannot be made, because '")
    monkeypatch.setattr("assay.cli.init.load_model", lambda *_: None)
    monkeypatch.setattr("assay.find.template.template", lambda *_, **__: "model: x\n")
    Path("link.yaml").unlink()
    Path("precious.txt").write_text("precious")
    Path("link.yaml").symlink_to("precious.txt")
    assert run("init", "zoo:stories-260k", "--out", "link.yaml", "--overwrite")[0] == 0
    assert (Path("precious.txt").read_text(), Path("link.yaml").read_text()) == ("precious", "model: x\n")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        refused(
            run("init", "zoo:stories-260k", "--out", "link.yaml", "--overwrite"),
            "the claim file 'link.yaml' cannot be written: No space left on device",
        )
    assert Path("link.yaml").read_text() == "model: x\n"


def test_report_compare_and_measure_find_a_run_that_a_kill_hid(run: Run):
    folder = stored(records.data(), records.examples())
    old = folder.parent / ".theirs.999999999-0123abcd.old"
    for command in (
        ("report", "runs/theirs", "--json"),
        ("compare", "runs/theirs", "runs/none"),
        ("measure", "claim.yaml", "--out", "runs/theirs"),
    ):
        folder.rename(old)
        run(*command)
        assert (folder / "measurement.json").exists()
        assert not old.exists()


def mutated(value: Any, chance: random.Random) -> Any:
    """The same tree with one value changed, taken away, or of another type."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            if not (node is value and key == "schema"):
                places.append((node, key))
            walk(node[key])

    value = copy.deepcopy(value)
    walk(value)
    node, key = chance.choice(places)
    new = chance.choice([None, 0, -1, 1e300, "x", "", [], {}, [1, "a"], {"value": "x"}, True, "delete"])
    if new == "delete":
        del node[key]
    else:
        node[key] = new
    return value


@pytest.mark.parametrize("made", ["circuit", "search"])
def test_a_record_with_anything_in_it_is_shown_or_refused_in_one_sentence(run: Run, made: str):
    folder, chance = stored(records.data(), records.examples()), random.Random(0)
    write_run("runs/other", records.data(), records.examples(), "page")
    record = folder / "measurement.json"
    if made == "search":
        record.unlink()
        record = folder / "frontier.json"
    for _ in range(5):
        record.write_text(json.dumps(mutated(records.data(made), chance)))
        for command in (("report", "runs/theirs"), ("compare", "runs/theirs", "runs/other")):
            code, _, err = run(*command)
            assert code == 0 or (code == 2 and err.count("\n") == 1), err
    record.write_text(json.dumps(records.data(made) | {"model": 7}))
    refused(
        run("report", "runs/theirs"),
        "the record of 'runs/theirs' is not as assay writes it: model is 7, and should be an object",
    )


def test_a_table_of_tokens_that_claims_too_much_is_not_unpacked(run: Run):
    many = pa.table({"a": pa.chunked_array([pa.array([0] * 1_000_000)] * 160)})
    write_run("runs/bomb", records.data(), many, "page")
    assert Path("runs/bomb/examples.parquet").stat().st_size < 1_000_000
    refused(run("report", "runs/bomb"), "claims 160,000,000 rows of 1 values, more than the 5,000,000 rows")
