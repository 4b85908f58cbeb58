"""Families of transformers: the library's configuration and weights in, `Shape` and `Weights` out, and where it keeps
the modules that the proof on load runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

from assay.model.families import gpt2, llama, neox
from assay.model.proof import Library
from assay.model.weights import Shape, Weights


class Family(NamedTuple):
    """What reads a family.

    Attributes:
        read: shape, weights, and the longest input where a sliding window limits it.
        library: the library's modules.
    """

    read: Callable[[Any, nn.Module], tuple[Shape, Weights, int | None]]
    library: Callable[[Any], Library]


_LLAMA = Family(llama.read, llama.library)

# by the library's `config.model_type`
FAMILIES = {
    "gpt2": Family(gpt2.read, gpt2.library),
    "gpt_neox": Family(neox.read, neox.library),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
}
