"""A low-dimensional summary of the stream at a cut: directions that are held, random, principal or learned, and the
bits that holding them takes.

Learned ones are fitted on the reference by gradient: with other donors in every step they are the directions of the
least KL(model || run in which only they are held). They start from what a first-order account gives: along the way from
the donor's stream to the row's own, the symmetric part of Σ δ gᵀ (δ the difference, g the gradient) has the floor's KL
as its trace, and its first eigenvectors are the directions that account for the most of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from assay.errors import ClaimError
from assay.explanations.hypothesis.maps import BITS, rounded
from assay.explanations.subspace.fits import basis_of
from assay.explanations.subspace.spec import Pca, Random
from assay.find.screening.determined import scored
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.donors import full_rows
from assay.intervene.fill.least_kl import Divergence
from assay.intervene.plan import Coordinates, Edit, EditRun, From, Mix, Own, Plan
from assay.intervene.screened import Places, cut_of
from assay.model.transformer import Model
from assay.stats.keyed import generator

Basis = Float[Tensor, "width k"]
ALONG = (1 / 8, 3 / 8, 5 / 8, 7 / 8)  # of the way from the donor's stream to the row's own
LOOK, PATIENCE = 10, 4  # steps between two looks at the held-out rows, and looks without gain until a fit ends
SLOWER = 3.0  # after such a look a fit goes on from its best, at a lower rate
LOST = 0.01  # of the share, that rounding may cost


def random_directions(workbench: PlanContext, cut: str, k: int, seed: int = 0) -> Basis:
    return basis_of(workbench, cut_of(workbench.model, cut), Random(k, seed))


def principal_directions(workbench: PlanContext, cut: str, k: int) -> Basis:
    """Of most variance on the reference, the first position left out."""
    return basis_of(workbench, cut_of(workbench.model, cut), Pca(k))


# -- learned


@dataclass(frozen=True, eq=False)
class DirectionFit:
    """Learned directions.

    Attributes:
        start, reached: nats a scored token on the held-out rows of the reference.
        begun: what it started from, "first order" or "principal"; steps: of Adam, until the best was reached.
    """

    basis: Basis
    start: float
    reached: float
    begun: str
    steps: int


class DirectionSearch:
    """Fits directions of a cut's stream on the reference.

    Args:
        rows, held: reference rows that are fitted on, and that it is stopped by; of each the donors are others of them.
        chunk: rows of a step.
    """

    def __init__(
        self, workbench: PlanContext, cut: str, *, rows: int = 16, held: int = 8, chunk: int = 4, seed: int = 0
    ):
        self.workbench, self.site, self.seed = workbench, cut_of(workbench.model, cut), seed
        self.cut = cut
        full = full_rows(workbench.task)
        if len(full) < 4:
            raise ClaimError(f"directions are learned on 4 rows of the reference at least, and it has {len(full)}")
        chosen = generator(seed, "rows of directions").permutation(full)[: rows + held]
        cut_at = max(2, len(chosen) * rows // (rows + held))
        self.fitted, self.held = np.sort(chosen[:cut_at]), np.sort(chosen[cut_at:])
        assert workbench.task.reference is not None
        self._every = len(workbench.task.reference.tokens)
        self._map: Tensor | Coordinates = torch.empty(0)
        self._donors = self._partners(0)
        self._seen = Divergence(workbench, self._plan, self.fitted, chunk=chunk)
        self._unseen = Divergence(workbench, self._plan, self.held)
        self._account: Tensor | None = None

    def _partners(self, step: int) -> Int[np.ndarray, "rows"]:
        """For each reference row another one of its own half; rows of no half have one of the fitted ones."""
        out = np.full(self._every, self.fitted[0], dtype=np.int64)
        for half in (self.fitted, self.held):
            turn = generator(self.seed, "partners", step if half is self.fitted else 0).permutation(half)
            out[turn] = np.roll(turn, 1)  # one cycle: no row is its own donor
        return out

    def _plan(self) -> Plan:
        edits = (Edit(self.site, Mix(self._map, Own(), From("donor", self._donors))),)
        frozen = self.workbench.frozen_norm
        return Plan((EditRun("donor", "reference"), EditRun("held", "reference", edits, frozen_norm=frozen)))

    def reached(self, basis: Basis) -> float:
        """Nats a scored token on the held-out rows when only these directions are held."""
        self._map, self._donors = basis, self._partners(0)
        return self._unseen()

    def account(self) -> tuple[Float[Tensor, "width"], Float[Tensor, "width width"]]:
        """To first order, how many nats each of some directions accounts for, the most first, and these."""
        if self._account is None:
            model, total = self.workbench.model, torch.zeros(())
            assert isinstance(model, Model)
            width = model.config.d_model
            for step, share in enumerate(ALONG):
                way = _Way(share * torch.eye(width, dtype=model.dtype, device=model.device))
                self._map, self._donors = way, self._partners(step)
                self._seen(backward=1.0)
                assert way.matrix.grad is not None
                total = total - way.matrix.grad.double() / len(ALONG)
            self._account = (total + total.T) / 2
        values, vectors = torch.linalg.eigh(self._account)
        return values.flip(0), vectors.flip(1)

    def first_order(self, k: int) -> Basis:
        """The directions that account for the most."""
        model = self.workbench.model
        return self.account()[1][:, :k].to(model.device, model.dtype).contiguous()

    @staticmethod
    def _from(basis: Basis, rate: float) -> tuple[nn.Parameter, torch.optim.Adam]:
        free = nn.Parameter(basis.clone())
        return free, torch.optim.Adam([free], lr=rate)

    def learned(
        self, k: int, *, steps: int = 200, rate: float = 1e-2, advance: Callable[[int], None] = lambda step: None
    ) -> DirectionFit:
        """k directions, from the better of those of first order and the principal ones on the held-out rows.

        Args:
            steps: of Adam at most; rate: its rate at first, which is lowered where the held-out rows do not gain.
        """
        starts = {"first order": self.first_order(k), "principal": principal_directions(self.workbench, self.cut, k)}
        begins = {name: self.reached(basis) for name, basis in starts.items()}
        begun = min(begins, key=lambda name: begins[name])
        best, least, at, idle = starts[begun], begins[begun], 0, 0
        free, optimizer = self._from(best, rate)
        for step in range(1, steps + 1):
            self._map, self._donors = torch.linalg.qr(free)[0], self._partners(step)
            optimizer.zero_grad()
            self._seen.of(step % len(self._seen.parts), backward=1.0)
            optimizer.step()
            if step % LOOK and step != steps:
                continue
            with torch.no_grad():
                basis = torch.linalg.qr(free)[0].detach().clone()
                now = self.reached(basis)
            advance(step)
            if now < least:
                best, least, at, idle = basis, now, step, 0
                continue
            idle, rate = idle + 1, rate / SLOWER
            if idle == PATIENCE:
                break
            free, optimizer = self._from(best, rate)
        return DirectionFit(best, begins[begun], least, begun, at)


class _Way:
    """So much of the way from a donor's stream to the row's own: what the gradient is taken at."""

    def __init__(self, matrix: Float[Tensor, "width width"]):
        self.matrix = matrix.requires_grad_(True)

    def mix(self, inside: Float[Tensor, "*some width"], outside: Float[Tensor, "*some width"]) -> Tensor:
        return outside + (inside - outside) @ self.matrix


# -- bits


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
