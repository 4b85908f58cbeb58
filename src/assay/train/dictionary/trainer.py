"""One dictionary in training: its steps, its optimiser, its dead features, and its checkpoint."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from assay.errors import UserError
from assay.train.dictionary.code import SparseCode
from assay.train.dictionary.losses import StepLoss, dense_step, sparse_step
from assay.train.dictionary.parameters import CodeParameters
from assay.train.dictionary.settings import CodeSettings

BETAS = (0.9, 0.999)
PENALTY = 1e-3  # of an active feature at the start, in shares of the variance; it is steered from there
STEER = 0.02  # how much of the distance to the wanted number of active features a step makes up for, as a logarithm
SMOOTH = 0.05  # of a step's number of active features in what steers
LEAST_DEAD = 20_000  # tokens at least, after which a feature may count as dead
OUTLIER = 3.0  # times the median norm: larger values are not coded
LOOK = 20  # steps between points of the curve


@dataclass(frozen=True, eq=False)
class Scales:
    """What values are centred and scaled by before they are coded: after it a direction has variance 1 on average.

    Attributes:
        mean: [width] of the values; scale: what they are multiplied with; most: the largest norm of what is coded.
    """

    mean: Float[Tensor, "width"]
    scale: float
    most: float

    @classmethod
    def of(cls, values: Float[Tensor, "n width"]) -> Scales:
        """Raises `UserError` for values that do not vary, or are not finite."""
        norms = values.norm(dim=-1)
        most = OUTLIER * float(norms.median())
        values = values[norms <= most] if most > 0 else values
        mean = values.mean(0)
        spread = float((values - mean).square().sum(-1).mean())
        if not math.isfinite(spread):
            raise UserError("the values that a dictionary is trained on hold numbers that are not finite")
        if spread <= 0:
            raise UserError("the values that a dictionary is trained on are all the same, so there is nothing to code")
        return cls(mean, (values.shape[-1] / spread) ** 0.5, most)


@dataclass
class CodeTrainer:
    """A dictionary that is trained step by step.

    Args:
        settings: what it is; steps: how many it is trained for; reads, writes: scales of what it reads, and of what it
            is to say (None: the same, it is an autoencoder); skip: it has a linear path beside its features.
    """

    settings: CodeSettings
    steps: int
    reads: Scales
    writes: Scales | None = None
    skip: bool = False
    curve: list[tuple[int, float, float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        into = self.writes or self.reads
        self.own = CodeParameters(
            self.settings,
            len(self.reads.mean),
            len(into.mean),
            transcodes=self.writes is not None,
            skip=self.skip,
            mean_in=self.reads.mean * self.reads.scale,
            mean_out=into.mean * into.scale,
        ).to(self.reads.mean.device)
        self.step, self.penalty, self._active = 0, PENALTY, math.nan
        self.since = torch.zeros(self.settings.width, dtype=torch.long, device=self.reads.mean.device)
        self.optimizer = torch.optim.Adam(self.own.trained(), lr=self.settings.peak, betas=BETAS, fused=True)
        self._noted: list[StepLoss] = []

    @property
    def dead_after(self) -> int:
        """Tokens without being active, after which a feature is dead."""
        given = self.settings.dead_after
        return max(LEAST_DEAD, self.steps * self.settings.batch // 10) if given is None else given

    @property
    def dead(self) -> Bool[Tensor, "width"]:
        return self.since >= self.dead_after

    def learn(self, x: Float[Tensor, "n d_in"], y: Float[Tensor, "n d_out"] | None = None) -> None:
        """One step on values that are not scaled, without those that are not coded."""
        taken = x.norm(dim=-1) <= self.reads.most
        if not bool(taken.all()):
            x, y = x[taken], None if y is None else y[taken]
        x = x * self.reads.scale
        y = x if y is None or self.writes is None else y * self.writes.scale
        dead = self.dead
        if self.own.selects:
            found = sparse_step(self.own, x, y, dead)
        else:
            found = dense_step(self.own, x, y, dead, self.penalty)
            self._steer(float(found.active))
        self.own.along_norms()
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.peak * self.settings.rate_at(self.step, self.steps)
        self.optimizer.step()
        self.own.keep_norms()
        self.since = torch.where(found.fired, 0, self.since + len(x))
        self.step += 1
        self._note(found)

    def _steer(self, active: float) -> None:
        """The penalty rises where more features are active than are wanted, and falls where fewer are."""
        self._active = active if math.isnan(self._active) else self._active + SMOOTH * (active - self._active)
        apart = math.log(max(self._active, 1e-2) / self.settings.k)
        self.penalty *= math.exp(STEER * max(-1.0, min(1.0, apart)))

    def _note(self, found: StepLoss) -> None:
        self._noted.append(found)
        if self.step % LOOK and self.step < self.steps:
            return
        error = float(torch.stack([one.error for one in self._noted]).mean())
        active = float(torch.stack([one.active.float() for one in self._noted]).mean())
        self._noted = []
        if not math.isfinite(error):
            raise FloatingPointError(f"the loss of {self.settings.name} is {error} at step {self.step}")
        self.curve.append((self.step * self.settings.batch, error, active, float(self.dead.float().mean())))

    def code(self) -> SparseCode:
        """What it is by now, for values that are not scaled."""
        into = self.writes or self.reads
        return replace(self.own.code(self.reads.scale, into.scale), most=self.reads.most)

    def state(self) -> dict[str, Any]:
        """All that `restore` needs to go on from here."""
        return {
            "step": self.step, "penalty": self.penalty, "active": self._active, "since": self.since,
            "own": self.own.state_dict(), "optimizer": self.optimizer.state_dict(), "curve": self.curve,
            "noted": [(one.error, one.active, one.fired) for one in self._noted],
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        self.step, self.penalty, self._active = state["step"], state["penalty"], state["active"]
        self.since, self.curve = state["since"], [tuple(point) for point in state["curve"]]
        self._noted = [StepLoss(*one) for one in state["noted"]]
        self.own.load_state_dict(state["own"])
        self.optimizer.load_state_dict(state["optimizer"])
