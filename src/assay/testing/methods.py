"""Whether a search for circuits gives what searches give: a score for every edge, the same under the same seed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from assay.intervene.circuits.engine import Circuits
from assay.measure.workbench import Workbench
from assay.methods.edge_methods import edge_scores, searches
from assay.methods.edge_scores import EdgeScores
from assay.methods.registry import EDGE_METHODS, Options
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.planted.load import load
from assay.planted.worlds import world
from assay.promises import held
from assay.score.score import score
from assay.task.task import Task
from assay.testing.promises import Promises, require

WORLD = "planted:and_gate"
ROWS, FEW = 8, 3
OPTIONS = Options(size=4, tau=(1e-2,), steps=8)

Function = Callable[[Circuits, Any, int], EdgeScores]


def check_method(
    method: str | Function,
    model: str | Model | ModuleModel = WORLD,
    task: Task | None = None,
    *,
    ablation: str = "resample_joint",
) -> None:
    """Checks a search for circuits.

    Args:
        method: its name, of an installed plug-in or one of assay's own; or the function of (circuits, rows, seed).
        model, task: what it searches on: by default 8 rows of a planted world; a model that is given needs a task.
        ablation: what cut edges take.

    Raises:
        AssertionError: with every promise that is broken.

    Example:
        >>> check_method("activation_norm")
    """
    loaded = load(model) if isinstance(model, str) else model
    task = task or world(WORLD).task(ROWS)
    promises = Promises(f"the search {method!r}" if isinstance(method, str) else f"the search {method.__name__!r}")

    def found(rows: np.ndarray | None = None) -> tuple[EdgeScores, Workbench]:
        workbench = Workbench(loaded, task, seed=0)
        return _scores(method, workbench, ablation, rows), workbench

    before = _losses(loaded, task)
    several: list[EdgeScores] = []
    with promises.keep("it gives a finite score for every edge"):
        own, workbench = found()
        edges = Circuits(workbench, ablation).edges
        require(len(own.scores) == len(edges), f"{len(own.scores)} scores for {len(edges)} edges")
        several.append(own)
    promises.check()
    (own,) = several
    with promises.keep("the same seed gives the same scores"):
        again, _ = found()
        require(np.array_equal(own.scores, again.scores), "they differ when it is run again")
    with promises.keep("it searches on the rows that it is given"):
        few, _ = found(np.arange(FEW))
        require(len(few.scores) == len(own.scores), f"{len(few.scores)} scores of {FEW} rows")
    with promises.keep("what the record keeps of it is plain data"):
        json.dumps(own.summary, allow_nan=False)
        require(own.passes >= 0, f"it took {own.passes} passes")
        require(own.method, "it has no name")
    with promises.keep("'signed' has a number for every edge"):
        require(own.signed is None or own.signed.shape == own.scores.shape, "it has another shape than the scores")
    with promises.keep("it leaves the model as it was"):
        require(np.array_equal(before, _losses(loaded, task)), "the model gives other losses")
    promises.check()


def _losses(model: Model | ModuleModel, task: Task) -> np.ndarray:
    return score(Workbench(model, task), {}).model.loss


def _scores(method: str | Function, workbench: Workbench, ablation: str, rows: np.ndarray | None) -> EdgeScores:
    """What the search finds; one of assay's own that may be seeded begins as it does by default."""
    if not isinstance(method, str):
        return held(method(Circuits(workbench, ablation), rows, 0), EdgeScores, "the function")
    if method not in EDGE_METHODS:
        return edge_scores(method, workbench, ablation, rows, seed=0)
    if rows is None:
        return searches(workbench, ablation, (method,), OPTIONS, lambda stage, done, total: None)[0]
    begin = EDGE_METHODS[method].begin
    seeds = None if begin is None else edge_scores(begin, workbench, ablation, rows)
    return edge_scores(method, workbench, ablation, rows, begin=seeds, **vars(OPTIONS))
