"""What a measurement would cost, before it is made.

The measurement is made on a sketch of the model, which runs the same layers of the same rows at a small part of the
cost (`model/sketch.py`). What it runs is counted by stage; how long that takes is timed on a few rows of the model.
"""

from __future__ import annotations

import math
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assay.errors import UserError, said
from assay.explanations.claims.file import ClaimFile
from assay.intervene.edits.donor_runs import Donors
from assay.intervene.edits.engine import CleanRuns, Ends
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.runner import Runner
from assay.measure.budget import Budget, TooSmallError
from assay.measure.controls.model_floors import as_rivals
from assay.measure.controls.rivals import Rival, Unchanging, ngrams, smaller_models
from assay.measure.job import Job
from assay.measure.request import request
from assay.measure.settings import BLOCKS, Settings
from assay.measure.stages import Stage, Stages
from assay.measure.workbench import Workbench, measured
from assay.model.meter import BACKWARD, Meter, metered
from assay.model.module import ModuleModel
from assay.model.sketch import stand_in
from assay.model.transformer import Model
from assay.score.score import is_circuit, score
from assay.task.bounds import HEADLINE_ONLY
from assay.task.examples import Examples
from assay.task.task import Task

CALLS = 2  # of which the faster one is timed
LIBRARIES = 0.6  # GB

Rivals = Mapping[str, list[Rival]]  # n-grams and other models, as `Unchanging` keeps them


def dry_run(claim: ClaimFile, settings: Settings) -> dict[str, Any]:
    """Forward passes of one row, minutes on this machine, and GB of memory: all estimates.

    `stages` has both by what the measurement says that it does, passes in units of one over all scored rows. The model
    is loaded here too, which takes as long as it will.
    """
    begun = time.perf_counter()
    job = request(claim, None, None, settings, {}).open()
    loading = {"passes": 0.0, "minutes": (time.perf_counter() - begun) / 60}
    with least_told(job):
        found = cost(job)
    stages = {"loading": loading, **found["stages"]}
    return {**found, "minutes": round(sum(one["minutes"] for one in stages.values()), 1), "stages": stages}


@contextmanager
def least_told(job: Job) -> Iterator[None]:
    """Where the job's budget is too small for its headline, the sentence says how many passes that takes."""
    try:
        yield
    except TooSmallError as problem:
        alone = replace(job, settings=replace(job.settings, budget=HEADLINE_ONLY, only=("headline",)))
        try:
            least = math.ceil(sum(one["passes"] for one in cost(alone)["stages"].values()))
        except UserError:
            raise problem from None
        raise TooSmallError(problem.passes, least) from None


def cost(job: Job) -> dict[str, Any]:
    """The cost of a measurement with everything loaded."""
    workbench, rows = PlanContext(Runner(job.model, job.task), job.settings.seed), len(job.task)
    smaller = smaller_models(workbench)
    rivals = {"n-grams": ngrams(workbench), "smaller models": [*smaller, *as_rivals(job.floors, smaller, job.model)]}
    own, called = sketch_of(job), defaultdict[str, Counter[str]](Counter)
    try:
        found = run_sketch(own, rivals, called)
    except RuntimeError as problem:
        raise UserError(
            f"what this claim costs cannot be told beforehand: its kind {job.explanation.kind!r} gives values of the "
            f"model's own width, which the model's sketch has not ({said(problem)})"
        ) from None
    rates = Speeds(job, workbench)
    beside = Speeds(own, PlanContext(Runner(own.model, own.task), own.settings.seed))
    of_rivals = rates.of_rivals(rivals)
    items = float(job.task.scored.sum() / own.task.scored.sum())
    width = 1 if isinstance(job.model, ModuleModel) else job.task.tokens.shape[1]
    stages = {}
    for name, stage in found.items():
        meter, asked = stage.meter, called[name]
        passes = meter.tokens / width + sum(asked[one.name] for one in rivals["smaller models"])
        more = rates.seconds(meter, items) - beside.seconds(meter)
        seconds = stage.wall + max(more, 0.0) + sum(count * of_rivals[one] for one, count in asked.items())
        stages[name] = {"passes": passes / rows, "minutes": seconds / 60}
    allowed = Budget.of(job.settings, job.model, job.task).passes
    return {
        "forwards": round(rows * sum(one["passes"] for one in stages.values())),
        "minutes": round(sum(one["minutes"] for one in stages.values()), 1),
        "memory_gb": round(_memory(job), 1),
        "budget": None if math.isinf(allowed) else allowed,
        "stages": stages,
    }


def _memory(job: Job) -> float:
    """GB, about: libraries; the model and a copy with random weights, each as it was read and as it is run; a row's
    logits and what is made of them; and the runs that are kept."""
    model = job.model
    if not isinstance(model, Model):
        return LIBRARIES
    size, logits = model.dtype.itemsize, job.task.tokens.shape[1] * model.config.vocab * 4
    streams = job.task.tokens.numel() * model.config.d_model * (model.config.layers + 1) * size
    kept = sum(min(sort.room or 0, streams) for sort in (CleanRuns, Donors, Ends))
    return LIBRARIES + (4 * model.parameters * size + 5 * logits + kept) / 1e9


def sketch_of(job: Job) -> Job:
    """The same measurement of a sketch of its model, of which no file is read or written."""
    model, task, explanation = job.model, job.task, job.explanation
    model = stand_in(model, neurons=any(site.kind == "neuron" for site in explanation.scope(model)))
    if isinstance(model, Model):  # circuits compute more where more is scored; all else needs some item of each row
        task = task if explanation.assignment(model) is None else _fewer_items(task)
    only = tuple(block for block in job.settings.only or BLOCKS if block != "compute")  # where nothing is run
    return Job(explanation, model, task, replace(job.settings, only=only, out=None, register=False), None)


def _fewer_items(task: Task) -> Task:
    """The task with the last scored item of each row alone, in its reference too."""

    def last(examples: Examples) -> Tensor:
        scored = examples.scored
        place = scored.shape[1] - 1 - scored.flip(1).int().argmax(1, keepdim=True)
        return torch.zeros_like(scored).scatter(1, place, scored.any(1, keepdim=True))

    reference = None if task.reference is None else replace(task.reference, scored=last(task.reference))
    return replace(task, scored=last(task), reference=reference)


def run_sketch(job: Job, rivals: Rivals, called: Mapping[str, Counter[str]]) -> dict[str, Stage]:
    """What a sketch's measurement runs, by stage.

    Args:
        rivals: they are not run; `called` counts by stage the rows that each was asked for.
    """
    model = job.model
    workbench, stages = Workbench(model, job.task, seed=job.settings.seed), Stages()

    def counted(one: Rival) -> Rival:
        def uniform(inputs: Tensor, rows: np.ndarray) -> Tensor:
            called[stages.current][one.name] += len(rows)
            assert isinstance(model, Model)
            return torch.full((), -math.log(model.config.vocab)).expand(*inputs.shape, model.config.vocab)

        return replace(one, system=uniform)

    for sort, several in rivals.items():
        workbench.store.of(Unchanging).keep(sort, list(map(counted, several)))
    with warnings.catch_warnings(), stages:
        warnings.simplefilter("ignore")
        measured(workbench, job, stages, time.time())
    return stages.found


class Speeds:
    """How long a model takes for a few rows: seconds of the clock.

    Attributes:
        token: of a token through all layers; item: of an item that is unembedded and scored.
    """

    def __init__(self, job: Job, workbench: PlanContext):
        self.job, self.workbench, runner = job, workbench, workbench.runner
        self.rows = np.arange(min(len(job.task), workbench.runner.batch))
        self.inputs, clean = runner.inputs("scored", self.rows), runner.clean("scored", self.rows).output
        run = job.model.normed if isinstance(job.model, Model) else job.model.forward
        with metered() as meter:
            self.token = _seconds(lambda: run(self.inputs)) * CALLS / meter.tokens
        scored = len(job.task.items(self.rows).row)
        self.item = _seconds(lambda: score(workbench, {0: lambda *_: clean}, rows=self.rows)) / (2 * scored)

    @cached_property
    def node(self) -> float:
        """Of a token's worth of a circuit."""
        plan = self.job.explanation.plan(self.workbench, "zero")
        if not is_circuit(plan):
            return self.token
        with metered() as meter:
            seconds = _seconds(lambda: score(self.workbench, {0: plan}, rows=self.rows)) * CALLS
        rest = seconds - meter.forward * self.token - meter.unembedded * self.item
        return max(rest, 0.0) / meter.nodes if meter.nodes else self.token

    def seconds(self, meter: Meter, items: float = 1.0) -> float:
        """How long all this takes.

        Args:
            items: that stand for one of the meter's.
        """
        layers = (meter.forward + BACKWARD * meter.backward) * self.token
        return layers + meter.unembedded * items * self.item + (meter.nodes * self.node if meter.nodes else 0.0)

    def of_rivals(self, rivals: Rivals) -> dict[str, float]:
        """How long each rival takes for a row."""
        systems = {one.name: one.system for several in rivals.values() for one in several if callable(one.system)}
        return {
            name: _seconds(lambda system=system: system(self.inputs, self.rows), 1) / len(self.rows)
            for name, system in systems.items()
        }


@torch.no_grad()
def _seconds(call: Callable[[], object], calls: int = CALLS) -> float:
    """Of the fastest of a few calls."""
    taken = []
    for _ in range(calls):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return min(taken)
