"""`assay.measure`: one explanation of one model on one task; a workbench for one claim."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from assay.explanations.base import Explanation
from assay.explanations.claims.file import ClaimFile
from assay.log import log
from assay.measure.continued import check
from assay.measure.job import Job
from assay.measure.measurement import Measurement
from assay.measure.plan_cost import least_told
from assay.measure.request import MeasurementRequest, request
from assay.measure.settings import Flags, Settings, with_flags
from assay.measure.workbench import Workbench, logged, saved
from assay.report.terminal.progress import Progress, silent, watched
from assay.task.task import Task


@with_flags
def measure(
    claim: Explanation | ClaimFile | str | Path,
    model: Any = None,
    task: Task | None = None,
    *,
    settings: Settings | None = None,
    progress: Progress | bool | None = None,
    **flags: Unpack[Flags],
) -> Measurement:
    """Measures how much an explanation explains.

    Args:
        claim: an explanation (then `model` and `task` are needed), a claim file, or its path.
        model: as in `assay.load`; task: what is scored.
        settings: how; or single settings as keywords, which `assay.Settings` explains: ablation="mean", seed=0, ...
        progress: called with (stage, done, total). None: a bar after two seconds, where somebody watches: in a terminal
            and in a notebook; True: everywhere, as lines of text where there can be no bar; False: none.
        out: the folder that the run is written to, as `assay measure` does; `assay.load_run` opens it.

    Raises:
        UserError: for a claim, model or task that cannot be measured; one sentence each.

    Example:
        >>> import assay
        >>> model = assay.load("zoo:novel-1l")
        >>> task = assay.Task.repeat(model, n=8, length=8)
        >>> result = assay.measure(assay.Remove(["a0.h1"]), model, task, ablation="mean", only="headline")
        >>> result.kl > 0
        True
    """
    started = time.time()
    with watched(progress) as say:
        say("loading", 0, None)
        job = _opened(request(claim, model, task, settings, flags))
        with least_told(job):
            return logged(job, Workbench(job.model, job.task, seed=job.settings.seed), say, started)


def measure_into(
    claim: ClaimFile,
    settings: Settings,
    progress: Progress | None = None,
    told: Callable[[str], None] = log.info,
    before: Measurement | None = None,
) -> tuple[Measurement, str | None]:
    """Measures a claim file and saves the run in `settings.out`, for the command.

    Args:
        told: called with a line for each stage that is done.
        before: a measurement that lies in `settings.out` and left blocks for want of budget: these are measured.

    Returns:
        The measurement, and why it is not in the register (None: it is).

    Raises:
        UserError: as `measure`.
    """
    started = time.time()
    say = progress or silent
    say("loading", 0, None)
    job = _opened(request(claim, None, None, settings, {}))
    if before is not None:
        check(before, job, str(settings.out))
    with least_told(job):
        return saved(job, Workbench(job.model, job.task, seed=settings.seed), say, started, before, told)


def measure_each_into(
    claims: Sequence[tuple[ClaimFile, Settings]], progress: Progress | None = None
) -> list[Measurement]:
    """Measures claims about one model on one task, each as `measure_into` does; what they share is run once.

    Raises:
        UserError: as `measure_into`; before anything is measured.
    """
    say = progress or silent
    say("loading", 0, None)
    jobs = [(time.time(), _opened(request(claim, None, None, settings, {}))) for claim, settings in claims]
    first = jobs[0][1]
    workbench = Workbench(first.model, first.task, seed=first.settings.seed)
    return [
        saved(replace(job, model=first.model, task=first.task), workbench, say, started)[0] for started, job in jobs
    ]


def _opened(asked: MeasurementRequest) -> Job:
    asked.register()  # before any data is opened
    return asked.open()


# The function stands in its package's place (`assay/__init__.py`), so it also has what is looked for there by name, as
# `import assay.measure.settings as settings` does.
_package = vars(sys.modules["assay.measure"])
_package.update(vars(measure))
measure.__dict__ = _package
