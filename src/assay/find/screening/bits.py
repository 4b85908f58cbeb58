"""The bits that holding directions of the stream takes: the fewest of a number that keep what they determine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.explanations.hypothesis.maps import BITS, rounded
from assay.find.screening.determined import scored
from assay.find.screening.directions import Basis
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.donors import full_rows
from assay.intervene.plan import EditRun, Plan
from assay.intervene.screened import Places, cut_of
from assay.model.transformer import Model

LOST = 0.01  # of the share, that rounding may cost


@dataclass(frozen=True, eq=False)
class Rounded:
    """Coordinates on even grids, one for each coordinate over the range that it has on the reference; the first
    position has its own.

    Attributes:
        basis: None: the stream's own numbers.
        low, high: [2, k], of the first position and of all others; bits: of a number.
    """

    basis: Basis | None
    low: Float[Tensor, "two k"]
    high: Float[Tensor, "two k"]
    bits: int

    def mix(self, inside: Float[Tensor, "*some width"], outside: Float[Tensor, "*some width"]) -> Tensor:
        basis = self.basis
        own, other = (inside, outside) if basis is None else (inside @ basis, outside @ basis)
        which = (torch.arange(own.shape[-2], device=own.device) > 0).long()
        low, high = self.low[which], self.high[which]
        step = ((high - low) / (2**self.bits - 1)).clamp(min=1e-30)
        cell = ((own - low) / step).round().clamp(0, 2**self.bits - 1)
        held = low + cell * step
        return held if basis is None else outside + (held - other) @ basis.T


@dataclass(frozen=True)
class HeldBits:
    """What holding directions takes.

    Attributes:
        each: bits of a number, of the map and of the coordinates alike: the fewest at which the share stays within
            0.01.
        position: of the coordinates at a position; map: of the basis, once.
    """

    each: int
    position: int
    map: int


def held_bits(
    workbench: PlanContext,
    cut: str,
    basis: Basis | None,
    *,
    most: int = BITS,
    draws: int = 1,
    rows: Int[np.ndarray, "rows"] | None = None,
) -> HeldBits:
    """The bits of holding these directions, None: all of the stream, by bisection on what is scored here.

    Args:
        workbench: on other data than those on which the share is reported.
        most: bits of a number at most, which are taken where fewer do not do.
    """
    low, high = _ranges(workbench, cut, basis)
    no_directions = torch.zeros(_width(workbench), 0, dtype=low.dtype, device=low.device)

    def nats(places: Sequence[Places]) -> np.ndarray:
        found = [scored(workbench, dict(enumerate(places)), cut, draw, rows) for draw in range(draws)]
        return np.array([[one.mean_kl(i) for i in range(len(places))] for one in found]).mean(0)

    whole, floor = nats([{cut: basis}, {cut: no_directions}])
    few, enough = 0, most
    while enough - few > 1:
        middle = (few + enough) // 2
        lost = nats([{cut: _coarse(basis, low, high, middle)}])[0] - whole
        few, enough = (few, middle) if lost <= LOST * floor else (middle, enough)
    width = _width(workbench)
    k = width if basis is None else basis.shape[1]
    return HeldBits(enough, k * enough, k * (width - k) * enough)


def _width(workbench: PlanContext) -> int:
    assert isinstance(workbench.model, Model)
    return workbench.model.config.d_model


def _coarse(basis: Basis | None, low: Tensor, high: Tensor, bits: int) -> Rounded:
    if basis is None:
        return Rounded(None, low, high, bits)
    coarse = rounded(basis, bits)
    assert isinstance(coarse, Tensor)
    return Rounded(coarse * torch.sign((coarse * basis).sum(0)), low, high, bits)  # a QR may turn directions round


def _ranges(workbench: PlanContext, cut: str, basis: Basis | None, count: int = 16) -> tuple[Tensor, Tensor]:
    """The least and the greatest of each coordinate on the reference, at the first position and at all others."""
    reference, site, run = workbench.task.reference, cut_of(workbench.model, cut), EditRun("clean", "reference")
    assert reference is not None
    rows = full_rows(workbench.task)
    rows = rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(np.int64)]
    with torch.no_grad():
        values = workbench.runner.values(Plan((run,)), run, [site], rows)[site]
    real = reference.real[torch.from_numpy(rows)].to(values.device)
    values = values if basis is None else values @ basis
    parts = values[:, 0], values[:, 1:][real[:, 1:]]
    return torch.stack([part.amin(0) for part in parts]), torch.stack([part.amax(0) for part in parts])
