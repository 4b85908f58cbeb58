"""Learned masks: every edge has a gate between fill and own value, trained to keep few open at a small KL.

Hard-concrete gates (Louizos et al. 2018): each is 0 or 1 with some probability, and has a gradient in between. After
each step all are shifted alike, so that the expected number of open ones follows a schedule down to the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.errors import ClaimError
from assay.intervene.circuits.engine import Circuits, transformer_of
from assay.intervene.circuits.groups import MEMORY, TOKENS
from assay.intervene.fill.ablations import PlanContext
from assay.methods.edge_scores import EdgeScores
from assay.score.circuits import CircuitTarget, draws_of
from assay.score.score import Advance
from assay.stats.keyed import generator, torch_generator

BETA, LOW, HIGH = 2 / 3, -0.1, 1.1  # temperature, and the interval that is clipped to [0, 1]
SPREAD = 2.0  # log-alphas of the worst and best edge of scores that training begins from


@dataclass(frozen=True, eq=False)
class Learned:
    """Trained gates.

    Attributes:
        scores: their log-alphas.
        kl: [steps] KL(model || gates) of each step's rows, in nats; sizes: [steps] open gates, in expectation.
    """

    scores: EdgeScores
    kl: tuple[float, ...]
    sizes: tuple[float, ...]


def sampled(log_alpha: Float[Tensor, "edges"], uniform: Float[Tensor, "edges"]) -> Float[Tensor, "edges"]:
    """Gates in [0, 1] from uniform noise."""
    s = torch.sigmoid((uniform.log() - (-uniform).log1p() + log_alpha) / BETA)
    return (s * (HIGH - LOW) + LOW).clamp(0, 1)


def open_share(log_alpha: Float[Tensor, "edges"]) -> Float[Tensor, "edges"]:
    """The probability that each gate is not 0."""
    return torch.sigmoid(log_alpha - BETA * log(-LOW / HIGH))


def shifted(log_alpha: Float[Tensor, "edges"], count: float) -> Float[Tensor, "edges"]:
    """Log-alphas moved alike, so that `count` gates are open in expectation."""
    exact = log_alpha.double()
    low, high = -float(exact.max()) - 40.0, 40.0 - float(exact.min())
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if float(open_share(exact + middle).sum()) < count else (low, middle)
    return (exact + low).to(log_alpha.dtype)


def learned_masks(
    workbench: PlanContext,
    ablation: str,
    size: int,
    *,
    begin: EdgeScores | None = None,
    steps: int = 400,
    rate: float = 0.3,
    samples: int = 1,
    together: int = 8,
    draws: Sequence[int] = (0,),
    rows: Int[np.ndarray, "rows"] | None = None,
    seed: int = 0,
    memory: int = MEMORY,
    advance: Advance | None = None,
) -> Learned:
    """Trains gates on all edges to an expected number of open ones.

    The target moves from all edges to `size`, by equal factors, over the first half of the steps.

    Args:
        begin: another method's scores, by whose ranks log-alphas are spread at the start (default: all alike).
        rate: Adam's learning rate, falling to a tenth by the end.
        samples: how many draws of the gates a step has, side by side; together: rows of a step.
        draws: the numbers of a random ablation's draws, taken in turn.
        rows: the task's rows to learn on (default: all).
        seed: draws the gates and the order of rows.
        memory: bytes of batches that are kept from step to step.
        advance: called with 1 after each step.

    Raises:
        ClaimError: for a size that the model has not, or no steps.
    """
    edges = transformer_of(workbench).edges
    if not 0 < size <= len(edges) or steps < 1:
        raise ClaimError(
            f"{size} of {len(edges)} edges in {steps} steps is not a size to learn; give at least 1 of both"
        )
    before = workbench.runner.forwards
    batches = _Batches(workbench, ablation, draws_of(ablation, draws), rows, together, seed, memory)
    first = np.zeros(len(edges)) if begin is None else SPREAD * (2 * begin.ranks() - 1)
    log_alpha = torch.tensor(first, device=workbench.model.device, dtype=workbench.model.dtype, requires_grad=True)
    gates = torch.optim.Adam([log_alpha], lr=rate)
    kls, sizes = [], []
    for step in range(steps):
        wanted = len(edges) * (size / len(edges)) ** min(1.0, 2 * (step + 1) / steps)
        with torch.no_grad():
            log_alpha.copy_(shifted(log_alpha, min(wanted, 0.999 * len(edges))))
        noise = torch.rand(samples, len(edges), generator=torch_generator(seed, "gates", step)).to(log_alpha)
        target = batches.at(step)
        values = torch.stack([sampled(log_alpha, u) for u in noise.clamp(1e-6, 1 - 1e-6)])
        kl = target.mean_kl(target.batch.vary(target.batch.clean, target.batch.matrix(values)).logits).mean()
        (log_alpha.grad,) = torch.autograd.grad(kl, [log_alpha])
        gates.param_groups[0]["lr"] = rate * (1 - 0.9 * step / steps)
        gates.step()
        kls.append(float(kl.detach()))
        sizes.append(float(open_share(log_alpha.detach()).sum()))
        if advance:
            advance(1)
    last = shifted(log_alpha.detach(), min(float(size), 0.999 * len(edges)))
    settings: dict[str, Any] = {
        "ablation": ablation,
        "size": size,
        "steps": steps,
        "rate": rate,
        "samples": samples,
        "together": together,
        "draws": draws_of(ablation, draws),
        "rows": len(workbench.task.tokens) if rows is None else len(rows),
        "seed": seed,
        "seeded_by": None if begin is None else begin.summary,
    }
    passes = workbench.runner.forwards - before + batches.backward + (0.0 if begin is None else begin.passes)
    scores = EdgeScores(last.double().cpu().numpy(), "learned masks", settings, passes)
    return Learned(scores, tuple(kls), tuple(sizes))


class _Batches:
    """Rows of each step: all rows in a keyed order, then in another one, with their runs kept while memory allows."""

    def __init__(
        self,
        workbench: PlanContext,
        ablation: str,
        draws: tuple[int, ...],
        rows: Int[np.ndarray, "rows"] | None,
        together: int,
        seed: int,
        memory: int,
    ):
        self.circuits = [Circuits(workbench, ablation, draw) for draw in draws]
        rows = np.arange(len(workbench.task.tokens)) if rows is None else np.asarray(rows)
        order = generator(seed, "rows of learned masks").permutation(rows)
        size = max(1, min(together, TOKENS // workbench.task.tokens.shape[1]))
        self.parts = [np.sort(order[i : i + size]) for i in range(0, len(order), size)]
        self.seed, self.memory, self.backward = seed, memory, 0.0
        self._kept: dict[tuple[int, int], CircuitTarget] = {}

    def at(self, step: int) -> CircuitTarget:
        """The batch of a step; each part of the rows comes once under every draw before any comes again."""
        cycle, place = divmod(step, len(self.parts) * len(self.circuits))
        place = int(
            generator(self.seed, "order of learned masks", cycle).permutation(len(self.parts) * len(self.circuits))[
                place
            ]
        )
        part, draw = place % len(self.parts), place // len(self.parts)
        self.backward += len(self.parts[part])
        if (part, draw) in self._kept:
            return self._kept[part, draw]
        target = CircuitTarget(self.circuits[draw].batch(self.parts[part]))
        state = target.batch.clean
        size = sum(x.nbytes for x in (state.delta, *state.q, *state.k, *state.v, target.own, target.probabilities))
        if (len(self._kept) + 1) * size <= self.memory:
            self._kept[part, draw] = target
        return target
