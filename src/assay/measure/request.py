"""What a measurement is asked for: checked, logged where that is asked for, and only then opened."""

from __future__ import annotations

from dataclasses import dataclass
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
from assay.task.encode import refuse_other_tokens
from assay.task.found_on import read_found_on
from assay.task.task import Task


@dataclass(frozen=True, eq=False)
class MeasurementRequest:
    """What a measurement was asked for, checked as far as it can be before any data is opened."""

    explanation: Explanation
    model: Any
    task: Task | None
    settings: Settings
    file: ClaimFile | None

    def register(self) -> None:
        """Logs the try beside the run folder, where `--register` asks for it.

        Raises:
            RunError: for a register that cannot be written.
        """
        if self.settings.register and self.file is not None and self.settings.out is not None:
            register(self.file, self.settings.out, self.settings.ablation)

    def open(self) -> Job:
        """Loads what is named, and checks that the parts fit together.

        Raises:
            UserError: for a model, data or floors that cannot be opened or do not fit.
        """
        file, settings, task = self.file, self.settings, self.task
        model = open_model(self.model, settings)
        if file is not None:
            file.check(model)
            task = task or file.build_task(model, settings.documents, settings.seed)
        assert task is not None
        model, task = together(model, task, settings)
        self.explanation.scope(model)
        floors = model_floors.floor_models(model, task, settings.floors)
        found = None if settings.found_on is None else read_found_on(settings.found_on, model)
        return Job(self.explanation, model, task, settings, file, floors, found)


def request(claim: Any, model: Any, task: Task | None, settings: Settings | None, flags: Flags) -> MeasurementRequest:
    """What is asked for, checked: arguments, the claim file and its data's names, that the run can be written.

    Raises:
        UserError: for what cannot be measured, one sentence each.
    """
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
    if file is not None:
        explanation = file.build_explanation()
        _ = file.hash  # of the circuit file as it is now, not as it is when everything has been measured
        model = file.model if model is None else model
    elif not isinstance(claim, Explanation):
        raise ClaimError(
            f"{shown(claim)} is no explanation; use an assay.Explanation, such as assay.Keep([...]), or a claim file"
        )
    elif model is None or task is None:
        raise ClaimError("measuring an explanation needs a model and a task: assay.measure(claim, model, task)")
    else:
        explanation = claim
    model_floors.check_names(explanation, model, settings.floors)
    return MeasurementRequest(explanation, model, task, settings, file)


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
        TaskError: for a task without a reference, or of another model's tokens.
    """
    if task.reference is None or not len(task.reference.tokens):
        raise TaskError(f"the task {task.name!r} has no reference examples, which ablations are filled from")
    refuse_other_tokens(model, task)
    if settings.documents is not None and len(task.documents) > settings.documents:
        task = task.subset(spread(task.strata, task.clusters, settings.documents, settings.seed))
    if isinstance(model, ModuleModel):
        model = model.on(task.tokens[:1].to(model.device))
    return model, task
