"""What a kill leaves is put right by the next command: an earlier run goes back to its place, and rubbish goes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest

from assay.errors import RunError
from assay.store import files, left_over
from assay.store.runs import check_target, read_record, read_run, write_run

TABLE = pa.table({"token": ["a"], "loss_model": [0.5]})
SOURCE = Path(left_over.__file__).parents[2]
KILLED = """
import os, sys, pyarrow as pa
from assay.store.runs import write_run
real, calls = getattr(os, sys.argv[2]), []
def call(*given, **more):
    calls.append(given)
    if len(calls) == int(sys.argv[3]):
        os.kill(os.getpid(), 9)
    return real(*given, **more)
setattr(os, sys.argv[2], call)
write_run(sys.argv[1], {"schema": 1, "run": "new"}, pa.table({"token": ["b"]}), "new page", overwrite=True)
"""


def killed(folder: Path, call: str, number: int) -> bool:
    """Overwrites a run in a process that is killed at one call of the system; whether it was."""
    there = os.environ | {"PYTHONPATH": str(SOURCE)}
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder), call, str(number)], env=there)
    assert done.returncode in (0, -9)
    return done.returncode == -9


def hidden(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.name.startswith("."))


def earlier(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", {"schema": 1, "run": "old"}, TABLE, "old page")


def test_a_run_that_was_hidden_by_a_kill_is_found_by_every_reader(tmp_path: Path):
    folder = earlier(tmp_path)
    for read in (
        lambda: read_run(folder)[0],
        lambda: read_record(folder),
        lambda: read_record(folder / "measurement.json"),
        lambda: check_target(folder, overwrite=True) and read_record(folder),
    ):
        assert killed(folder, "rename", 2)
        assert not folder.exists()
        assert read() == {"schema": 1, "run": "old"}
        assert (folder / "report.html").read_text() == "old page"
    assert killed(folder, "rename", 2)
    with pytest.raises(RunError, match="exists; choose another one, or give --overwrite"):
        check_target(folder)
    write_run(folder, {"schema": 1, "run": "third"}, TABLE, "page", overwrite=True)
    assert read_record(folder)["run"] == "third"
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("call", ["open", "fsync", "mkdir", "rename", "unlink", "rmdir"])
def test_a_kill_at_any_call_of_the_system_leaves_a_whole_run(tmp_path: Path, call: str):
    for number in range(1, 9):
        folder = tmp_path / str(number) / "run"
        write_run(folder, {"schema": 1, "run": "old"}, TABLE, "old page")
        ended = killed(folder, call, number)
        record, table = read_run(folder)
        page = (folder / "report.html").read_text()
        assert (record["run"], page, table.column("token")[0].as_py()) in (
            ("old", "old page", "a"),
            ("new", "new page", "b"),
        )
        write_run(folder, {"schema": 1, "run": "third"}, TABLE, "page", overwrite=True)
        assert hidden(folder.parent) == []
        if not ended:
            break


def test_a_writer_at_work_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = earlier(tmp_path)
    old = tmp_path / f".run.{os.getppid()}-0123abcd.old"
    folder.rename(old)
    monkeypatch.setattr(time, "sleep", lambda _: old.rename(folder))  # its second rename
    assert not left_over.restore(folder)
    assert read_record(folder)["run"] == "old"
    folder.rename(old)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(left_over, "PATIENCE", 0.01)
    assert left_over.restore(folder)  # the number belongs to another process by now


def test_a_run_behind_a_link_is_restored_behind_it(tmp_path: Path):
    folder = earlier(tmp_path)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "mine").symlink_to(folder)
    folder.rename(tmp_path / ".run.999999999-0123abcd.old")
    assert read_record(tmp_path / "links" / "mine")["run"] == "old"
    assert (tmp_path / "links" / "mine").is_symlink()


def test_what_only_looks_like_a_hidden_run_is_left_alone(tmp_path: Path):
    (tmp_path / ".run.old").mkdir()
    (tmp_path / ".run.1-0123abcd.old").symlink_to(tmp_path)
    (tmp_path / ".other.1-0123abcd.old").mkdir()
    with pytest.raises(RunError, match="there is no run"):
        read_record(tmp_path / "run")
    earlier(tmp_path)
    assert hidden(tmp_path) == [".other.1-0123abcd.old", ".run.1-0123abcd.old", ".run.old"]


def test_a_run_that_a_thread_of_this_process_is_replacing_is_waited_for(tmp_path):
    target, mark = tmp_path / "run", files.scratch_mark()
    for name in (f".run.{mark}.old", "new"):
        (tmp_path / name).mkdir()
    other = threading.Timer(0.1, lambda: os.rename(tmp_path / "new", target))
    other.start()
    assert not left_over.restore(target)
    other.join()
    left_over.clear(target)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".run.{mark}.old", "run"]
