"""Loads what a claim, a model and a task name, and checks that they fit together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from assay.errors import ClaimError, TaskError, UserError, shown
from assay.explanations.base import Explanation
from assay.explanations.claims.data import check_data
from assay.explanations.claims.file import ClaimFile, load_claim
from assay.measure.controls import model_floors
from assay.measure.job import Job
from assay.measure.record import register
from assay.measure.settings import Flags, Settings
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.planted.load import load
from assay.store.register import check as check_register
from assay.store.register import register_path
from assay.store.runs import check_target
from assay.task.documents import spread
from assay.task.found_on import read_found_on
from assay.task.task import Task


def resolve(
    claim: Any,
    model: Any,
    task: Task | None,
    settings: Settings | None,
    flags: Flags,
) -> Job:
    """Loads what the claim names and checks that the parts fit together, and that the run can be written."""
    check_order(claim, model, task)
    if task is not None:
        check_task(task)
    file = load_claim(claim) if isinstance(claim, (str, Path)) else claim if isinstance(claim, ClaimFile) else None
    if settings is not None and flags:
        raise UserError(
            f"{next(iter(flags))!r} is given beside 'settings'; give it to Settings.resolve with the others"
        )
    settings = settings or Settings.resolve(file, **flags)
    if file is not None and task is None:
        check_data(file, settings.ablation)  # flags may name an ablation that the file did not
    if settings.out is not None:
        check_target(settings.out, settings.overwrite)
        if file is not None:
            check_register(register_path(settings.out))
    if settings.register and file is not None and settings.out is not None:
        register(file, settings.out, settings.ablation)  # before any data is opened
    if file is None:
        if not isinstance(claim, Explanation):
            raise ClaimError(
                f"{shown(claim)} is no explanation; use assay.Program, Keep, Remove, Constant or Circuit, a subclass "
                "of assay.Explanation, or a claim file"
            )
        if model is None or task is None:
            raise ClaimError("measuring an explanation needs a model and a task: assay.measure(claim, model, task)")
        explanation = claim
    else:
        explanation = file.build_explanation()
        _ = file.hash  # of the circuit file as it is now, not as it is when everything has been measured
    model_floors.check_names(explanation, model if model is not None or file is None else file.model, settings.floors)
    source = model if model is not None else file.model if file is not None else None
    loaded = open_model(source, settings)
    if file is not None:
        file.check(loaded)
        task = task or file.build_task(loaded, settings.documents, settings.seed)
    assert task is not None
    loaded, task = together(loaded, task, settings)
    explanation.scope(loaded)
    floors = model_floors.floor_models(loaded, task, settings.floors)
    found = None if settings.found_on is None else read_found_on(settings.found_on, loaded)
    return Job(explanation, loaded, task, settings, file, floors, found)


def check_order(claim: Any, model: Any, task: Any) -> None:
    """Raises `ClaimError` where a claim, a model or a task is given in another one's place."""
    kinds = {"claim": (Explanation, ClaimFile), "model": (Model, ModuleModel, torch.nn.Module), "task": (Task,)}
    for place, given in (("claim", claim), ("model", model), ("task", task)):
        other = next((name for name, types in kinds.items() if name != place and isinstance(given, types)), None)
        if other is not None:
            raise ClaimError(
                f"assay.measure takes a claim, a model and a task, in this order, and the {place} that it was given is "
                f"the {other} {shown(given, 120)}"
            )


def open_model(model: Any, settings: Settings) -> Model | ModuleModel:
    """The model, which is loaded where it is a name or another library's."""
    if isinstance(model, Model | ModuleModel):
        return model
    dtype = None if settings.dtype is None else getattr(torch, settings.dtype)
    return load(model, dtype=dtype, device=settings.device)


def check_task(task: Any) -> None:
    """Raises `TaskError` for what is no task."""
    if not isinstance(task, Task):
        raise TaskError(f"{shown(task)} is no task; use assay.Task.text, .repeat, .prompts, .classify or .from_ids")


def together(model: Model | ModuleModel, task: Task, settings: Settings) -> tuple[Model | ModuleModel, Task]:
    """A model, and what is scored of a task.

    Raises:
        TaskError: for a task without a reference.
    """
    if task.reference is None or not len(task.reference.tokens):
        raise TaskError(f"the task {task.name!r} has no reference examples, which ablations are filled from")
    if settings.documents is not None and len(task.documents) > settings.documents:
        task = task.subset(spread(task.strata, task.clusters, settings.documents, settings.seed))
    if isinstance(model, ModuleModel):
        model = model.on(task.tokens[:1].to(model.device))
    return model, task
