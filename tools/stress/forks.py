"""Processes that share what the worker has imported, so that one costs milliseconds."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from assay.errors import UserError

SAVED, REFUSED, KILLED = 0, 2, -9


def start(act: Callable[[], object]) -> int:
    """Does it in a process of its own, which ends with 0, with 2 for a UserError, and with 3 for what is a fault."""
    child = os.fork()
    if child:
        return child
    code = 3
    try:
        act()
        code = SAVED
    except UserError:
        code = REFUSED
    except BaseException as problem:
        print(f"{type(problem).__name__}: {problem}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def end(child: int) -> int:
    """How it ended: 0, 2, or −9 for a kill.

    Raises:
        RuntimeError: for any other end.
    """
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (SAVED, REFUSED, KILLED):
        raise RuntimeError(f"a process ended with {code}")
    return code


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones and links' targets too."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for name in found:
        if name.endswith("measurement.json"):  # but for the time that it took and when
            found[name] = re.sub(rb'"timing": *\{[^}]*\}', b"", found[name])
    return found
