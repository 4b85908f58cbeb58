"""Fits by gradient through the runner: the parameters that bring an edited model nearest to the model on the reference.

L-BFGS on some reference rows, until the KL on other reference rows stops falling; the best on those is returned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from assay.intervene.edits.engine import EditRunner
from assay.intervene.fill.fit_context import FitContext
from assay.intervene.output import Output
from assay.intervene.plan import Data, Edit, EditRun, Plan
from assay.model.sketch import Sketch
from assay.model.transformer import Model
from assay.record.about import Fit

POSITIONS = 4_096  # columns of all rows that are fitted on
FEWEST, EXAMPLES = 8, 128  # at least so many rows; so many of a model that sees no tokens
CHUNK = 2_048  # columns of the rows that one backward pass holds
KEPT = 1 << 28  # bytes of the model's own distributions that are kept from one step to the next
STEPS, ROUNDS = 5, 60  # of L-BFGS between two looks at the held-out rows, and looks at most
USUAL = 4  # such looks until most fits have settled
SETTLED, PATIENCE = 0.001, 2  # after so many looks in a row that gain a smaller share of the held-out KL it ends


def fit_by_kl(
    workbench: FitContext, parameters: list[Tensor], edits: Callable[[], tuple[Edit, ...]], what: str
) -> tuple[list[Tensor], Fit]:
    """The parameters, which `edits()` uses, of the least KL(model || edited model) on the reference; what it reached.

    There is one at least; they should be of size one (in units of what they move), and start at 0.
    """
    fitted, held = fit_rows(workbench)

    def plan() -> Plan:
        return Plan((EditRun("fitted", "reference", edits(), frozen_norm=workbench.frozen_norm),))

    seen, unseen = Divergence(workbench, plan, fitted), Divergence(workbench, plan, held)
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=STEPS, max_eval=2 * STEPS, history_size=20, line_search_fn="strong_wolfe"
    )
    start, size, evaluations = unseen(), max(seen(), 1e-12), 0

    def loss() -> float:
        nonlocal evaluations
        evaluations += 1
        optimizer.zero_grad()
        return seen(backward=1 / size)  # in units of where it starts: the optimizer's tolerances are absolute

    best, reached, idle = [p.detach().clone() for p in parameters], start, 0
    sketched = isinstance(workbench.model, Sketch)  # of which nothing is asked but what a fit usually costs
    for _ in range(USUAL if sketched else ROUNDS):
        _ = [loss() for _ in range(STEPS)] if sketched else optimizer.step(loss)
        now = unseen()
        idle = 0 if now < reached * (1 - SETTLED) else idle + 1
        if now < reached:
            best, reached = [p.detach().clone() for p in parameters], now
        if idle == PATIENCE and not sketched:
            break
    fit: dict[str, Any] = {"what": what, "rows": len(fitted), "held": len(held), "start": start, "reached": reached}
    return best, Fit(**fit, evaluations=evaluations, settled=idle == PATIENCE)


def fit_rows(
    workbench: FitContext, at_most: int = POSITIONS
) -> tuple[Int[np.ndarray, "fitted"], Int[np.ndarray, "held"]]:
    """Reference rows to fit on and half as many to stop by, keyed, both spread over the reference: it may be ordered by
    source. A lone row is both.

    Args:
        at_most: columns of all that are fitted on; for a model that sees no tokens, rows.
    """
    assert workbench.task.reference is not None
    total = len(workbench.task.reference.tokens)
    if total == 1:
        return np.arange(1), np.arange(1)
    most = min(EXAMPLES, at_most)
    if isinstance(workbench.model, Model):
        most = max(FEWEST, at_most // workbench.task.reference.tokens.shape[1])
    count = min(total, most + most // 2)
    random = np.random.default_rng([workbench.seed, 71])
    edges = np.linspace(0, total, count + 1).round().astype(np.int64)  # one row of each of so many equal stretches
    rows = random.integers(edges[:-1], edges[1:])
    held = np.arange(count) % 3 == random.integers(min(count, 3))
    return rows[~held], rows[held]


class Divergence:
    """KL(model || a plan's scored run) on some reference rows, nats a scored token.

    Args:
        plan: makes the plan, whose scored run may ask for gradients; chunk: rows of a backward pass at most.
        runner: a runner of the reference as what is scored, for plans of scored rows; None: the workbench's, for plans
            of the reference.

    Attributes:
        parts: the rows, as many at a time as one backward pass holds.
    """

    def __init__(
        self,
        workbench: FitContext,
        plan: Callable[[], Plan],
        rows: Int[np.ndarray, "rows"],
        *,
        runner: EditRunner | None = None,
        chunk: int | None = None,
    ):
        assert workbench.task.reference is not None
        self.workbench, self.plan, self.reference = workbench, plan, workbench.task.reference
        self.runner = workbench.runner if runner is None else runner
        self.data: Data = "reference" if runner is None else "scored"
        chunk = min(workbench.runner.batch, chunk or workbench.runner.batch)
        if isinstance(workbench.model, Model):
            chunk = min(chunk, max(FEWEST, CHUNK // self.reference.tokens.shape[1]))
        self.parts = [rows[start : start + chunk] for start in range(0, len(rows), chunk)]
        self.scored = [self._scored(part) for part in self.parts]
        self.count = sum(len(part) if where is None else int(where.sum()) for part, where in zip(
            self.parts, self.scored, strict=True))  # fmt: skip
        self.kept: dict[int, Tensor] = {}
        self.bytes = 0

    def __call__(self, backward: float | None = None) -> float:
        """The divergence. With `backward`, so many times its gradient is added to the parameters' `.grad`."""
        return sum(self.of(index, backward) for index in range(len(self.parts)))

    def of(self, index: int, backward: float | None = None) -> float:
        """What one of the parts adds to it."""
        where = self.scored[index]
        target = self._target(index, self.parts[index])
        with torch.set_grad_enabled(backward is not None):
            output = self.runner.output(self.plan(), self.parts[index])
            loss = kl_div(self._log_probs(output, where), target, log_target=True, reduction="sum") / self.count
            if backward is not None:
                (loss * backward).backward()
        return float(loss.detach()) * (1.0 if backward is None else backward)

    def _scored(self, rows: Int[np.ndarray, "rows"]) -> Tensor | None:
        if self.workbench.task.kind == "classify":
            return None
        return self.reference.scored[torch.from_numpy(rows)][:, 1:].to(self.workbench.model.device)

    def _log_probs(self, output: Output, where: Tensor | None) -> Tensor:
        read = output.values if where is None else output.values[:, :-1][where]
        return log_softmax(output.unembed(read).float(), -1)

    def _target(self, index: int, rows: Int[np.ndarray, "rows"]) -> Tensor:
        if index in self.kept:
            return self.kept[index]
        with torch.no_grad():
            target = self._log_probs(self.runner.clean(self.data, rows).output, self.scored[index])
        size = target.numel() * target.element_size()
        if self.bytes + size <= KEPT:
            self.kept[index], self.bytes = target, self.bytes + size
        return target
