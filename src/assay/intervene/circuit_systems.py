"""Runs circuits of many plans together: those with one fill share its run, those that need the same nodes a call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.intervene.circuit_groups import MEMORY, Group, budget, grouped
from assay.intervene.circuit_runs import engine_of, row_masks
from assay.intervene.circuit_scores import run_group
from assay.intervene.circuits import CircuitBatch, CircuitEngine
from assay.intervene.edit_runner import EditRunner
from assay.intervene.plan import Plan
from assay.intervene.side_by_side import side_by_side
from assay.model.edge_sets import EdgeSet

T = TypeVar("T")
Use = Callable[[int, Int[np.ndarray, "some"], Float[Tensor, "some vocab"]], T]


@dataclass(frozen=True, eq=False)
class _Together:
    """Circuits with one fill whose edges are kept at the same named positions."""

    engine: CircuitEngine
    members: list[int]
    sets: list[EdgeSet]


class CircuitSystems:
    """The circuits of plans, to be run on one batch of rows after another.

    Args:
        plans: each ends with a circuit.
    """

    def __init__(self, runner: EditRunner, plans: Sequence[Plan]):
        self.runner = runner
        found: dict[tuple[int, bool, tuple], _Together] = {}
        for index, plan in enumerate(plans):
            run = plan.final
            assert run.circuits is not None
            fill, edges = plan.run(run.circuits.fill), run.circuits.edges
            key = id(fill), run.frozen_norm, edges.positions if edges.by_position else ()
            if key not in found:
                found[key] = _Together(engine_of(runner, plan, run), [], [])
            found[key].members.append(index)
            found[key].sets.append(edges)
        self.together = list(found.values())
        self.plans = plans  # kept, so that the ids of their fills stay their own

    @torch.no_grad()
    def __call__(self, rows: Int[np.ndarray, "rows"], use: Use[T]) -> Iterator[tuple[int, T]]:
        """What `use` makes of every circuit's logits: (which plan, that), in pieces of the rows' scored items.

        Args:
            use: called with a plan's place, which of the rows' scored items these are, and their logits; calls run side
                by side.
        """
        items = self.runner.task.items(rows)
        for one in self.together:
            calls = budget(one.engine, len(rows), MEMORY)
            most = max(1, calls.variants // torch.get_num_threads())
            for some, masks in row_masks(self.runner.task, one.sets, rows):
                plan = grouped(one.engine, masks, calls.rows, most)
                for start in range(0, len(some), calls.rows):
                    part = some[start : start + calls.rows]
                    where = np.flatnonzero(np.isin(rows[items.row], part))
                    batch = CircuitBatch(one.engine, part)
                    _ = batch.clean if any(group.clean for group in plan) else None  # made before threads ask for them
                    _ = None if all(group.clean for group in plan) else batch.empty

                    def used(
                        group: Group, batch=batch, masks=masks, where=where, members=one.members
                    ) -> list[tuple[int, T]]:
                        return [
                            (members[variant], use(members[variant], where, logits))
                            for variant, logits in zip(group.members, run_group(batch, masks, group), strict=True)
                        ]

                    for several in side_by_side(used, plan):
                        yield from several
