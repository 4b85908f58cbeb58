"""`assay.measure`: one explanation of one model on one task; a workbench for one claim."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from assay.explanations.base import Explanation
from assay.explanations.claims.file import ClaimFile
from assay.measure.job import Job
from assay.measure.measurement import Measurement
from assay.measure.record import log_measurement
from assay.measure.resolve import resolve
from assay.measure.settings import Settings
from assay.measure.workbench import Progress, Workbench, logged, measured, silent
from assay.store.register import check as check_register
from assay.store.register import register_path
from assay.store.runs import check_target
from assay.task.task import Task


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
        settings: how; or single settings as keywords: ablation="mean", seed=0, only=("headline",), ...
        progress: called with (stage, done, total).

    Raises:
        UserError: for a claim, model or task that cannot be measured; one sentence each.
    """
    started = time.time()
    say = progress or silent
    say("loading", 0, None)
    job = resolve(claim, model, task, settings, flags)
    return logged(job, Workbench(job.model, job.task, seed=job.settings.seed), say, started)


def measure_into(
    claim: ClaimFile, settings: Settings, progress: Progress | None = None
) -> tuple[Measurement, str | None]:
    """Measures a claim file, saves the run in `settings.out`, and then logs it: what was computed is never lost.

    Returns:
        The measurement, and why it is not in the register (None: it is).

    Raises:
        UserError: as `measure`; a folder or a register that cannot be written is found before anything is measured.
    """
    say = progress or silent
    started = _ready(settings)
    say("loading", 0, None)
    job = resolve(claim, None, None, settings, {})
    return _into(Workbench(job.model, job.task, seed=settings.seed), job, say, started)


def measure_each_into(
    claims: Sequence[tuple[ClaimFile, Settings]], progress: Progress | None = None
) -> list[Measurement]:
    """Measures claims about one model on one task, each as `measure_into` does; what they share is run once.

    Raises:
        UserError: as `measure_into`; before anything is measured.
    """
    say = progress or silent
    say("loading", 0, None)
    jobs = [(_ready(settings), resolve(claim, None, None, settings, {})) for claim, settings in claims]
    first = jobs[0][1]
    workbench = Workbench(first.model, first.task, seed=first.settings.seed)
    same = (replace(job, model=first.model, task=first.task) for _, job in jobs)
    return [_into(workbench, job, say, started)[0] for (started, _), job in zip(jobs, same, strict=True)]


def _ready(settings: Settings) -> float:
    """When it began; a folder or a register that cannot be written is said first."""
    assert settings.out is not None
    check_target(settings.out, settings.overwrite)
    check_register(register_path(settings.out))
    return time.time()


def _into(workbench: Workbench, job: Job, say: Progress, started: float) -> tuple[Measurement, str | None]:
    settings = job.settings
    assert settings.out is not None
    result = measured(workbench, job, say, started)
    result.save(settings.out, overwrite=settings.overwrite)
    problem = log_measurement(job, result.record)
    return result, problem and f"the run is saved in {settings.out!r}, but not logged as a try: {problem}"


__all__ = ["Measurement", "measure", "measure_each_into", "measure_into"]
