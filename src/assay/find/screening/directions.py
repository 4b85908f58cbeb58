"""A low-dimensional summary of the stream at a cut: directions that are held, random, principal or learned.

Learned ones are fitted on the reference by gradient: with other donors in every step they are the directions of the
least KL(model || run in which only they are held). They start from what a first-order account gives: along the way from
the donor's stream to the row's own, the symmetric part of Σ δ gᵀ (δ the difference, g the gradient) has the floor's KL
as its trace, and its first eigenvectors are the directions that account for the most of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from assay.errors import ClaimError
from assay.explanations.subspace.fits import basis_of
from assay.explanations.subspace.spec import Pca, Random
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.donors import full_rows
from assay.intervene.fill.least_kl import Divergence
from assay.intervene.plan import Coordinates, Edit, EditRun, From, Mix, Own, Plan
from assay.intervene.screened import cut_of
from assay.model.transformer import Model
from assay.stats.keyed import generator

Basis = Float[Tensor, "width k"]
ALONG = (1 / 8, 3 / 8, 5 / 8, 7 / 8)  # of the way from the donor's stream to the row's own
LOOK, PATIENCE = 10, 4  # steps between two looks at the held-out rows, and looks without gain until a fit ends
SLOWER = 3.0  # after such a look a fit goes on from its best, at a lower rate


def random_directions(workbench: PlanContext, cut: str, k: int, seed: int = 0) -> Basis:
    return basis_of(workbench, cut_of(workbench.model, cut), Random(k, seed))


def principal_directions(workbench: PlanContext, cut: str, k: int) -> Basis:
    """Of most variance on the reference, the first position left out."""
    return basis_of(workbench, cut_of(workbench.model, cut), Pca(k))


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
