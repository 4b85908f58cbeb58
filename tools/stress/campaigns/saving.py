"""A run and its register, saved again and again: with a fault at any call of the system, by a process that is killed,
and by many at once."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pyarrow as pa

from assay.errors import RunError
from assay.store import register
from assay.store.runs import read_run, write_run
from tools.stress import forks


def save(run: Path, name: int, *, overwrite: bool = True) -> None:
    table = pa.table({"token": [str(name)], "loss_model": [0.5]})
    write_run(run, {"schema": 1, "run": name}, table, str(name), overwrite=overwrite)


def entry(name: object) -> register.Try:
    return register.Try("zoo:x {'kind': 'text'}", str(name), ("mean",), p=0.5)


def saved(run: Path) -> int:
    """The name of the run that stands, which its record, its table and its page must agree on."""
    name = read(run)
    page = (run / "report.html").read_text()
    assert page == str(name), f"the page of {page} lies beside the record of {name}"
    return name


def read(run: Path) -> int:
    """The name of the run that is read, maybe while it is replaced."""
    record, table = read_run(run)
    token = table.column("token")[0].as_py()
    assert token == str(record["run"]), f"the table of {token} was read with the record of {record['run']}"
    return record["run"]


def started(folder: Path) -> tuple[Path, Path]:
    """A folder with a run of the name 0, a user's notes in it, and a register with one try."""
    place = folder / "place"
    shutil.rmtree(place, ignore_errors=True)
    run = place / "run"
    save(run, 0, overwrite=False)
    (run / "notes.txt").write_text("mine")
    register.log(place / "register.jsonl", entry(0))
    return run, place / "register.jsonl"


def check_left(run: Path) -> None:
    """Nothing is left beside the run and its register once it was saved again, and the notes are there."""
    save(run, 1)
    left = sorted(path.name for path in run.parent.iterdir())
    assert left == ["register.jsonl", "run"], f"left: {left}"
    assert (run / "notes.txt").read_text() == "mine"


class Fault(NamedTuple):
    """At the `number`th call of `call` the process is killed, or the call fails."""

    call: str
    number: int
    error: int | None  # None: kill -9

    def at(self, real: Callable[..., Any]) -> Callable[..., Any]:
        left = self.number

        def call(*given: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                if self.error is None:
                    os.kill(os.getpid(), 9)
                raise OSError(self.error, os.strerror(self.error))
            return real(*given, **more)

        return call


class Faults:
    """One call of the system fails, or is the last: the old run stands or the new one, and no try is lost."""

    seconds = 60.0
    known: tuple[()] = ()
    CALLS = ("mkdir", "open", "fsync", "rename", "unlink", "rmdir", "scandir", "stat", "lstat", "replace", "write")
    ERRORS = (None, errno.EIO, errno.EACCES, errno.ENOSPC, errno.EROFS)

    def prepare(self, folder: Path) -> None:
        self.folder = folder

    def write(self, rng: Random, folder: Path, index: int) -> Fault:
        return Fault(rng.choice(self.CALLS), rng.randrange(1, 12), rng.choice(self.ERRORS))

    def read(self, case: Fault) -> None:
        run, tries = started(self.folder)

        def work() -> None:
            setattr(os, case.call, case.at(getattr(os, case.call)))
            save(run, 1)
            register.log(tries, entry(1))

        code = forks.end(forks.start(work))
        name, logged = saved(run), [found.claim for found in register.entries(tries)]
        assert name in (0, 1)
        assert logged in (["0"], ["0", "1"]), logged
        assert code != forks.SAVED or (name, len(logged)) == (1, 2), "what succeeded is not there"
        check_left(run)
        if code == forks.REFUSED:
            raise RunError(f"{case.call} number {case.number} failed, and was said")


class Kill(NamedTuple):
    """When: so many seconds after so many saves."""

    saves: int
    seconds: float


class Kills:
    """Kill −9 at a random moment of saving and logging: one of the runs that were saved stands, and no try is lost."""

    seconds = 60.0
    known: tuple[()] = ()

    def prepare(self, folder: Path) -> None:
        self.folder = folder

    def write(self, rng: Random, folder: Path, index: int) -> Kill:
        return Kill(rng.randrange(3), rng.random() * 0.01)

    def read(self, case: Kill) -> None:
        run, tries = started(self.folder)
        told, tells = os.pipe()

        def work() -> None:
            for number in count(1):
                save(run, number)
                register.log(tries, entry(number))
                os.write(tells, b".")

        child = forks.start(work)
        os.close(tells)
        done = sum(len(os.read(told, 1)) for _ in range(case.saves))
        time.sleep(case.seconds)
        os.kill(child, signal.SIGKILL)
        assert forks.end(child) == forks.KILLED
        done += len(os.read(told, 1 << 16))
        os.close(told)
        assert saved(run) in (done, done + 1)
        logged = [found.claim for found in register.entries(tries)]
        assert logged in ([str(i) for i in range(done + 1)], [str(i) for i in range(done + 2)]), logged
        register.log(tries, entry("new"))
        assert [found.claim for found in register.entries(tries)] == [*logged, "new"]
        check_left(run)


class Writers:
    """Eight processes log seven tries each in one register and replace one run, which a ninth reads all the time."""

    seconds = 60.0
    known: tuple[()] = ()
    PROCESSES, TRIES = 8, 7

    def prepare(self, folder: Path) -> None:
        self.folder = folder

    def write(self, rng: Random, folder: Path, index: int) -> int:
        return index

    def read(self, case: int) -> None:
        run, tries = started(self.folder)
        waits, starts = os.pipe()

        def work(writer: int) -> None:
            os.close(starts)
            os.read(waits, 1)  # until all are there
            for number in range(self.TRIES):
                name = 1 + writer * self.TRIES + number
                register.log(tries, entry(name))
                with contextlib.suppress(RunError):  # another was at it
                    save(run, name)

        def look() -> None:
            os.close(starts)
            os.read(waits, 1)
            for _ in range(self.TRIES):
                with contextlib.suppress(RunError):  # the others were faster, time after time
                    read(run)

        children = [forks.start(lambda writer=writer: work(writer)) for writer in range(self.PROCESSES)]
        children.append(forks.start(look))
        os.close(waits)
        os.close(starts)
        ended = [forks.end(child) for child in children]
        assert ended == [forks.SAVED] * len(children), f"ended with {ended}"
        logged = sorted(int(found.claim) for found in register.entries(tries))
        assert logged == list(range(1 + self.PROCESSES * self.TRIES)), f"{len(logged)} tries are left"
        assert 0 <= saved(run) <= self.PROCESSES * self.TRIES
        check_left(run)


FAULTS, KILLS, WRITERS = Faults(), Kills(), Writers()
