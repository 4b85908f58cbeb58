"""A run folder is written whole or not at all, and read back with errors that a user can mend."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from assay.errors import RunError
from assay.store.canonical import canonical_json
from assay.store.runs import SEARCH, check_target, read_record, read_run, write_run

TABLE = pa.table({"token": ["a", "b", "<b>"], "loss_model": [0.5, 0.25, 0.125]})


def _record(value=0.5):
    return {"schema": 1, "sentence": "In one sentence: é", "recovered": {"value": value, "reason": None}}


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_what_is_written_is_read_back(tmp_path):
    folder = write_run(tmp_path / "deep" / "run", _record(), TABLE, "<html></html>", extra={"claim.yaml": "model: x\n"})
    record, table = read_run(folder)
    assert record == _record()
    assert table.equals(TABLE)
    assert _names(folder) == ["claim.yaml", "examples.parquet", "measurement.json", "report.html"]
    assert _names(tmp_path / "deep") == ["run"]
    assert read_record(folder / "measurement.json") == record


def test_two_writes_give_the_same_bytes(tmp_path):
    chunked = pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1)])
    first = write_run(tmp_path / "a", _record(), TABLE, "page")
    second = write_run(tmp_path / "b", _record(), chunked, "page")
    for name in _names(first):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_an_existing_folder_is_refused_and_left_alone(tmp_path):
    folder = write_run(tmp_path / "run", _record(), TABLE, "first")
    with pytest.raises(RunError, match=r"the output folder '.*run' exists; choose another one, or give --overwrite"):
        write_run(folder, _record(1.0), TABLE, "second")
    assert (folder / "report.html").read_text() == "first"


def test_overwrite_replaces_the_run_and_keeps_other_files(tmp_path):
    folder = write_run(tmp_path / "run", _record(), TABLE, "first")
    (folder / "notes.txt").write_text("mine")
    (folder / "figures").mkdir()
    (folder / "figures" / "a.svg").write_text("<svg/>")
    write_run(folder, _record(1.0), TABLE, "second", overwrite=True)
    assert (folder / "report.html").read_text() == "second"
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / "figures" / "a.svg").exists()
    assert _names(tmp_path) == ["run"]


def test_overwrite_never_replaces_a_folder_that_is_no_run(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(RunError, match="is not a run folder"):
        check_target(tmp_path / "thesis", overwrite=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="is a file"):
        check_target(tmp_path / "file", overwrite=True)
    with pytest.raises(RunError, match=r"because '.*file' is a file"):
        check_target(tmp_path / "file" / "run")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("fails", ["write", "first rename", "second rename"])
def test_a_failed_run_never_damages_a_finished_one(tmp_path, monkeypatch, error, fails):
    folder = write_run(tmp_path / "run", _record(), TABLE, "first")
    real_rename, calls = os.rename, []

    def rename(source, target):
        calls.append(source)
        if len(calls) == (1 if fails == "first rename" else 2):
            raise error
        real_rename(source, target)

    def fsync(_):
        raise error

    if fails == "write":
        monkeypatch.setattr(os, "fsync", fsync)
    else:
        monkeypatch.setattr(os, "rename", rename)
    expected = RunError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        write_run(folder, _record(1.0), TABLE, "second", overwrite=True)
    monkeypatch.undo()
    assert (folder / "report.html").read_text() == "first"
    assert read_run(folder)[0] == _record()
    assert _names(tmp_path) == ["run"]


def test_a_failed_first_run_leaves_nothing(tmp_path, monkeypatch):
    def fail(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(KeyboardInterrupt):
        write_run(tmp_path / "run", _record(), TABLE, "page")
    assert _names(tmp_path) == []


def test_a_real_interrupt_leaves_nothing_half_written(tmp_path):
    script = f"""
import os, signal, pyarrow as pa
from assay.store.runs import write_run
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's children ignore it
real = os.fsync
def fsync(descriptor):
    real(descriptor)
    os.kill(os.getpid(), signal.SIGINT)
os.fsync = fsync
write_run({str(tmp_path / "run")!r}, {{"schema": 1}}, pa.table({{"a": [1]}}), "page")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode in (-signal.SIGINT, 130, 1)
    assert "KeyboardInterrupt" in done.stderr
    assert _names(tmp_path) == []


def test_bad_run_folders_say_what_is_wrong(tmp_path):
    write_run(tmp_path / "induction", _record(), TABLE, "page")
    with pytest.raises(RunError, match=r"there is no run '.*inductoin'; did you mean '.*induction'\?"):
        read_run(tmp_path / "inductoin")
    with pytest.raises(RunError, match=r"is not a run folder: it has no measurement.json"):
        read_run(tmp_path)
    folder = tmp_path / "induction"
    (folder / "examples.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(RunError, match="not a parquet file"):
        read_run(folder)
    (folder / "examples.parquet").unlink()
    with pytest.raises(RunError, match=r"has no examples.parquet"):
        read_run(folder)
    (folder / "measurement.json").write_text('{"schema": 1,\n broken')
    with pytest.raises(RunError, match=r"measurement.json' is not JSON: .* line 2 .*; measure again with --overwrite"):
        read_run(folder)


def test_a_record_cannot_hold_what_json_cannot_say(tmp_path):
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"record.recovered.value is (nan|inf)"):
            write_run(tmp_path / "run", _record(bad), TABLE, "page")
    with pytest.raises(TypeError, match=r"record.a\[0\] is a set"):
        canonical_json({"a": [{1}]})
    with pytest.raises(ValueError, match="the key 1"):
        canonical_json({1: 2})
    with pytest.raises(ValueError, match="free file name"):
        write_run(tmp_path / "run", _record(), TABLE, "page", extra={"../x": ""})
    assert _names(tmp_path) == []


def test_json_keeps_order_and_exact_floats():
    value = {"z": 0.1 + 0.2, "a": "é</script>", "n": None, "t": (1, True)}
    text = canonical_json(value)
    assert json.loads(text) == {**value, "t": [1, True]}
    assert list(json.loads(text)) == ["z", "a", "n", "t"]
    assert "0.30000000000000004" in text
    assert "\ud800" not in canonical_json({"a": "\ud800"})


@pytest.mark.parametrize("times", [1, 1_000])
def test_a_run_that_is_replaced_while_it_is_read_is_not_mixed_with_the_one_that_it_was(tmp_path, monkeypatch, times):
    from assay.store import runs

    def write(name: int) -> None:
        table = pa.table({"token": [str(name)]})
        write_run(tmp_path / "run", {"schema": 1, "run": name}, table, "page", overwrite=True)

    real, seen = runs.read_record, []

    def replaced(folder):
        record = real(folder)
        if len(seen) < times:
            seen.append(record)
            write(len(seen))
        return record

    write(0)
    monkeypatch.setattr(runs, "read_record", replaced)
    if times == 1:
        record, table = read_run(tmp_path / "run")
        assert (record["run"], table.column("token").to_pylist()) == (1, ["1"])
    else:
        with pytest.raises(RunError, match=r"is replaced while it is read; read it when what measures has ended"):
            read_run(tmp_path / "run")


def test_of_two_that_overwrite_a_run_at_once_neither_loses_what_else_lies_in_it(tmp_path, monkeypatch):
    from assay.store import runs

    target = write_run(tmp_path / "run", _record(1), TABLE, "first")
    (target / "notes.txt").write_text("mine")
    monkeypatch.setattr(runs, "check_target", lambda *_: target)  # both were there before the other began to rename
    other = threading.Thread(target=lambda: write_run(target, _record(2), TABLE, "other", overwrite=True))
    real = os.rename

    def rename(source, place):
        real(source, place)
        if other.ident is None:
            other.start()
            other.join(0.5)  # time enough to be in place before this one's second rename

    monkeypatch.setattr(os, "rename", rename)
    write_run(target, _record(3), TABLE, "this", overwrite=True)
    other.join()
    assert (target / "notes.txt").read_text() == "mine"
    assert read_record(target) == _record(2)
    assert _names(tmp_path) == ["run"]


def test_a_name_that_is_too_long_with_a_files_behind_it_is_one_sentence():
    """The longest path that the system takes: what would be suggested in its place is longer."""
    with pytest.raises(RunError, match=r"^there is no run"):
        read_run("../" * 1_364 + "x")


def test_a_search_is_no_measurement_and_says_what_is_measured(tmp_path):
    (tmp_path / SEARCH.record).write_text("{}")
    with pytest.raises(RunError, match=r"is a search; what it found is measured with: assay measure .*/claim.yaml$"):
        read_run(tmp_path)
