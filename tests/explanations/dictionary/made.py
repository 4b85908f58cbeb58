"""Codes with random numbers, and folders with them, for tests."""

from __future__ import annotations

import getpass
import tempfile
from functools import cache
from pathlib import Path

import torch

from assay.train.dictionary.code import Rule, SparseCode
from assay.train.dictionary.stored import store


def code(
    d_in: int = 32, width: int = 48, rule: Rule = "topk", k: int = 6, d_out: int | None = None, seed: int = 0
) -> SparseCode:
    """A code of one of the rules, none of whose tensors is special."""
    random = torch.Generator().manual_seed(seed)

    def drawn(*shape: int, scale: float = 0.3) -> torch.Tensor:
        return scale * torch.randn(*shape, generator=random)

    d_out = d_in if d_out is None else d_out
    return SparseCode(
        drawn(width, d_in), drawn(width), drawn(width, d_out), drawn(d_out), drawn(d_in), rule,
        k if rule == "topk" else None,
        threshold=drawn(width).abs() if rule == "threshold" else None,
        gate_scale=drawn(width) if rule == "gated" else None,
        gate_bias=drawn(width) if rule == "gated" else None,
        skip=drawn(d_out, d_in) if d_in != d_out else None,
    )  # fmt: skip


@cache
def folder(d_in: int = 32, site: str | None = None) -> str:
    """A folder with a code in assay's own form, under the same name in every process: it names tests."""
    place = str(Path(tempfile.gettempdir()) / f"assay-dictionary-{getpass.getuser()}-{d_in}-{site}")
    store(code(d_in), place, {} if site is None else {"site": site, "reads": site})
    return place
