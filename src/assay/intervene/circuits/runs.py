"""Runs the circuit of a plan on rows: the engine's logits of every position, for the runner.

Rows for which a named position means different columns are run apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.errors import ComponentError, TaskError
from assay.intervene.circuits.engine import CircuitBatch, CircuitEngine
from assay.intervene.circuits.groups import MEMORY, budget, grouped
from assay.intervene.edits.engine import EditRunner
from assay.intervene.plan import CircuitRun, From, Plan, Source
from assay.model.edge_sets import EdgeSet, Position, shared_columns
from assay.task.examples import Examples


def columns_of(
    examples: Examples, positions: tuple[Position, ...], rows: Int[np.ndarray, "rows"]
) -> dict[Position, Int[np.ndarray, "rows"]]:
    """The column of each row that each position means.

    Raises:
        TaskError: for a column that some row does not have, and for a name that the task does not have.
    """
    out: dict[Position, np.ndarray] = {}
    for position in positions:
        if position is not None:
            try:
                out[position] = examples.at(position, rows)
            except TaskError as problem:
                raise TaskError(f"an edge is kept @{position}, and {problem}") from None
    return out


def row_masks(
    examples: Examples, sets: Sequence[EdgeSet], rows: Int[np.ndarray, "rows"]
) -> list[tuple[Int[np.ndarray, "some"], Bool[np.ndarray, "sets edges *pos"]]]:
    """Rows for which all sets of edges are the same masks, with these: [sets, edges], with positions also [.., pos]."""
    positions = tuple(dict.fromkeys(p for one in sets for p in one.positions if p is not None))
    width = examples.tokens.shape[1]
    if not positions:
        return [(rows, np.stack([one.mask({}, width) for one in sets]))]
    columns = columns_of(examples, positions, rows)
    out = []
    for places in shared_columns(columns, len(rows)):
        here: Mapping[Position, int] = {position: int(found[places[0]]) for position, found in columns.items()}
        masks = [one.mask(here, width) for one in sets]
        wide = [mask if mask.ndim == 2 else np.repeat(mask[:, None], width, 1) for mask in masks]
        out.append((rows[places], np.stack(wide)))
    return out


def engine_of(runner: EditRunner, plan: Plan, run: CircuitRun) -> CircuitEngine:
    """The engine of a plan's circuit, whose fill is the run that the circuit names.

    Raises:
        ComponentError: when that run leaves a writer as it is.
    """
    fill = plan.fill_of(run)
    given = {edit.site: edit.source for edit in fill.edits}
    consistent = not run.edits and _one_run(plan, list(given.values()))
    out = CircuitEngine(
        runner, plan, fill, fill.name, frozen_norm=run.frozen_norm, consistent=consistent, edits=run.edits
    )
    missing = [str(site) for site in out.sites if site not in given]
    if missing:
        raise ComponentError(f"the run {fill.name!r} fills no edge out of {missing[0]!r}")
    return out


def _one_run(plan: Plan, sources: list[Source]) -> bool:
    """Whether all these are the values of one unedited run on the same rows."""
    found: list[From] = [source for source in sources if isinstance(source, From)]
    if len(found) < len(sources):
        return False
    first = found[0]
    donor = plan.run(first.run)
    if donor.edits or isinstance(donor, CircuitRun):
        return False
    return all(
        (source.run, source.site) == (first.run, None) and np.array_equal(_rows(source), _rows(first))
        for source in found
    )


def _rows(source: From) -> Int[np.ndarray, "rows"]:
    return np.full(1, -1) if source.rows is None else source.rows


def run_circuit(
    engine: CircuitEngine, edges: EdgeSet, rows: Int[np.ndarray, "rows"], *, stream: bool = False
) -> Float[Tensor, "rows pos _"]:
    """Logits of every position; with `stream`, what the final norm reads instead. Fills that ask for gradients get
    them."""
    size = budget(engine, len(rows), MEMORY).rows
    out: Tensor | None = None
    place = {int(row): index for index, row in enumerate(rows)}
    for some, mask in row_masks(engine.task, [edges], rows):
        (group,) = grouped(engine, mask, len(some), 1)
        for start in range(0, len(some), size):
            part = some[start : start + size]
            batch = CircuitBatch(engine, part, every=True)
            matrix = batch.matrix(mask)
            base = batch.clean if group.clean else batch.empty
            if batch.fills.input.requires_grad:
                base, matrix = batch.clean, torch.from_numpy(np.asarray(matrix)).to(batch.fills.input)
            found = batch.vary(base, matrix, stream=stream).logits[0]
            found = found.unflatten(0, (len(part), -1))
            if out is None:
                out = found.new_empty(len(rows), *found.shape[1:])
            out[torch.tensor([place[int(row)] for row in part], device=out.device)] = found
    assert out is not None
    return out
