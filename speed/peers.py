"""Peers run in Pythons of their own: what answers when it is asked to work, and says how long that took.

ASSAY_PEERS_PYTHON names those Pythons, several with the system's path separator in between. See docs/benchmarks.md for
what to install there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from speed.timing import Seconds

VARIABLE = "ASSAY_PEERS_PYTHON"
SCRIPT = Path(__file__).with_name("_peer.py")


class MissingPeerError(Exception):
    """Why a peer cannot be timed, in one sentence."""


@cache
def found(library: str) -> tuple[tuple[str, str], ...]:
    """(version, Python) of every Python that has a library, the newest first.

    Raises:
        MissingPeerError: where no Python that was named has it.
    """
    named = [part for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    if not named:
        raise MissingPeerError(f"{library} was not timed: {VARIABLE} is not set")
    have = {}
    for python in named:
        code = f"from importlib.metadata import version; print(version({library!r}))"
        asked = subprocess.run([python, "-c", code], capture_output=True, text=True)
        if asked.returncode == 0:
            have[asked.stdout.strip()] = python
    if not have:
        raise MissingPeerError(f"{library} was not timed: no Python in {VARIABLE} has it")
    return tuple(sorted(have.items(), key=lambda pair: [int(n) for n in re.findall(r"\d+", pair[0])], reverse=True))


def versions(library: str) -> int:
    """How many there are; 1 where there is none, so that asking for it says why."""
    try:
        return len(found(library))
    except MissingPeerError:
        return 1


class Peer:
    """A peer's process with a model and prompts, which is asked for work by name.

    Args:
        library: as it is installed; file: made by `models.handed`; which: of its versions, the newest being 0;
            script: what runs in its Python.

    Attributes:
        name: the library with its version; edges: what it calls edges, in assay's names; peak: the most memory that it
            has had so far, in bytes.
    """

    def __init__(self, library: str, file: Path, threads: int, which: int = 0, script: str = SCRIPT.name):
        version, python = found(library)[which]
        self.name = f"{library} {version}"
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
        environment.pop("PYTHONPATH", None)
        command = [python, str(SCRIPT.with_name(script)), library, str(file), str(threads)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.edges: list[str] = self._answer()["edges"]

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise MissingPeerError(f"{self.name} ended without an answer; its error is above")
        answer = json.loads(line)
        self.peak = answer["peak"] * 1024
        return answer

    def __call__(self, work: str, **given: Any) -> tuple[Seconds, Any]:
        """What the work took, and what it gave."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"work": work, "given": given}) + "\n")
        self.process.stdin.flush()
        answer = self._answer()
        return Seconds(answer["wall"], answer["cpu"]), answer["found"]

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
