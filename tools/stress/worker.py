"""The process that tries the cases: it may be killed, hang or run out of memory, and is started again behind the case.

Usage, by `run.py`: python -m tools.stress.worker '{"seed": 0, "seconds": 5, "jobs": [["claims", 0, 200]]}'
A line for each case on stdout: [reader, index, outcome, detail].
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from random import Random
from typing import Any

from assay.errors import UserError
from tools.stress.catalogue import reader
from tools.stress.reader import Reader

OK, SENTENCE, TRACEBACK, HANG, MEMORY = "ok", "sentence", "traceback", "hang", "memory"
MOST = 2 << 30  # bytes that reading one case may ask for
LONGEST = 2_500  # characters of a sentence


class Late(BaseException):
    """The alarm; no reader's `except Exception` stops it."""


def attempt(what: Reader, case: Any, seconds: float) -> tuple[str, str | None]:
    """(outcome, detail) of reading one case."""

    def late(*_: object) -> None:
        raise Late

    signal.signal(signal.SIGALRM, late)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MOST, hard))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        what.read(case)
        return OK, None
    except UserError as problem:
        said = str(problem)
        if "\n" in said or len(said) > LONGEST:
            return (
                TRACEBACK,
                f"a sentence of {len(said):,} characters in {said.count(chr(10)) + 1} lines: {said[:200]!r}",
            )
        return SENTENCE, said
    except Late as problem:
        return HANG, _place(problem)
    except MemoryError as problem:
        return MEMORY, _place(problem)
    except Exception as problem:
        memory = "alloc" in str(problem) and "memory" in str(problem)  # torch's and arrow's
        return (MEMORY if memory else TRACEBACK), _place(problem)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _place(problem: BaseException) -> str:
    """What it is and the last line of assay's that was in it."""
    frames = traceback.extract_tb(problem.__traceback__)
    own = [frame for frame in frames if "/assay/" in frame.filename] or frames
    where = f"{Path(own[-1].filename).name}:{own[-1].lineno} {own[-1].name}" if own else "?"
    return f"{type(problem).__name__} in {where}: {str(problem)[:160]}"


def main() -> None:
    asked = json.loads(sys.argv[1])
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what readers print
    with tempfile.TemporaryDirectory(prefix="assay-stress-", dir=asked.get("scratch")) as scratch:
        for name, start, end in asked["jobs"]:
            folder = Path(scratch) / str(name).replace(":", "-")
            folder.mkdir(exist_ok=True)
            os.chdir(folder)
            what = reader(name)
            what.prepare(folder)
            for index in range(len(what.known)):  # what is imported at first use is not the clock's
                with contextlib.suppress(Exception):
                    what.read(what.write(Random(0), folder, index))
            gc.collect()
            gc.freeze()  # libraries' objects, which every full collection would look at again
            for index in range(start, end):
                for _ in range(2):  # a busy machine stops a process for seconds: only what hangs again is a hang
                    case = what.write(Random(f"{asked['seed']} {name} {index}"), folder, index)
                    outcome, detail = attempt(what, case, getattr(what, "seconds", asked["seconds"]))
                    if outcome != HANG:
                        break
                if outcome == SENTENCE and index < len(what.known):
                    outcome, detail = TRACEBACK, f"a seed does not read: {detail}"
                lines.write(json.dumps([name, index, outcome, detail]) + "\n")
            os.chdir(scratch)


if __name__ == "__main__":
    main()
