"""`measure`: one explanation of one model on one task, from the claim to the record.

It decides what is scored and in which order; every number is made by the yardstick that is named after it.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from assay.errors import ClaimError, TaskError
from assay.explanations.base import Explanation
from assay.explanations.claims.data import check_data
from assay.explanations.claims.file import ClaimFile, load_claim
from assay.intervene.ablations import Workbench
from assay.intervene.runner import Runner
from assay.measure import record as recorded
from assay.measure.context import Context
from assay.measure.controls import model_floors, rivals
from assay.measure.controls.controls import controls
from assay.measure.controls.nearest import Nearest
from assay.measure.headline.figures import Figures, figures
from assay.measure.headline.systems import NOOP, Systems, systems
from assay.measure.job import Job
from assay.measure.measurement import Measurement
from assay.measure.score import Scored, score
from assay.measure.settings import Settings
from assay.measure.tokens.examples import examples
from assay.measure.yardsticks import Gathered, gather
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.planted.load import load
from assay.store.register import check as check_register
from assay.store.register import register_path
from assay.store.runs import check_target
from assay.task.documents import spread
from assay.task.found_on import read_found_on
from assay.task.rows import control_rows
from assay.task.task import Task

Progress = Callable[[str, int, int | None], None]


def measure(
    claim: Explanation | ClaimFile | str | Path | Any,
    model: Any = None,
    task: Task | None = None,
    *,
    settings: Settings | None = None,
    progress: Progress | None = None,
    **flags: Any,
) -> Measurement:
    """Measures how much an explanation explains.

    Args:
        claim: an explanation (then `model` and `task` are needed), a claim file, or its path.
        model: as in `assay.load`; task: what is scored.
        settings: how; or single settings as keywords: ablation="mean", seed=0, documents=40, ...
        progress: called with (stage, done, total).

    Raises:
        UserError: for a claim, model or task that cannot be measured; one sentence each.
    """
    started = time.time()
    say = progress or _silent
    say("loading", 0, None)
    job = resolve(claim, model, task, settings, flags)
    result = measured(job, say, started)
    problem = recorded.logged(job, result.record)
    if problem is not None:
        warnings.warn(f"the measurement is not in the register: {problem}", stacklevel=2)
    return result


def measure_into(
    claim: ClaimFile, settings: Settings, progress: Progress | None = None
) -> tuple[Measurement, str | None]:
    """Measures a claim file, saves the run in `settings.out`, and then logs it: what was computed is never lost.

    Returns:
        The measurement, and why it is not in the register (None: it is).

    Raises:
        UserError: as `measure`; a folder or a register that cannot be written is found before anything is measured.
    """
    assert settings.out is not None
    started = time.time()
    say = progress or _silent
    check_target(settings.out, settings.overwrite)
    check_register(register_path(settings.out))
    say("loading", 0, None)
    job = resolve(claim, None, None, settings, {})
    result = measured(job, say, started)
    result.save(settings.out, overwrite=settings.overwrite)
    problem = recorded.logged(job, result.record)
    return result, problem and f"the run is saved in {settings.out!r}, but not logged as a try: {problem}"


def _silent(stage: str, done: int, total: int | None) -> None:
    """Progress that nobody watches."""


def measured(job: Job, say: Progress, started: float) -> Measurement:
    """The measurement of a job; nothing is written."""
    torch.manual_seed(job.settings.seed)  # nothing draws from it; a library that would is at least repeatable
    bench = Workbench(
        Runner(job.model, job.task),
        job.settings.seed,
        frozen_norm=job.settings.frozen_norm,
        refit=job.settings.refit,
    )
    say("fitting on the reference", 0, None)
    plans = systems(bench, job.explanation, job.settings.ablation, job.settings.draws)
    rows = control_rows(job.task)
    people = rivals.contestants(bench, job.settings, job.explanation, ablation=job.settings.ablation[0], rows=rows)
    people += model_floors.as_rivals(job.floors, people)
    scored = scored_systems(bench, plans, people, say)
    used = scored.count > 0
    resamples = job.task.resamples(np.flatnonzero(used), job.settings.seed, scored.count[used])
    numbers = figures(job.explanation, scored, resamples, plans, job.settings.floors)
    say("controls", 0, None)
    block = controls(bench, job.explanation, job.settings, ablation=numbers.ablation, rows=rows, rivals=people)
    near = None if block["nearest"] is None else Nearest(**block["nearest"])
    context = Context(job, bench, plans, people, scored, resamples, numbers)
    record = recorded.record(context, gather(context, near, say), block, started)
    return Measurement(record, examples(job.task, scored, plans), None if job.claim is None else job.claim.source.text)


def resolve(
    claim: Any,
    model: Any,
    task: Task | None,
    settings: Settings | None,
    flags: dict[str, Any],
) -> Job:
    """Loads what the claim names and checks that the parts fit together."""
    file = load_claim(claim) if isinstance(claim, (str, Path)) else claim if isinstance(claim, ClaimFile) else None
    settings = settings or Settings.resolve(file, **flags)
    if file is not None and task is None:
        check_data(file, settings.ablation)  # flags may name an ablation that the file did not
    if settings.register and file is not None and settings.out is not None:
        recorded.register(file, settings.out, settings.ablation)  # before any data is opened
    if file is None:
        if not isinstance(claim, Explanation):
            shown = " ".join(repr(claim).split())
            shown = f"{shown[:77]}..." if len(shown) > 80 else shown
            raise ClaimError(
                f"{shown} is no explanation; use assay.Program, Keep, Remove, Constant or Circuit, a subclass of "
                "assay.Explanation, or a claim file"
            )
        if model is None or task is None:
            raise ClaimError("measuring an explanation needs a model and a task: assay.measure(claim, model, task)")
        if not isinstance(task, Task):
            raise TaskError(f"{task!r} is no task; use assay.Task.text, .repeat, .prompts, .classify or .from_ids")
        explanation = claim
    else:
        explanation = file.build_explanation()
        _ = file.hash  # of the circuit file as it is now, not as it is when everything has been measured
    model_floors.check_names(explanation, model if model is not None or file is None else file.model, settings.floors)
    source = model if model is not None else file.model if file is not None else None
    loaded = source if isinstance(source, Model | ModuleModel) else _load(source, settings)
    if file is not None:
        file.check(loaded)
        task = task or file.build_task(loaded, settings.documents, settings.seed)
    assert task is not None
    if task.reference is None or not len(task.reference.tokens):
        raise TaskError(f"the task {task.name!r} has no reference examples, which ablations are filled from")
    if settings.documents is not None and len(task.documents) > settings.documents:
        task = task.subset(spread(task.strata, task.clusters, settings.documents, settings.seed))
    if isinstance(loaded, ModuleModel):
        loaded = loaded.on(task.tokens[:1].to(loaded.device))
    explanation.scope(loaded)
    floors = model_floors.floor_models(loaded, task, settings.floors)
    found = None if settings.found_on is None else read_found_on(settings.found_on, loaded)
    return Job(explanation, loaded, task, settings, file, floors, found)


def _load(source: Any, settings: Settings) -> Model | ModuleModel:
    dtype = None if settings.dtype is None else getattr(torch, settings.dtype)
    return load(source, dtype=dtype, device=settings.device)


def scored_systems(bench: Workbench, plans: Systems, people: list[rivals.Rival], say: Progress) -> Scored:
    """Everything that is scored on all rows, with "explained:<ablation>" for every ablation."""
    every = {**plans.plans, **{rival.name: rival.system for rival in people}}
    total, done = len(bench.task.tokens), 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        say("scoring", done, total)

    say("scoring", 0, total)
    keep = ["model", *(name for name in every if name != NOOP and name not in plans.parts.names)]
    scored = score(bench, every, keep=keep, advance=advance)
    named = {f"explained:{ablation}": scored[name] for ablation, name in plans.explained.items()}
    return replace(scored, systems={**scored.systems, **named})


__all__ = ["Figures", "Gathered", "Job", "Measurement", "measure"]
