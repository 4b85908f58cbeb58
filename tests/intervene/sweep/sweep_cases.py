"""Sweeps the plain way: one forward pass for every patch, by the runner's edits or by hooks on the library's model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import Edit, EditRun, From, Plan
from assay.intervene.runner import Runner
from assay.intervene.sweep.fills import sources
from assay.names import parse_site
from assay.task.metrics import log_probabilities, token_scores
from assay.task.task import Task
from tests.intervene.naive_cases import make, sentences
from tests.naive import hooks

Positions = Sequence[int | str | None]


@cache
def prompt_bench(kind: str, dtype: torch.dtype) -> PlanContext:
    """Prompts of several lengths with counterfactuals and a named column, which is another one in every row."""
    model, _ = make(kind, dtype)

    def row(i: int) -> dict[str, str]:
        clean, other = sentences(8, 2)[i], sentences(8, 3)[i]
        answers = {"correct": f" w{34 + i}", "incorrect": f" w{33 - i}"}
        return {"clean": clean, "corrupted": other, "group": f"g{i}", "subject": str(2 + i % 4), **answers}

    return PlanContext(Runner(model, Task.prompts(model, [row(i) for i in range(8)])), seed=5)


def by_edits(
    workbench: PlanContext, ablation: str, names: Sequence[str], positions: Positions, reverse: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """(loss difference, KL) [components, positions, rows] with one plan for each patch."""
    rows = np.arange(len(workbench.task))
    clean = workbench.runner.clean("scored", rows).logits
    base = Plan((EditRun("base", "counterfactual"),)) if reverse else Plan()
    before = _scores(workbench.task, workbench.runner.logits(base, rows), clean)[0]
    loss, kl = np.zeros((2, len(names), len(positions), len(rows)))
    for i, name in enumerate(names):
        source = sources(workbench, [parse_site(name)], ablation, 0)[0]
        for j, position in enumerate(positions):
            edit = Edit(parse_site(name).at(position), From("clean") if reverse else source)
            plan = workbench.plan((edit,))
            if reverse:
                plan = Plan((EditRun("clean"), EditRun("explained", "counterfactual", (edit,))))
            after, kl[i, j] = _scores(workbench.task, workbench.runner.logits(plan, rows), clean)
            loss[i, j] = after - before
    return loss, kl


def by_hooks(
    network: Any, workbench: PlanContext, fill: dict[str, Tensor], columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The same on the library's model; `fill` gives each component's values, `columns` [positions, rows] where."""
    tokens, rows = workbench.task.tokens, torch.arange(len(workbench.task))
    clean = hooks.run(network, tokens, {})
    before = _scores(workbench.task, clean, clean)[0]
    loss, kl = np.zeros((2, len(fill), len(columns), len(rows)))
    for i, (name, value) in enumerate(fill.items()):
        for j, column in enumerate(torch.from_numpy(columns)):

            def patched(old: Tensor, value: Tensor = value, column: Tensor = column) -> Tensor:
                new = old.clone()
                new[rows, column] = value[rows, column].to(old)
                return new

            inside, streams = ({}, {0: patched}) if name == "input" else ({name: patched}, None)
            after, kl[i, j] = _scores(workbench.task, hooks.run(network, tokens, inside, streams=streams), clean)
            loss[i, j] = after - before
    return loss, kl


def _scores(task: Task, logits: Tensor, clean: Tensor) -> tuple[np.ndarray, np.ndarray]:
    rows = np.arange(len(task))
    items = task.items(rows)
    found, model = (log_probabilities(task.gather(x, items)) for x in (logits, clean))
    scores = token_scores(task.metric, found, model, task.targets(rows, items))
    return tuple(np.bincount(items.row, x.double().numpy(), len(rows)) for x in (scores.loss, scores.kl))
