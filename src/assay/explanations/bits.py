"""Lengths in bits of subsets of parts, of texts, and of constants that stand in the model's place.

What they are compared with: docs/definitions.md#length-in-bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import gammaln

from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.donors import POOL
from assay.intervene.fill.spec import FITTED
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.names import Site
from assay.task.ngrams.tables import integer_bits

NUMBER = 16  # bits of a stored number before the search for fewer


def log2_choose(n: int, k: int) -> float:
    """log2 of the binomial coefficient."""
    if not 0 <= k <= n:
        raise ValueError(f"cannot choose {k} of {n}")
    return float((gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)) / math.log(2))


def subset_bits(total: int, size: int) -> float:
    """A subset of `size` of `total` parts: log2(total + 1) + log2 C(total, size)."""
    return math.log2(total + 1) + log2_choose(total, size)


def text_bits(text: str) -> float:
    """A text: how long it is, then its bytes."""
    data = text.encode()
    return integer_bits(len(data)) + 8.0 * len(data)


@dataclass(frozen=True)
class ClaimBits:
    """Claim bits, the model being free; comparable within one kind only."""

    bits: float
    how: str


def names_bits(total: int, size: int) -> float:
    """Which parts: a bit says whether neurons, channels or streams are among them (of each kind of claim one sort at
    most), and a bit whether positions are."""
    return 2 + subset_bits(total, size)


def parts_bits(parts: Sequence[Site], model: Model | ModuleModel, channels: int = 0) -> ClaimBits:
    """Which parts of a model a claim names.

    Args:
        channels: of a module: how many names such as `conv1[3]` it has.
    """
    if isinstance(model, ModuleModel):
        total = len(model.components) + (channels if any(site.index is not None for site in parts) else 0)
    else:
        neurons = sum(width or 0 for width in model.config.d_mlp)
        total = len(model.components) - 1 + (neurons if any(site.kind == "neuron" for site in parts) else 0)
        total += model.config.layers + 1 if any(site.kind == "stream" for site in parts) else 0
        total += model.config.layers if any(site.kind == "hidden" for site in parts) else 0
        if any(site.position is not None for site in parts):
            total *= model.config.context + 1  # a part once for every column, and once more for all of them
    words = f"2 + log2({total}+1) + log2 C({total}, {len(parts)})"
    return ClaimBits(names_bits(total, len(parts)), words)


def width_of(model: Model, site: Site) -> int:
    """Numbers that a part's value has at one position."""
    if site.kind == "hidden":
        return model.config.d_mlp[site.layer or 0] or 0
    return {"head": model.config.d_head, "neuron": 1}.get(site.kind, model.config.d_model)


def filled_bits(workbench: PlanContext, how: str, sites: Sequence[Site], numbers: int | None = None) -> float:
    """What these parts take under an ablation: constants, or the tokens of the donors.

    Args:
        numbers: how many of their values at a position are filled; None: all.
    """
    model = workbench.model
    assert isinstance(model, Model)
    positions = {"mean_position": workbench.task.tokens.shape[1], "zero": 0, **dict.fromkeys(("mean", *FITTED), 2)}.get(
        how
    )
    if positions is None:
        assert workbench.task.reference is not None  # donors: the tokens of the pool
        return POOL * workbench.task.tokens.shape[1] * math.log2(model.config.vocab)
    numbers = sum(width_of(model, site) for site in sites) if numbers is None else numbers
    return float(NUMBER * positions * numbers)
