"""Families of transformers: the library's configuration and weights in, `Shape` and `Weights` out, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from assay.model.families import gpt2, llama, neox
from assay.model.transformer import Shape, Weights

# the library's `config.model_type` -> what reads it; the longest input comes with it where a sliding window limits it
FAMILIES: dict[str, Callable[[Any, nn.Module], tuple[Shape, Weights, int | None]]] = {
    "gpt2": gpt2.read,
    "gpt_neox": neox.read,
    "llama": llama.read,
    "mistral": llama.read,
    "qwen2": llama.read,
    "qwen3": llama.read,
}
