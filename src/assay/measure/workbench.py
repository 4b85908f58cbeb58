"""`Workbench`: a model on a task, on which any number of claims is measured, each from the claim to the record.

It decides what is scored and in which order; every number is made by the yardstick that is named after it.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch

from assay.errors import UserError
from assay.explanations.base import Explanation
from assay.explanations.claims.file import ClaimFile
from assay.intervene import ablations
from assay.intervene.kept import Kept
from assay.intervene.runner import Runner
from assay.measure.context import Context
from assay.measure.controls import model_floors, rivals
from assay.measure.controls.controls import controls
from assay.measure.headline.systems import systems
from assay.measure.headline.table import OTHER_FLOORS, headline_table
from assay.measure.job import Job
from assay.measure.measurement import Measurement
from assay.measure.record import log_measurement, measurement_record
from assay.measure.rehearsal import rehearse
from assay.measure.resolve import check_task, open_model, resolve, together
from assay.measure.settings import NOT_ASKED, Flags, Settings, with_flags
from assay.measure.tokens.examples import examples
from assay.measure.yardsticks import gather
from assay.report.progress import Progress, noted, watched
from assay.score.ids import NOOP, SystemId
from assay.score.score import System, score
from assay.score.scores import Scored, Scores
from assay.task.rows import control_rows
from assay.task.task import Task


class KnownScores(Kept[SystemId, Scores]):
    """Scores of systems that no claim changes, on everything that is scored: n-grams, smaller models, floor models."""


class Workbench(ablations.PlanContext):
    """A model on a task, on which many claims are measured.

    What one claim asks of the model the next one finds done: the clean run, means and donors of the reference, fitted
    constants, scores of n-grams. Figures are those of `assay.measure`.

    Args:
        model: as in `assay.load`; task: what is scored, with its reference.
        seed: keys every random choice.
        documents: how many are scored at most; None for all.
        device, dtype: "cpu", "cuda:0", ...; "float32", ...; of a model that is loaded here.

    Raises:
        UserError: for a model that cannot be opened, and a task that cannot be measured on.

    Example:
        >>> import assay
        >>> workbench = assay.Workbench("zoo:novel-1l", assay.Task.repeat(assay.load("zoo:novel-1l"), n=8, length=8))
        >>> found = workbench.measure(assay.Remove(["a0.h1"]), only=("headline",), ablation="mean")
        >>> found.record.controls.reason
        'it was not asked for'
    """

    def __init__(
        self,
        model: Any,
        task: Task,
        *,
        seed: int = 0,
        documents: int | None = None,
        device: str | None = None,
        dtype: str | None = None,
    ):
        settings = Settings.resolve(seed=seed, documents=documents, device=device, dtype=dtype)
        check_task(task)
        loaded, task = together(open_model(model, settings), task, settings)
        super().__init__(Runner(loaded, task), seed)
        self._known = KnownScores()

    def __repr__(self) -> str:
        return f"<Workbench: {self.model.name} on {self.task.name}>"

    @with_flags
    def measure(
        self,
        claim: Explanation | ClaimFile | str | Path,
        *,
        settings: Settings | None = None,
        progress: Progress | bool | None = None,
        **flags: Unpack[Flags],
    ) -> Measurement:
        """Measures how much an explanation explains, as `assay.measure` does.

        Args:
            claim: an explanation, or a claim file or its path, whose explanation is measured on this model and task.
            settings, progress, out: as in `assay.measure`.

        Raises:
            UserError: for a claim that cannot be measured here, and for another seed or fewer documents than this
                workbench has; one sentence each.
        """
        started = time.time()
        flags = flags if settings is not None else {"seed": self.seed, **flags}
        job = resolve(claim, self.model, self.task, settings, flags)
        mine, its = len(self.task.documents), len(job.task.documents)
        if job.settings.seed != self.seed:
            raise UserError(f"this workbench has the seed {self.seed}, so it measures nothing with {job.settings.seed}")
        if its != mine:
            raise UserError(f"this workbench scores {mine} documents and not {its}; make one with documents={its}")
        with watched(progress) as say:
            return logged(replace(job, model=self.model, task=self.task), self, say, started)

    def score_all(
        self, systems: Mapping[SystemId, System | Sequence[System]], keep: Set[SystemId], say: Progress
    ) -> Scored[SystemId]:
        """As `score` on everything that is scored; what no claim changes is scored once."""
        new = {one: system for one, system in systems.items() if one not in self._known}
        runs = sum(len(one) if isinstance(one, Sequence) else 1 for one in new.values())
        total, done = runs * len(self.task.tokens), 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            say("scoring", done, total)

        say("scoring", 0, total)
        found = score(self, new, keep=keep, again=keep & new.keys(), advance=advance)
        for one, system in new.items():
            if callable(system):
                self._known.keep(one, found[one])
        known = {one: found.systems.get(one) or self._known.find(one) for one in systems}
        return replace(found, systems={one: scores for one, scores in known.items() if scores is not None})


def logged(job: Job, workbench: Workbench, say: Progress, started: float) -> Measurement:
    """As `saved`; a register that could not be written is a warning."""
    result, problem = saved(job, workbench, say, started)
    if problem is not None:
        warnings.warn(problem, stacklevel=3)
    return result


def saved(job: Job, workbench: Workbench, say: Progress, started: float) -> tuple[Measurement, str | None]:
    """The measurement of a job on a workbench for its model and task. Where it has a run folder it is saved there, and
    then, of a claim file, logged as a try: what was computed is never lost.

    Returns:
        The measurement, and why it is not in the register (None: it is, or is no try).
    """
    result, out = measured(workbench, job, say, started), job.settings.out
    if out is None:
        return result, None
    result.save(out, overwrite=job.settings.overwrite)
    problem = log_measurement(job, result.record)
    return result, problem and f"the run is saved in {out!r}, but not logged as a try: {problem}"


def measured(workbench: Workbench, job: Job, say: Progress, started: float) -> Measurement:
    """The measurement of a job; nothing is written."""
    settings, explanation, say = job.settings, job.explanation, noted(say)
    torch.manual_seed(settings.seed)  # nothing draws from it; a library that would is at least repeatable
    plan_context = workbench.for_claim(frozen_norm=settings.frozen_norm, refit=settings.refit)
    say("fitting on the reference", 0, None)
    rehearse(plan_context, explanation, settings)
    none = None if settings.asks("parts") else NOT_ASKED
    plans = systems(plan_context, explanation, settings.ablation, settings.draws, without_parts=none)
    rows = control_rows(job.task)
    if settings.asks("rivals"):
        others = rivals.contestants(plan_context, settings, explanation, ablation=settings.ablation[0], rows=rows)
    else:
        wanted = OTHER_FLOORS if settings.floors is None else {*settings.floors, explanation.headline_floor}
        others = [rival for rival in rivals.ngrams(plan_context) if rival.name in OTHER_FLOORS and rival.name in wanted]
    others += model_floors.as_rivals(job.floors, others)
    every: dict[SystemId, System | Sequence[System]] = {**plans.plans, **{one.id: one.system for one in others}}
    scored = workbench.score_all(every, every.keys() - {NOOP} - plans.parts.ids, say)
    used = scored.count > 0
    resamples = job.task.resamples(np.flatnonzero(used), settings.seed, scored.count[used])
    numbers = headline_table(explanation, scored, resamples, plans, settings.floors)
    say("controls", 0, None)
    context = Context(job, plan_context, plans, others, scored, resamples, numbers)
    block = controls(
        plan_context, explanation, settings, ablation=numbers.ablation, rows=rows, rivals=others, own=context.own
    )
    record = measurement_record(context, gather(context, block.nearest, say), block, started)
    return Measurement(record, examples(job.task, scored, plans), None if job.claim is None else job.claim.source.text)
