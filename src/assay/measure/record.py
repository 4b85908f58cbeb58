"""The record: everything a reader needs to reproduce and to judge a measurement, as `measurement.json` holds it."""

from __future__ import annotations

import math
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from assay.errors import RunError
from assay.explanations.claims.file import ClaimFile
from assay.intervene.fill.ablations import PlanContext
from assay.measure.context import Context
from assay.measure.controls.rivals import Rival, rivals
from assay.measure.headline.parts_block import parts_block
from assay.measure.headline.strength import strengths
from assay.measure.job import Job
from assay.measure.settings import NOT_ASKED
from assay.measure.stages import Stage
from assay.measure.yardsticks import Yardsticks
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.record import about
from assay.record.about import (
    Assay,
    BudgetRecord,
    Check,
    ClaimRecord,
    Noise,
    ShapeRecord,
    StageRecord,
    Timing,
    Tries,
    Versions,
)
from assay.record.headline import OWN_FLOORS, Losses, TargetRecord
from assay.record.measurement import MeasurementRecord
from assay.report import words
from assay.report.verdict import verdict
from assay.score.scores import Scores
from assay.stats.estimate import Estimate
from assay.store.register import Adjusted, Tried, Try, adjusted, foreseen, log, register_path
from assay.version import VERSION


def register(
    claim: ClaimFile, out: str, ablations: Sequence[str], p: float | None = None
) -> tuple[Tried, Adjusted | None]:
    """Logs the try beside the run folder `out`, by the data's description: it can be stored before the data is opened.

    Args:
        p: how it came out, once it was measured.
    """
    path, entry = _try(claim, out, ablations, p)
    return log(path, entry), adjusted(path, entry)


def log_measurement(job: Job, record: MeasurementRecord) -> str | None:
    """Logs a finished measurement as a try, where it has a claim file and a run folder; why it could not, or None."""
    if job.claim is None or job.settings.out is None:
        return None
    try:
        register(job.claim, job.settings.out, job.settings.ablation, record.controls.largest_p)
    except RunError as problem:
        return str(problem)
    return None


def _foreseen(job: Job, p: float | None) -> Tries | None:
    """The place of this try once it is logged, which it is when the run is saved; None where nothing can be read."""
    if job.claim is None or job.settings.out is None:
        return None
    try:
        tried, over = foreseen(*_try(job.claim, job.settings.out, job.settings.ablation, p))
    except RunError:
        return None
    adjusted = {} if over is None else {"p": over.p, "p_holm": over.holm, "without_p": over.without}
    return None if tried is None else Tries(tried=tried.tried, this=tried.this, **adjusted)


def _try(claim: ClaimFile, out: str, ablations: Sequence[str], p: float | None) -> tuple[Path, Try]:
    split = f"{claim.model} {claim.task.model_dump(exclude_none=True)}"
    return register_path(out), Try(split, claim.hash, tuple(ablations), p=p)


def measurement_record(
    context: Context, measured: Yardsticks, stages: Mapping[str, Stage], started: float
) -> MeasurementRecord:
    """The whole record of what was measured; `stages`: what was run."""
    job, workbench, scored, numbers, plans = (
        context.job,
        context.workbench,
        context.scored,
        context.numbers,
        context.plans,
    )
    budget = context.budget
    resamples, head, model, explanation = context.resamples, numbers.headline, job.model, job.explanation

    def loss(its: Scores) -> Estimate:
        return resamples.mean(its.loss[context.used], context.count)

    tries = _foreseen(job, measured.controls.largest_p)
    found = tuple(_one_of_m(check, tries) for check in measured.checks)
    floors = {
        f"{row.floor}:{row.ablation}" if row.floor in OWN_FLOORS else row.floor: row.loss_floor
        for row in numbers.table
        if row.necessity is None
    }
    source = None if job.claim is None else job.claim.source
    target = workbench.target and TargetRecord(
        what=workbench.target.what, kl=resamples.mean(scored.model.kl[context.used], context.count, least=0.0)
    )
    record = MeasurementRecord(
        assay=Assay(version=VERSION, revision=revision()),
        claim=ClaimRecord(
            sentence=explanation.sentence(model.name),
            kind=explanation.kind,
            level=explanation.level,
            scope=tuple(str(site) for site in explanation.scope(model)),
            text=None if source is None else source.text,
            hash=None if job.claim is None else job.claim.hash,
        ),
        arguments=job.settings.arguments(),
        model=model_block(model, Noise(kl=numbers.noise_kl, loss=numbers.noise_loss, proof=model.noise)),
        task=job.task.description,
        reference=workbench.on_reference(),
        level=explanation.level,
        level_note=words.LEVELS[explanation.level],
        headline=head,
        recovered=head.recovered,
        recovered_loss=head.recovered_loss,
        losses=Losses(model=loss(scored.model), explained=loss(scored[context.explained]), floors=floors),
        table=numbers.table,
        agreement=measured.agreement,
        nines=head.nines.value,
        compute=measured.compute,
        parts=parts_block(plans, scored, resamples, numbers, measured.compute),
        bits=measured.length,
        own=measured.own,
        target=target,
        interchange=context.interchange,
        strength=strengths(context.strength, explanation, scored, resamples, measured.compute),
        controls=measured.controls,
        rivals=rivals(context.rivals, scored, resamples, floor=context.floor) if job.settings.asks("rivals") else (),
        rivals_reason=_no_rivals(job, context.rivals),
        checks=found,
        residual=measured.residual,
        unmatched=explanation.unmatched(workbench),
        sentence="",
        tries=tries,
        versions=versions(workbench),
        budget=BudgetRecord(
            passes=None if math.isinf(budget.passes) else budget.passes,
            stages=tuple(
                StageRecord(name=name, passes=round(stage.meter.work / budget.unit, 2))
                for name, stage in stages.items()
            ),
            wanting=budget.wanting,
        ),
        timing=Timing(
            started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            seconds=round(time.time() - started, 1),
            forwards=round(workbench.runner.forwards - workbench.used.before),
        ),
    )
    return record.model_copy(update={"sentence": " ".join(verdict(record).sentences)})


def versions(workbench: PlanContext) -> Versions:
    """Versions, thread count, device, precision and the micro-batch: what the numbers' last digits depend on."""
    return Versions(
        python=platform.python_version(),
        torch=torch.__version__,
        transformers=version("transformers"),
        numpy=np.__version__,
        threads=torch.get_num_threads(),
        device=str(workbench.model.device),
        precision=str(workbench.model.dtype).removeprefix("torch."),
        micro_batch=workbench.runner.batch,
        platform=f"{sys.platform} {platform.machine()}",
    )


def _one_of_m(check: Check, tries: Tries | None) -> Check:
    if check.name != "1 of m" or tries is None:
        return check
    state = "fired" if tries.tried > 1 else "passed"
    evidence = f"this is try {tries.this} of {tries.tried} on this data"
    return check.model_copy(update={"state": state, "evidence": evidence})


def _no_rivals(job: Job, rivals: Sequence[Rival]) -> str | None:
    """Why there are none."""
    if not job.settings.asks("rivals"):
        return NOT_ASKED
    if rivals:
        return None
    if isinstance(job.model, Model):
        return "no n-gram could be fitted, and no smaller member of the model's family is at hand"
    return "n-grams and smaller models predict tokens; sets of parts compete with claims that are sets of parts"


def model_block(model: Model | ModuleModel, noise: Noise | None = None) -> about.ModelRecord:
    """The model's name, sizes and fingerprint."""
    shape = None
    if isinstance(model, Model):
        names = ("layers", "d_model", "heads", "kv_heads", "d_head", "vocab", "context")
        sizes = {name: getattr(model.config, name) for name in names}
        shape = ShapeRecord(**sizes, d_mlp=tuple(model.config.d_mlp))
    own = {name: getattr(model, name) for name in ("name", "fingerprint", "family", "parameters")}
    return about.ModelRecord(**own, shape=shape, noise=noise)


def revision() -> str | None:
    """The commit of a development install; None for an installed wheel."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return None
    found = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or None
