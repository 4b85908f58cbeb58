"""Runs circuits of many plans together: those with one fill share its run, those that need the same nodes a call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.intervene.circuits.engine import CircuitBatch, CircuitEngine
from assay.intervene.circuits.groups import MEMORY, VariantGroup, budget, grouped
from assay.intervene.circuits.runs import engine_of, row_masks
from assay.intervene.edits.engine import EditRunner
from assay.intervene.plan import CircuitRun, Plan
from assay.model.edge_sets import EdgeSet


def engine_key(plan: Plan) -> tuple[int | bool, ...]:
    """What circuits must have in common to be run together: the fill's run, how norms are taken, and edits."""
    run = plan.final
    assert isinstance(run, CircuitRun)
    return id(plan.fill_of(run)), run.frozen_norm, *map(id, run.edits)


@dataclass(frozen=True, eq=False)
class CircuitPart:
    """Rows on which circuits with one fill are run.

    Attributes:
        members: places of the circuits' plans; masks: their edges, in the same order.
        where: which of the scored items of all rows are these rows'.
        first: those whose logits others are held against; groups: the others.
    """

    batch: CircuitBatch
    members: Sequence[int]
    masks: Bool[np.ndarray, "members edges *pos"]
    where: Int[np.ndarray, "items"]
    first: Sequence[VariantGroup]
    groups: Sequence[VariantGroup]

    def run(self, group: VariantGroup) -> Iterator[tuple[int, Float[Tensor, "items vocab"]]]:
        """Each of the group's plans, by its place, with its logits of these rows' items."""
        base = self.batch.clean if group.clean else self.batch.empty
        with torch.no_grad():
            logits = self.batch.vary(base, self.batch.matrix(self.masks[group.members])).logits
        yield from zip((self.members[variant] for variant in group.members), logits, strict=True)

    def model(self) -> Float[Tensor, "items vocab"]:
        """The model's own logits: those of the circuit of every edge."""
        whole = np.ones((1, len(self.batch.edges)), dtype=bool)
        return self.batch.vary(self.batch.clean, self.batch.edges.matrix(whole)).logits[0]


@dataclass(frozen=True, eq=False)
class _Together:
    """Circuits with one fill."""

    engine: CircuitEngine
    members: list[int]
    sets: list[EdgeSet]


class CircuitSystems:
    """The circuits of plans, to be run on one batch of rows after another.

    Args:
        plans: each ends with a circuit.
        first: places of those that others with the same fill are held against: they run before these.
        memory: bytes that states and variants may take.
    """

    def __init__(self, runner: EditRunner, plans: Sequence[Plan], first: frozenset[int], memory: int = MEMORY):
        self.runner, self.first, self.memory = runner, first, memory
        self.plans = plans  # kept, so that the ids of their runs stay their own
        held = {engine_key(plans[index]) for index in first}  # these stay together, though positions make them slower
        found: dict[tuple, _Together] = {}
        for index, plan in enumerate(plans):
            run, same = plan.final, engine_key(plan)
            assert isinstance(run, CircuitRun)
            key = same, run.edges.positions if run.edges.by_position and same not in held else ()
            if key not in found:
                found[key] = _Together(engine_of(runner, plan, run), [], [])
            found[key].members.append(index)
            found[key].sets.append(run.edges)
        self.together = list(found.values())

    def parts(self, rows: Int[np.ndarray, "rows"]) -> Iterator[CircuitPart]:
        """All circuits on these rows: fill after fill, as many rows at a time as memory has room for."""
        items = self.runner.task.items(rows)
        for one in self.together:
            calls = budget(one.engine, len(rows), self.memory)
            most = max(1, calls.variants // torch.get_num_threads())
            before = np.array([member in self.first for member in one.members])
            for some, masks in row_masks(self.runner.task, one.sets, rows):
                first, groups = (
                    [
                        VariantGroup(group.clean, places[group.members])
                        for group in grouped(one.engine, masks[places], *size)
                    ]
                    for places, size in (
                        (np.flatnonzero(before), (calls.rows, calls.variants)),
                        (np.flatnonzero(~before), (calls.rows, most)),
                    )
                )
                for start in range(0, len(some), calls.rows):
                    part = some[start : start + calls.rows]
                    where = np.flatnonzero(np.isin(rows[items.row], part))
                    batch = CircuitBatch(one.engine, part)
                    for group in (*first, *groups):  # made before threads ask for them
                        _ = batch.clean if group.clean else batch.empty
                    yield CircuitPart(batch, one.members, masks, where, first, groups)
