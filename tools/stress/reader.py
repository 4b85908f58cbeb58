"""What the harness asks of a reader, and the reader of one mutated file, which most are."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, Protocol

from assay.errors import UserError
from tools.stress import mutate

# what stands on stderr before a sentence: lines of the stages that are done
STAGES = (
    "headline: ",
    "swaps: ",
    "agreement: ",
    "rivals: ",
    "residual: ",
    "controls: ",
    "checks: ",
    "length: ",
    "compute: ",
    "stopped: ",
    "what is measured is not",
)


class Reader(Protocol):
    """Something of assay's that reads what others wrote. Cases run in one process, in the folder of `prepare`."""

    known: Sequence[Any]  # what cases are made from; the first cases are these as they are, and must read

    def prepare(self, folder: Path) -> None:
        """Once a worker, before the clock: imports, models, the seeds, and files that lie beside them."""
        ...

    def write(self, rng: Random, folder: Path, index: int) -> Any:
        """Makes a case: the same for equal `rng` and index, the seed `known[index]` where there is one."""
        ...

    def read(self, case: Any) -> object:
        """Calls assay. A UserError is a sentence; another exception, five seconds or 2 GB are a fault."""
        ...


class Seed(NamedTuple):
    """A file that reads."""

    name: str
    content: bytes


@dataclass
class FileReader:
    """A reader of single files.

    Attributes:
        seeds: makes the seeds in a folder, and what must lie beside them.
        reads: calls assay on a file.
        mutate: a seed's content, changed.
    """

    seeds: Callable[[Path], Sequence[Seed]]
    reads: Callable[[Path], object]
    mutate: Callable[[Random, bytes], bytes] = mutate.raw
    known: Sequence[Seed] = field(default=(), init=False)

    def prepare(self, folder: Path) -> None:
        self.known = self.seeds(folder)

    def write(self, rng: Random, folder: Path, index: int) -> Path:
        seed = self.known[index] if index < len(self.known) else rng.choice(self.known)
        content = seed.content if index < len(self.known) else self.mutate(rng, seed.content)
        path = folder / seed.name
        path.write_bytes(content)
        return path

    def read(self, case: Path) -> object:
        return self.reads(case)


def command(*arguments: str) -> str:
    """Runs an assay command in this process and gives its stdout.

    Raises:
        UserError: when it ends with 2 and a sentence.
    """
    import typer.main

    from assay import cli

    if not hasattr(typer.main.get_command, "cache_info"):  # most of a short command's time is in making it anew
        typer.main.get_command = cache(typer.main.get_command)
    out, said = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
            cli.main(list(arguments))
    except SystemExit as end:
        lines = said.getvalue().splitlines(keepends=True)
        sentence = "".join(line for line in lines if not line.startswith(STAGES)).removesuffix("\n")
        if end.code == 2 and sentence.startswith("assay: "):
            raise UserError(sentence) from None
        if end.code:
            raise RuntimeError(f"exit code {end.code}: {sentence}") from None
    return out.getvalue()
