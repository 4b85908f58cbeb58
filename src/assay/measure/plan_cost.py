"""What a measurement would cost, before it is made: forward passes counted from the plans, minutes from a few rows."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from assay.explanations.base import Undefined
from assay.explanations.claims.file import ClaimFile
from assay.intervene.ablations import PlanContext
from assay.intervene.runner import Runner
from assay.intervene.spec import RANDOM
from assay.measure.resolve import resolve
from assay.measure.settings import Settings
from assay.measure.tokens.residual import MOST_RUNS
from assay.model.transformer import Model
from assay.score.score import score
from assay.task.rows import control_rows

# passes that do not depend on how many rows are scored, as counted in runs of program claims of the built-in models
REFERENCE = 1_600  # statistics and fits of the model
RANDOM_WEIGHTS = 1_600  # the same and a search on a randomised copy
KNOCKOUTS = 1_300
LENGTH = 240
RESIDUAL = 6  # runs of all rows: the residual's signal, merged distinctions; and one for each part that is restored
GROUPS = 3  # groups of controls, each of so many
TRIAL_ROWS, ALIKE = 16, 12  # rows of a kind's own trials; runs of all rows where claims of one floor compete
FEW_CONTROLS = 8  # the claim, the largest parts, the same search on shuffled tasks


def dry_run(claim: ClaimFile, settings: Settings) -> dict[str, Any]:
    """Forward passes of one row, minutes on this machine, and GB of memory: all estimates.

    The passes are within about a third for programs. Claims with fewer possible controls than asked for cost less.
    """
    job = resolve(claim, None, None, replace(settings, register=False), {})  # nothing is tried
    workbench = PlanContext(Runner(job.model, job.task), settings.seed)
    rows = len(job.task.tokens)
    draws = sum(settings.draws if a in RANDOM else 1 for a in settings.ablation)
    runs = 2 + draws + (1 if job.explanation.once else draws)
    found = job.explanation.alone(job.model)
    alone = 0 if isinstance(found, Undefined) else len(found)
    first = settings.draws if settings.ablation[0] in RANDOM else 1
    runs += alone * (first + job.explanation.once) + RESIDUAL
    restored = min(rows * alone, MOST_RUNS)
    controls = (GROUPS * settings.controls + FEW_CONTROLS) * len(control_rows(job.task))
    forwards = runs * rows + restored + controls + REFERENCE + RANDOM_WEIGHTS + KNOCKOUTS + LENGTH
    trials = job.explanation.trials
    if trials:  # parts left out, put back, knocked out; fills and known runs beside each
        forwards += (draws + ALIKE) * rows + trials * len(control_rows(job.task, TRIAL_ROWS))
    few = np.arange(min(rows, workbench.runner.batch))
    score(workbench, {}, rows=few)
    started = time.perf_counter()
    score(workbench, {"again": lambda inputs, at: workbench.model.forward(inputs)}, rows=few)
    seconds = (time.perf_counter() - started) / (2 * len(few))
    memory = 0.6
    if isinstance(job.model, Model):
        logits = workbench.runner.batch * job.task.tokens.shape[1] * job.model.config.vocab * 4
        memory += (8 * logits + 4 * job.model.parameters) / 1e9
    memory += runs * job.task.count * 12 / 1e9
    return {"forwards": int(forwards), "minutes": round(forwards * seconds / 60, 1), "memory_gb": round(memory, 1)}
