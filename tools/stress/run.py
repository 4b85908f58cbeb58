"""Tries every reader on many mutated files, and every campaign of faults, and prints tables of what came of them; exit
code 1 for anything but a clear sentence within 5 seconds and 2 GB, and for anything that is left damaged.

Usage: python -m tools.stress [--count 100000] [--reader NAME ...] [--seed 0] [--jobs 1]
A fault is named by its reader and index; `--reader NAME --index I` tries it again, alone and with its whole traceback.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tools.stress.catalogue import CAMPAIGNS, READERS, reader
from tools.stress.worker import HANG, MEMORY, OK, SENTENCE, TRACEBACK

ROOT = Path(__file__).parents[2]
OUTCOMES = {OK: "ok", SENTENCE: "sentences", TRACEBACK: "tracebacks", HANG: "hangs", MEMORY: "over 2 GB"}
LEFT = {OK: "whole", SENTENCE: "whole, and a sentence", TRACEBACK: "damaged", HANG: "hangs", MEMORY: "over 2 GB"}
FAULTS = (TRACEBACK, HANG, MEMORY)
SECONDS = 5.0
PATIENCE = 20.0  # then the worker is killed: its own alarm has not reached it
BATCH = 10_000  # inputs a worker sees before another takes its place
MEMORY_DISK = "/dev/shm"  # where there is one: an emptied file costs 3 ms on a disk
START = 180.0  # seconds that a worker may take to import and to prepare


@dataclass
class Tally:
    """What came of a reader's inputs; `faults`: detail -> (how many, the first one's index)."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: dict[str, tuple[int, int]] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, index: int, outcome: str, detail: str | None) -> None:
        self.counts[outcome] += 1
        if outcome in FAULTS:
            key = f"{outcome}: {detail}"
            many, first = self.faults.get(key, (0, index))
            self.faults[key] = many + 1, min(first, index)

    @property
    def faulty(self) -> int:
        return sum(self.counts[outcome] for outcome in FAULTS)


Job = tuple[str, int, int]  # reader, first index, end


def stress(cases: Mapping[str, int], *, seed: int = 0, jobs: int = 1) -> dict[str, Tally]:
    """Tries so many cases of each reader or campaign, in `jobs` workers at a time.

    Raises:
        RuntimeError: when a worker fails outside assay, or cannot prepare.
    """
    tallies = {name: Tally() for name in cases}
    batches: list[list[Job]] = [[]]
    for name, count in cases.items():
        for start in range(0, count, BATCH):
            job = (name, start, min(count, start + BATCH))
            if sum(end - begin for _, begin, end in (*batches[-1], job)) > BATCH:
                batches.append([])
            batches[-1].append(job)

    def finish(batch: list[Job]) -> None:
        while batch:
            batch = _once(batch, seed, tallies)
        if max(cases.values()) > BATCH:  # a long run: what is known so far
            print("\n".join([table(tallies), *faults(tallies)]), file=sys.stderr, flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(finish, batches))
    return tallies


def _once(todo: list[Job], seed: int, tallies: dict[str, Tally]) -> list[Job]:
    """Runs a worker until it is done, dies or hangs; gives what is left to do behind the case that it died of."""
    asked = json.dumps({"seed": seed, "seconds": SECONDS, "jobs": todo})
    command = [sys.executable, "-m", "tools.stress.worker", asked]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, cwd=ROOT, env=_environment(), stderr=errors, **pipes) as worker,
    ):
        assert worker.stdout is not None
        begun, pending, hung, patience = time.monotonic(), b"", False, START
        while todo:
            if not any(select.select([worker.stdout], [], [], patience)[0] for _ in range(2)):  # both may be stopped
                hung = True
                worker.kill()
                break
            got = os.read(worker.stdout.fileno(), 1 << 16)
            if not got:
                break
            *lines, pending = (pending + got).split(b"\n")
            for line in lines:
                name, index, outcome, detail = json.loads(line)
                tallies[name].add(index, outcome, detail)
                todo = _after(todo, index)
                tallies[name].seconds += time.monotonic() - begun
                begun = time.monotonic()
                # A reader that comes next may have a model to load first.
                patience = PATIENCE if todo and todo[0][:2] == (name, index + 1) and name not in CAMPAIGNS else START
        code = worker.wait()
        errors.seek(0)
        said = errors.read().decode("utf-8", "replace").strip().splitlines()
    if not todo:
        return []
    name, index, _ = todo[0]
    if code >= 0:
        raise RuntimeError(f"the worker failed outside assay, at {name} --index {index}:\n" + "\n".join(said[-30:]))
    memory = any("bad_alloc" in line or "emory" in line for line in said[-5:])
    outcome = HANG if hung else MEMORY if memory else TRACEBACK
    tallies[name].add(index, outcome, f"the process ended by {signal.Signals(-code).name}: {' '.join(said[-2:])[:200]}")
    return _after(todo, index)


def _after(todo: list[Job], index: int) -> list[Job]:
    (name, _, end), *rest = todo
    return [(name, index + 1, end), *rest] if index + 1 < end else rest


def _environment() -> dict[str, str]:
    paths = [str(ROOT), str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
        "ARROW_DEFAULT_MEMORY_POOL": "system", "PYTHONWARNINGS": "ignore", "PYTHONDONTWRITEBYTECODE": "1",
        **({"TMPDIR": MEMORY_DISK} if os.access(MEMORY_DISK, os.W_OK) else {}),
    }  # fmt: skip


def table(tallies: dict[str, Tally]) -> str:
    """The counts, a line a reader; behind them those of campaigns, which have names for the same outcomes."""
    readers = {name: tally for name, tally in tallies.items() if name not in CAMPAIGNS}
    campaigns = {name: tally for name, tally in tallies.items() if name in CAMPAIGNS}
    parts = [(["reader", "inputs", *OUTCOMES.values()], readers), (["campaign", "cases", *LEFT.values()], campaigns)]
    return "\n\n".join(_table(head, part) for head, part in parts if part)


def _table(head: list[str], tallies: dict[str, Tally]) -> str:
    rows = [head]
    for name, tally in tallies.items():
        rows.append([name, f"{tally.counts.total():,}", *(f"{tally.counts[outcome]:,}" for outcome in OUTCOMES)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def faults(tallies: Mapping[str, Tally]) -> list[str]:
    """What went wrong, a line each, the most frequent first."""
    out = []
    for name, tally in tallies.items():
        for detail, (many, first) in sorted(tally.faults.items(), key=lambda item: -item[1][0])[:40]:
            often = "once" if many == 1 else f"{many:,} times, first"
            out.append(f"{name}, {often}, --index {first}: {detail}")
    return out


def alone(name: str, index: int, seed: int) -> None:
    """One case in this process, for a debugger: what assay raises comes through."""
    what = reader(name)
    folder = Path(tempfile.mkdtemp(prefix="assay-stress-"))
    os.chdir(folder)
    what.prepare(folder)
    case = what.write(Random(f"{seed} {name} {index}"), folder, index)
    print(f"the case lies in {folder}: {case}")
    what.read(case)
    print("it reads")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tools.stress", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--count", type=int, default=100_000, help="inputs a reader; campaigns have their own")
    parser.add_argument(
        "--reader",
        action="append",
        help="several times; the default is every one: " + ", ".join([*READERS, *CAMPAIGNS]),
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="workers at a time")
    parser.add_argument("--index", type=int, help="one case of one reader, in this process")
    given = parser.parse_args(arguments)
    names = given.reader or [*READERS, *CAMPAIGNS]
    if given.index is not None:
        alone(names[0], given.index, given.seed)
        return 0
    cases = {name: min(given.count, CAMPAIGNS[name][1] if name in CAMPAIGNS else given.count) for name in names}
    tallies = stress(cases, seed=given.seed, jobs=given.jobs)
    print("\n".join([table(tallies), *faults(tallies)]))
    return int(any(tally.faulty for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
