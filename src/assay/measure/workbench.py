"""`Workbench`: a model on a task, on which any number of claims is measured, each from the claim to the record.

It decides what is scored and in which order; every number is made by the yardstick that is named after it.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch

from assay.errors import UserError
from assay.explanations.base import Explanation
from assay.explanations.claims.file import ClaimFile
from assay.intervene.fill import ablations
from assay.intervene.kept import Kept
from assay.intervene.output import System
from assay.intervene.runner import Runner
from assay.log import log
from assay.measure.budget import Budget
from assay.measure.context import Context
from assay.measure.continued import joined
from assay.measure.controls import model_floors, rivals
from assay.measure.controls.controls import ControlledClaim, controls
from assay.measure.headline.agreement import agreement
from assay.measure.headline.parts import PartSystems, alone
from assay.measure.headline.systems import systems
from assay.measure.headline.table import OTHER_FLOORS, headline_table
from assay.measure.job import Job
from assay.measure.measurement import Measurement
from assay.measure.record import log_measurement, measurement_record
from assay.measure.rehearsal import rehearse
from assay.measure.request import check_task, open_model, request, together
from assay.measure.settings import NOT_ASKED, Flags, Settings, with_flags
from assay.measure.stages import Stages
from assay.measure.tokens.examples import examples
from assay.measure.yardsticks import Yardsticks, measure_yardsticks
from assay.record.controls import Controls
from assay.record.headline import Agreement
from assay.report.terminal import staged
from assay.report.terminal.progress import Progress, noted, watched
from assay.score.ids import NOOP, SystemId
from assay.score.score import score
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
        'that was not asked for'
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
        asked = request(claim, self.model, self.task, settings, flags)
        asked.register()
        job = asked.open()
        mine, its = len(self.task.documents), len(job.task.documents)
        if job.settings.seed != self.seed:
            raise UserError(f"this workbench has the seed {self.seed}, so it measures nothing with {job.settings.seed}")
        if its != mine:
            raise UserError(f"this workbench scores {mine} documents and not {its}; make one with documents={its}")
        with watched(progress) as say:
            return logged(replace(job, model=self.model, task=self.task), self, say, started)

    def score_all(
        self,
        context: ablations.PlanContext,
        stage: str,
        systems: Mapping[SystemId, System | Sequence[System]],
        keep: Set[SystemId],
        say: Progress,
    ) -> Scored[SystemId]:
        """As `score` on everything that is scored; what no claim changes is scored once.

        Args:
            context: this workbench for the claim.
        """
        scores = self._known if context.target is None else KnownScores()
        new = {one: system for one, system in systems.items() if one not in scores}
        runs = sum(len(one) if isinstance(one, Sequence) else 1 for one in new.values())
        total, done = runs * len(self.task.tokens), 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            say(stage, done, total)

        say(stage, 0, total)
        found = score(context, new, keep=keep, again=keep & new.keys(), advance=advance)
        for one, system in new.items():
            if callable(system):
                scores.keep(one, found[one])
        known = {one: found.systems.get(one) or scores.find(one) for one in systems}
        return replace(found, systems={one: its for one, its in known.items() if its is not None})


def logged(job: Job, workbench: Workbench, say: Progress, started: float) -> Measurement:
    """As `saved`; a register that could not be written is a warning."""
    result, problem = saved(job, workbench, say, started)
    if problem is not None:
        warnings.warn(problem, stacklevel=3)
    return result


def saved(
    job: Job,
    workbench: Workbench,
    say: Progress,
    started: float,
    before: Measurement | None = None,
    told: Callable[[str], None] = log.info,
) -> tuple[Measurement, str | None]:
    """The measurement of a job on a workbench for its model and task. Where it has a run folder it is saved there, and
    then, of a claim file, logged as a try: what was computed is never lost.

    Args:
        before: an earlier measurement of the same, which this one goes on with; it is no further try. told: as in
            `measured`.

    Returns:
        The measurement, and why it is not in the register (None: it is, or is no try).
    """
    result, out = measured(workbench, job, say, started, before, told), job.settings.out
    if out is None:
        return result, None
    result.save(out, overwrite=job.settings.overwrite)
    problem = None if before else log_measurement(job, result.record)
    return result, problem and f"the run is saved in {out!r}, but not logged as a try: {problem}"


def measured(
    workbench: Workbench,
    job: Job,
    say: Progress,
    started: float,
    before: Measurement | None = None,
    told: Callable[[str], None] = log.info,
) -> Measurement:
    """The measurement of a job; nothing is written.

    Args:
        before: as in `saved`: its scores are taken as they are, and so are its blocks but for those that it had no
            budget for.
        told: called with a line for each stage that is done.
    """
    torch.manual_seed(job.settings.seed)  # nothing draws from it; a library that would is at least repeatable
    with Stages(noted(say)) as stages:
        budget = Budget.of(job.settings, job.model, job.task)
        budget.only = None if before is None else frozenset(before.record.budget.wanting)
        with budget.headline():
            context = _headline(workbench, job, stages, None if before is None else before.scored)
        told(staged.headline(context.numbers.headline))
        around = agreement(context.scored, context.resamples, explained=context.explained, floor=context.floor)
        told(staged.agreement(around))
        with budget.rest():
            context, block, found = _beyond_headline(
                workbench, replace(context, budget=budget, before=before), around, stages, told
            )
    record = measurement_record(context, found, block, stages.found, started)
    record = record if before is None else joined(before.record, record)
    claim = None if job.claim is None else job.claim.source.text
    scored = context.scored if budget.wanting else None
    return Measurement(record, examples(job.task, context.scored, context.plans), claim, scored)


def _headline(workbench: Workbench, job: Job, say: Progress, known: Scored[SystemId] | None) -> Context:
    """What the headline needs: the explained run and its floors under every ablation, and n-grams."""
    settings, explanation = job.settings, job.explanation
    plan_context = workbench.for_claim(frozen_norm=settings.frozen_norm, refit=settings.refit)
    say("fitting on the reference", 0, None)
    rehearse(plan_context, explanation, settings)
    plan_context.target = explanation.target(plan_context)
    plans = systems(plan_context, explanation, settings.ablation, settings.draws)
    others = rivals.ngrams(plan_context)
    if not settings.asks("rivals"):
        wanted = OTHER_FLOORS if settings.floors is None else {*settings.floors, explanation.headline_floor}
        others = [one for one in others if one.name in OTHER_FLOORS and one.name in wanted]
    smaller = rivals.smaller_models(plan_context) if job.floors and settings.asks("rivals") else []
    others = [*others, *(one for one in smaller if one.name in job.floors)]
    others += model_floors.as_rivals(job.floors, others, job.model)
    if known is None:
        every: dict[SystemId, System | Sequence[System]] = {**plans.plans, **{one.id: one.system for one in others}}
        known = workbench.score_all(plan_context, "headline", every, every.keys() - {NOOP}, say)
    used = known.count > 0
    resamples = job.task.resamples(np.flatnonzero(used), settings.seed, known.count[used])
    numbers = headline_table(explanation, known, resamples, plans, settings.floors)
    return Context(job, plan_context, plans, others, known, resamples, numbers)


def _beyond_headline(
    workbench: Workbench, context: Context, around: Agreement, say: Progress, told: Callable[[str], None]
) -> tuple[Context, Controls, Yardsticks]:
    """All that stands beside the headline, each block within its budget."""
    settings, explanation, plan_context = context.job.settings, context.explanation, context.workbench
    budget, rows = context.budget, control_rows(context.job.task)

    def alone_too() -> Context:
        parts, several = alone(plan_context, explanation, context.ablation, settings.draws)
        scored = workbench.score_all(plan_context, "parts", several, frozenset(), say)
        plans = replace(context.plans, plans={**context.plans.plans, **several}, parts=parts)
        return replace(context, plans=plans, scored=context.scored.with_systems(scored))

    def without_parts(reason: str) -> Context:
        return replace(context, plans=replace(context.plans, parts=PartSystems({}, context.ablation, reason)))

    say("parts", 0, None)
    context = budget.run("parts", settings.asks("parts"), alone_too, without_parts)

    def against(find: Callable[[], list[rivals.Rival]]) -> Context:
        def scored() -> Context:
            more = [one for one in find() if one.id not in context.scored.systems]
            every = {one.id: one.system for one in more}
            both = context.scored.with_systems(workbench.score_all(plan_context, "rivals", every, every.keys(), say))
            return replace(context, rivals=[*context.rivals, *more], scored=both)

        return budget.run("rivals", settings.asks("rivals"), scored, lambda _: context)

    say("rivals", 0, None)
    context = against(lambda: rivals.smaller_models(plan_context))
    if context.before is not None and "rivals" not in context.before.record.budget.wanting:
        there = {one.name for one in context.rivals}
        smaller = [one for one in rivals.smaller_models(plan_context) if one.name not in there]
        context = replace(context, rivals=[*context.rivals, *smaller])
    context = against(lambda: rivals.sets(plan_context, settings, explanation, context.ablation, rows))
    say("controls", 0, None)
    claim = ControlledClaim(plan_context, explanation, settings, context.ablation, rows, context.own)
    block = controls(claim, rivals=context.rivals, budget=budget)
    near = block.nearest if context.before is None else block.nearest or context.before.record.controls.nearest
    if block.reason != NOT_ASKED:
        told(staged.controls(block))
    return context, block, measure_yardsticks(context, near, around, say, told)
