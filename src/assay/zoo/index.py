"""Which models have zoo names, what they are, and where they lie: in the package, or fetched, in the user's cache."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

from assay.errors import ModelError, nearest

FOLDER = Path(__file__).parent / "models"
PREFIX = "zoo:"


def cache() -> Path:
    """Where fetched models lie."""
    return _own_cache() / "zoo"


def trained() -> Path:
    """Where models that are trained again lie, with their checkpoints, unless another place is given."""
    return _own_cache() / "trained"


def _own_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "assay"


@dataclass(frozen=True)
class ZooModel:
    """One model of the zoo.

    Attributes:
        fetched: whether `assay zoo fetch` has to get it, as it is not in the package.
    """

    name: str
    what: str
    licence: str
    fetched: bool = False

    @property
    def folder(self) -> Path:
        return (cache() if self.fetched else FOLDER) / self.name

    @property
    def here(self) -> bool:
        return (self.folder / "config.json").exists()

    @cached_property
    def parameters(self) -> int:
        """How many there are, tied ones once: read from the header of the stored weights."""
        with open(self.folder / "model.safetensors", "rb") as stored:
            header = json.loads(stored.read(int.from_bytes(stored.read(8), "little")))
        return sum(prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


_OURS = "Apache-2.0"
_NOVELS = "on novels and Python's library"
_KNOWN = (
    ZooModel("stories-260k", "a Llama of 5 layers on TinyStories, by Andrej Karpathy (llama2.c)", "MIT"),
    ZooModel("novel-attn2", f"2 layers, attention only, d 256, {_NOVELS}", _OURS),
    ZooModel("novel-attn2-rep", "its twin, trained on repeated spans too: induction heads", _OURS),
    ZooModel("novel-1l", f"1 layer, d 64, {_NOVELS}", _OURS),
    ZooModel("novel-2l", f"2 layers, d 128, {_NOVELS}", _OURS),
    ZooModel("novel-3l", f"3 layers, d 192, {_NOVELS}", _OURS),
    ZooModel("novel-4l", f"4 layers, d 256, {_NOVELS}", _OURS),
    ZooModel("novel-4l-seed1", "novel-4l from another seed", _OURS),
    ZooModel("novel-4l-rep", "novel-4l trained on repeated spans too: induction heads", _OURS),
    ZooModel(
        "smollm2-135m", "30 layers, d 576: SmolLM2-135M-Instruct, by Hugging Face, from 4 bits", _OURS, fetched=True
    ),
)


def entries() -> tuple[ZooModel, ...]:
    """The models that are at hand, in a fixed order."""
    return tuple(entry for entry in _KNOWN if entry.here)


def names() -> tuple[str, ...]:
    """Names of the models that are at hand, without the prefix."""
    return tuple(entry.name for entry in entries())


def known() -> tuple[str, ...]:
    """Names of all models, at hand or to be fetched, without the prefix."""
    return tuple(entry.name for entry in _KNOWN if entry.here or entry.fetched)


def place(name: str) -> Path:
    """Where a model lies or would lie, whether it is there or not; the name with or without the prefix."""
    short = name.removeprefix(PREFIX)
    return next((entry.folder for entry in _KNOWN if entry.name == short), FOLDER / short)


def to_fetch() -> tuple[ZooModel, ...]:
    """The models that `assay zoo fetch` would get."""
    return tuple(entry for entry in _KNOWN if entry.fetched and not entry.here)


def folder(name: str) -> Path:
    """Where a model lies; the name with or without "zoo:".

    Raises:
        ModelError: with the nearest names, when there is none of that name; with the command that fetches it.
    """
    short = name.removeprefix(PREFIX)
    known = {entry.name: entry for entry in _KNOWN if entry.here or entry.fetched}
    if short not in known:
        raise ModelError(f"there is no built-in model {short!r}" + nearest(short, known))
    if not known[short].here:
        raise ModelError(f"{PREFIX}{short} is not on this machine yet; get it with: assay zoo fetch {short}")
    return known[short].folder
