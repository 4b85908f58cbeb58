"""Which models are built in, what they are, and in which folders of the package they lie."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

from assay.errors import ModelError, nearest

FOLDER = Path(__file__).parent / "models"
PREFIX = "zoo:"


@dataclass(frozen=True)
class Entry:
    """One built-in model."""

    name: str
    what: str
    licence: str

    @cached_property
    def parameters(self) -> int:
        """How many there are, tied ones once: read from the header of the stored weights."""
        with open(FOLDER / self.name / "model.safetensors", "rb") as stored:
            header = json.loads(stored.read(int.from_bytes(stored.read(8), "little")))
        return sum(prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


_OURS = "Apache-2.0"
_NOVELS = "on novels and Python's library"
_KNOWN = (
    Entry("stories-260k", "a Llama of 5 layers on TinyStories, by Andrej Karpathy (llama2.c)", "MIT"),
    Entry("novel-attn2", f"2 layers, attention only, d 256, {_NOVELS}", _OURS),
    Entry("novel-attn2-rep", "its twin, trained on repeated spans too: induction heads", _OURS),
    Entry("novel-1l", f"1 layer, d 64, {_NOVELS}", _OURS),
    Entry("novel-2l", f"2 layers, d 128, {_NOVELS}", _OURS),
    Entry("novel-3l", f"3 layers, d 192, {_NOVELS}", _OURS),
    Entry("novel-4l", f"4 layers, d 256, {_NOVELS}", _OURS),
    Entry("novel-4l-seed1", "novel-4l from another seed", _OURS),
    Entry("novel-4l-rep", "novel-4l trained on repeated spans too: induction heads", _OURS),
)


def entries() -> tuple[Entry, ...]:
    """The built-in models whose folders are here, in a fixed order."""
    return tuple(entry for entry in _KNOWN if (FOLDER / entry.name / "config.json").exists())


def names() -> tuple[str, ...]:
    """Names of the built-in models, without the prefix."""
    return tuple(entry.name for entry in entries())


def folder(name: str) -> Path:
    """Where a model lies; the name with or without "zoo:".

    Raises:
        ModelError: with the nearest names, when there is none of that name.
    """
    short = name.removeprefix(PREFIX)
    if short not in names():
        raise ModelError(f"there is no built-in model {short!r}" + nearest(short, names()))
    return FOLDER / short
