"""`Workbench`: a model on a task, on which any number of claims is measured, each from the claim to the record.

It decides what is scored and in which order; every number is made by the yardstick that is named after it.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from functools import partial
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
from assay.measure.budget import STAGES, Budget
from assay.measure.context import Context
from assay.measure.continued import joined
from assay.measure.controls import model_floors, rivals
from assay.measure.controls.controls import controls
from assay.measure.headline.agreement import agreement
from assay.measure.headline.parts import alone
from assay.measure.headline.strength import StrengthSystems, strength_systems
from assay.measure.headline.systems import systems
from assay.measure.headline.table import OTHER_FLOORS, headline_table
from assay.measure.job import Job
from assay.measure.measurement import Measurement
from assay.measure.record import log_measurement, measurement_record
from assay.measure.rehearsal import answer, rehearse
from assay.measure.request import check_task, open_model, request, together
from assay.measure.settings import NOT_ASKED, Flags, Settings, with_flags
from assay.measure.stages import Stages
from assay.measure.tokens.examples import examples
from assay.measure.unfinished import Unfinished
from assay.measure.yardsticks import Yardsticks, measure_yardsticks, none_yet, with_hard_tokens
from assay.record.about import STOPPED
from assay.report.terminal import staged
from assay.report.terminal.progress import Progress, noted, watched
from assay.score.ids import NOOP, SystemId
from assay.score.score import score
from assay.score.scores import Scored, Scores
from assay.task.bounds import THOROUGH
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
        before: an earlier measurement of the same, which this one goes on with; it is no further try, but may have the
            p that the earlier one had not. told: as in `measured`.

    Returns:
        The measurement, and why it is not in the register (None: it is, or is no try).
    """
    out = job.settings.out
    if out is None:
        return measured(workbench, job, say, started, before, told), None
    unfinished = Unfinished(job, before, told)
    try:
        result = measured(workbench, job, say, started, before, told, unfinished)
        result.save(out, overwrite=unfinished.overwrite)
    except BaseException:
        unfinished.stopped()
        raise
    unfinished.remove()
    told_before = before is not None and "controls" not in before.record.budget.wanting
    problem = None if told_before else log_measurement(job, result.record)
    return result, problem and f"the run is saved in {out!r}, but not logged as a try: {problem}"


def measured(
    workbench: Workbench,
    job: Job,
    say: Progress,
    started: float,
    before: Measurement | None = None,
    told: Callable[[str], None] = log.info,
    unfinished: Unfinished | None = None,
) -> Measurement:
    """The measurement of a job; nothing is written but what is `unfinished`.

    Args:
        before: as in `saved`: its scores are taken as they are, and so are its blocks but for those that it had no
            budget for, or had not come to.
        told: called with a line for each stage that is done, once what it says is saved.
        unfinished: what saves it as far as it has come.
    """
    claim, ahead = None if job.claim is None else job.claim.source.text, dict(STAGES)

    def made(context: Context, found: Yardsticks) -> Measurement:
        record = measurement_record(context, found, stages.found, started)
        record = record if before is None else joined(before.record, record)
        scored = context.scored if record.budget.wanting else None
        return Measurement(record, examples(job.task, context.scored, context.plans), claim, scored)

    def done(context: Context, stage: str, found: Yardsticks) -> None:
        ahead.pop(stage, None)
        left = [block for one, blocks in ahead.items() if job.settings.asks(one) for block in blocks]
        if unfinished is not None and any(map(budget.measures, left)):
            wanting = budget.wanting | {block: STOPPED for block in left if budget.measures(block)}
            unfinished.save(lambda: made(replace(context, budget=replace(budget, wanting=wanting)), found))

    torch.manual_seed(job.settings.seed)  # nothing draws from it; a library that would is at least repeatable
    with Stages(noted(say)) as stages:
        budget = Budget.of(job.settings, job.model, job.task)
        if before is not None:
            budget.go_on(before.record.budget)
        with budget.headline():
            context = _headline(workbench, job, stages, before)
        around = agreement(context.scored, context.resamples, explained=context.explained, floor=context.floor)
        context = replace(context, budget=budget, before=before)
        found = none_yet(context, around)
        if before is None:
            done(context.without_parts(STOPPED if job.settings.asks("parts") else NOT_ASKED), "headline", found)
        told(staged.headline(context.numbers.headline))
        if context.interchange is not None:
            told(staged.swaps(context.interchange))
        told(staged.agreement(around))
        with budget.rest():
            context, found = _beyond_headline(workbench, context, found, stages, told, done)
    return made(context, found)


def _headline(workbench: Workbench, job: Job, say: Progress, before: Measurement | None) -> Context:
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
    if before is None:
        swapping = partial(say, "swaps")
        swapped = answer(explanation, "interchange", lambda: explanation.interchange(plan_context, swapping))
    else:
        swapped = before.record.interchange
    if swapped is not None and settings.budget == THOROUGH:
        say("swaps at the worst constants", 0, None)
        swapped = answer(explanation, "harder", partial(explanation.harder, plan_context, swapped))
    known = None if before is None else before.scored
    if known is None:
        every: dict[SystemId, System | Sequence[System]] = {**plans.plans, **{one.id: one.system for one in others}}
        known = workbench.score_all(plan_context, "headline", every, every.keys() - {NOOP}, say)
    used = known.count > 0
    resamples = job.task.resamples(np.flatnonzero(used), settings.seed, known.count[used])
    numbers = headline_table(explanation, known, resamples, plans, settings.floors)
    return Context(job, plan_context, plans, others, known, resamples, numbers, swapped)


def _beyond_headline(
    workbench: Workbench,
    context: Context,
    found: Yardsticks,
    say: Progress,
    told: Callable[[str], None],
    done: Callable[[Context, str, Yardsticks], None],
) -> tuple[Context, Yardsticks]:
    """All that stands beside the headline, each block within its budget; `done` as in `measure_yardsticks`."""
    settings, explanation, plan_context = context.job.settings, context.explanation, context.workbench
    wanting = {} if context.before is None else context.before.record.budget.wanting
    budget, rows = context.budget, control_rows(context.job.task)

    def alone_too() -> Context:
        parts, several = alone(plan_context, explanation, context.ablation, settings.draws)
        plans = replace(context.plans, plans={**context.plans.plans, **several}, parts=parts)
        new = {one: its for one, its in several.items() if one not in context.scored.systems}
        scored = workbench.score_all(plan_context, "parts", new, frozenset(), say) if new else context.scored
        return replace(context, plans=plans, scored=context.scored.with_systems(scored))

    say("parts", 0, None)
    if settings.asks("parts") and "compute" in wanting and "parts" not in wanting:
        context = alone_too()  # they are scored, and have their figures in compute to come
    else:
        context = budget.run("parts", settings.asks("parts"), alone_too, context.without_parts)
    done(context, "parts", found)

    def against(find: Callable[[], list[rivals.Rival]]) -> Context:
        def scored() -> Context:
            there = {one.name for one in context.rivals}
            more = [one for one in find() if one.name not in there]
            every = {one.id: one.system for one in more if one.id not in context.scored.systems}
            # where there is none, too: of a run that is gone on with the clean run is made here, and not by a search
            new = workbench.score_all(plan_context, "rivals", every, every.keys(), say)
            return replace(context, rivals=[*context.rivals, *more], scored=context.scored.with_systems(new))

        return budget.run("rivals", settings.asks("rivals"), scored, lambda _: context)

    say("rivals", 0, None)
    context = against(lambda: rivals.smaller_models(plan_context))
    if context.before is not None and "rivals" not in wanting:
        there = {one.name for one in context.rivals}
        smaller = [one for one in rivals.smaller_models(plan_context) if one.name not in there]
        context = replace(context, rivals=[*context.rivals, *smaller])
    context = against(lambda: rivals.sets(plan_context, settings, explanation, context.ablation, rows))
    found = replace(found, agreement=with_hard_tokens(context, found.agreement))
    done(context, "rivals", found)
    if context.rivals:
        told(staged.rivals([one.name for one in context.rivals]))
    if explanation.at_strengths:
        say("strength", 0, None)

        def at_each() -> Context:
            thorough = settings.budget == THOROUGH
            own, every = strength_systems(plan_context, explanation, context.plans, thorough=thorough)
            new = {one: plan for one, plan in every.items() if one not in context.scored.systems}
            scored = workbench.score_all(plan_context, "strength", new, frozenset(), say) if new else context.scored
            return replace(context, strength=own, scored=context.scored.with_systems(scored))

        def unmeasured(reason: str) -> Context:
            return replace(context, strength=StrengthSystems(reason=reason))

        context = budget.run("strength", settings.asks("strength"), at_each, unmeasured)
        done(context, "strength", found)
    say("controls", 0, None)
    block = controls(context.controlled, rivals=context.rivals, budget=budget)
    found = replace(found, controls=block)
    done(context, "controls", found)
    if block.reason != NOT_ASKED:
        told(staged.controls(block))
    return context, measure_yardsticks(context, found, say, told, done)
