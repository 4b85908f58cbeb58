"""Whole commands that are killed, or that find the disk full: what was there stays or what is new is whole, and the
same command afterwards gives the bytes that it always gives."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import time
from pathlib import Path
from random import Random
from typing import NamedTuple

from assay.errors import RunError
from tools.stress import forks
from tools.stress.reader import command

CLAIM = """\
model: zoo:stories-260k
task: {kind: repeat, n: 4, length: 6}
explanation: {kind: constant, components: [a2.h1]}
ablation: zero
"""
TRIES = "register.jsonl"
COMMANDS = {
    "measure": ("measure", "claim.yaml", "--out", "place/run", "--overwrite"),
    "report": ("report", "place/run"),
    "init": ("init", "zoo:stories-260k", "--out", "place/init.yaml", "--overwrite"),
}


class Case(NamedTuple):
    """A command, and the share of its time after which it is killed, or of its largest file at which a disk is full."""

    command: str
    share: float
    fresh: bool  # nothing is there before


class Commands:
    """`old` is what is there before, `new` what each command makes of it; `takes` is for how many seconds."""

    seconds = 60.0
    known: tuple[()] = ()
    names = tuple(COMMANDS)

    def prepare(self, folder: Path) -> None:
        for name, more in (("old", "controls: 0\n"), ("claim", "controls: 1\n")):
            Path(f"{name}.yaml").write_text(CLAIM + more)
        command("measure", "old.yaml", "--out", "old/run")
        for name in ("report.html", "init.yaml"):  # pages and claims of another make
            (Path("old/run") / name if name.endswith("html") else Path("old") / name).write_text("an earlier one")
        self.takes: dict[str, float] = {}
        self.new: dict[tuple[str, bool], dict[str, bytes]] = {}
        for name in self.names:
            for fresh in (False, True) if name == "measure" else (False,):
                self._set(fresh)
                begun = time.monotonic()
                command(*COMMANDS[name])
                self.takes[name] = time.monotonic() - begun
                self.new[name, fresh] = forks.contents(Path("place"))
        self.old = forks.contents(Path("old"))

    def write(self, rng: Random, folder: Path, index: int) -> Case:
        name = rng.choice(self.names)
        return Case(name, rng.random() * rng.choice((1, 1, 0.1)), name == "measure" and rng.random() < 0.3)

    def _set(self, fresh: bool) -> None:
        shutil.rmtree("place", ignore_errors=True)
        if not fresh:
            shutil.copytree("old", "place")

    def check(self, case: Case, code: int) -> None:
        """Everything is as it was, or as the command makes it; the command makes it the next time."""
        before, after = {} if case.fresh else self.old, self.new[case.command, case.fresh]
        new = after
        found = forks.contents(Path("place"))
        if code == forks.KILLED:
            if not (case.fresh or os.path.lexists("place/run")):
                command("report", "place/run", "--json")  # the next command puts back what lies hidden
            found = {name: content for name, content in forks.contents(Path("place")).items() if name[0] != "."}
        tries, all_ = found.pop(TRIES, b""), new.get(TRIES, b"")  # logged at the headline; its p when it is known
        whole = tries.startswith(before.get(TRIES, b"")) and all_.startswith(tries) and tries[-1:] in (b"", b"\n")
        assert whole, f"{case} left another register"
        left = "run" if case.fresh else "run.unfinished"  # a run that was stopped: whole, and no more than it says
        half = [name for name in found if name.split("/")[0] == left]
        if case.command == "measure" and half and code != forks.SAVED and (not case.fresh or found != new):
            command("report", f"place/{left}", "--json")
            found = {name: content for name, content in found.items() if name not in half}
        before, new = ({name: bytes_ for name, bytes_ in all_.items() if name != TRIES} for all_ in (before, new))
        assert found in (before, new), f"{case} left {sorted(found)}, which is neither the old nor the new"
        assert code != forks.SAVED or found == new, f"{case} ended well and did nothing"
        command(*COMMANDS[case.command])
        assert forks.contents(Path("place")) == after, f"{case}: the same command gives other bytes afterwards"


class Killed(Commands):
    """Kill −9 at a random moment of `assay measure`."""

    names = ("measure",)

    def read(self, case: Case) -> None:
        self._set(case.fresh)
        child = forks.start(lambda: command(*COMMANDS[case.command]))
        time.sleep(case.share * self.takes[case.command])
        os.kill(child, signal.SIGKILL)
        self.check(case, forks.end(child))


class Full(Commands):
    """A disk that takes no byte behind a random one of each file."""

    def read(self, case: Case) -> None:
        self._set(case.fresh)
        most = int(case.share * 1.1 * max(map(len, self.new[case.command, case.fresh].values())))

        def work() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))  # Python ignores the signal: a write fails
            command(*COMMANDS[case.command])

        code = forks.end(forks.start(work))
        assert code != forks.KILLED
        self.check(case, code)
        if code == forks.REFUSED:
            raise RunError(f"{case.command} said that the disk is full")


KILLED, FULL = Killed(), Full()
