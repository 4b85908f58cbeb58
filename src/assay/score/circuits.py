"""Circuits of a workbench by their edges: many scored at once, or held against the model while a search runs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Int

from assay.intervene.circuits.engine import CircuitBatch, Circuits
from assay.intervene.circuits.groups import MEMORY, budget
from assay.intervene.circuits.plans import circuit_plan
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.spec import is_random
from assay.intervene.plan import Plan
from assay.model.edge_sets import EdgeSet
from assay.score.score import Advance, score
from assay.score.scores import Scored
from assay.score.target import Target
from assay.task.metrics import log_probabilities

Rows = Int[np.ndarray, "rows"]
BASE = -1  # the place of what other circuits are held against


def draws_of(ablation: str, draws: Sequence[int]) -> tuple[int, ...]:
    """The draws that differ: all of a random ablation, the first of any other."""
    return tuple(draws) if is_random(ablation) else tuple(draws)[:1]


def score_circuits(
    workbench: PlanContext,
    sets: Sequence[EdgeSet] | Bool[np.ndarray, "circuits edges"],
    ablation: str,
    *,
    rows: Rows | None = None,
    draws: Sequence[int] = (0,),
    base: EdgeSet | None = None,
    memory: int = MEMORY,
    advance: Advance | None = None,
) -> Scored[int]:
    """Scores circuits, by their places, on the task's rows (all, or those given).

    Args:
        sets: which edges each keeps.
        draws: of a random ablation; of any other the first counts.
        base: the circuit that KL is taken from (under one draw) in place of the model; it is scored too, as `BASE`.
        memory, advance: as in `score`.
    """
    edges = [one if isinstance(one, EdgeSet) else EdgeSet.whole(one) for one in sets]
    plans: dict[int, list[Plan]] = {
        place: [circuit_plan(workbench, one, ablation, draw) for draw in draws_of(ablation, draws)]
        for place, one in enumerate(edges)
    }
    targets: dict[int, Plan] = {}
    if base is not None:
        plans[BASE] = [circuit_plan(workbench, base, ablation)]
        targets = dict.fromkeys(plans, plans[BASE][0])
    return score(workbench, plans, rows=rows, targets=targets, memory=memory, advance=advance)


class CircuitTarget(Target):
    """Rows on which circuits are run, with the model's own distribution over their items."""

    def __init__(self, batch: CircuitBatch):
        task, whole = batch.circuits.task, np.ones((1, len(batch.edges)), dtype=bool)
        with torch.no_grad():
            logits = batch.vary(batch.clean, batch.edges.matrix(whole)).logits[0]
        super().__init__(task.metric, log_probabilities(logits), task.targets(batch.rows, task.items(batch.rows)))
        self.batch = batch


def circuit_targets(
    workbench: PlanContext,
    ablation: str,
    *,
    draws: Sequence[int] = (0,),
    rows: Rows | None = None,
    memory: int = MEMORY,
    variants: int = 1,
) -> Iterator[CircuitTarget]:
    """Batches of the rows (all, or those given) under every draw, each with its own fill.

    Args:
        memory: bytes for one of them with its variants; variants: how many there should be room for.
    """
    rows = np.arange(len(workbench.task.tokens)) if rows is None else np.asarray(rows)
    for draw in draws_of(ablation, draws):
        circuits = Circuits(workbench, ablation, draw)
        size = budget(circuits, len(rows), memory, variants).rows
        for start in range(0, len(rows), size):
            yield CircuitTarget(circuits.batch(rows[start : start + size]))
