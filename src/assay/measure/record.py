"""The record: everything a reader needs to reproduce and to judge a measurement, as `measurement.json` holds it."""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from assay.errors import RunError
from assay.explanations.claims.file import ClaimFile
from assay.intervene.ablations import PlanContext
from assay.measure.context import Context
from assay.measure.controls.rivals import Rival, rivals
from assay.measure.headline.parts_block import parts_block
from assay.measure.headline.table import HeadlineTable
from assay.measure.job import Job
from assay.measure.settings import NOT_ASKED
from assay.measure.yardsticks import Yardsticks
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.record import about
from assay.record.about import Assay, Check, ClaimRecord, Noise, ShapeRecord, Timing, Tries, Versions
from assay.record.compute import ComputeFigures
from assay.record.controls import ControlGroup, Controls
from assay.record.headline import Losses
from assay.record.measurement import MeasurementRecord
from assay.report import words
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


def measurement_record(context: Context, measured: Yardsticks, controls: Controls, started: float) -> MeasurementRecord:
    """The whole record of a finished measurement."""
    job, workbench, scored, numbers, plans = (
        context.job,
        context.workbench,
        context.scored,
        context.numbers,
        context.plans,
    )
    resamples, head, model, explanation = context.resamples, numbers.headline, job.model, job.explanation

    def loss(its: Scores) -> Estimate:
        return resamples.mean(its.loss[context.used], context.count)

    tries = _foreseen(job, controls.largest_p)
    found = tuple(_one_of_m(check, tries) for check in measured.checks)
    floors = {
        f"{row.floor}:{row.ablation}" if row.floor in ("ablated", "empty") else row.floor: row.loss_floor
        for row in numbers.table
        if row.necessity is None
    }
    source = None if job.claim is None else job.claim.source
    return MeasurementRecord(
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
        controls=controls,
        rivals=rivals(context.rivals, scored, resamples, floor=context.floor) if job.settings.asks("rivals") else (),
        rivals_reason=_no_rivals(job, context.rivals),
        checks=found,
        residual=measured.residual,
        unmatched=explanation.unmatched(workbench),
        sentence=verdict(job, numbers, measured.compute, controls, found),
        tries=tries,
        versions=versions(workbench),
        timing=Timing(
            started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            seconds=round(time.time() - started, 1),
            forwards=round(workbench.runner.forwards - workbench.used.before),
        ),
    )


def verdict(
    job: Job, numbers: HeadlineTable, computed: ComputeFigures, controls: Controls, found: Sequence[Check]
) -> str:
    """One plain sentence: how much, over what, worth what, and whether the controls and checks stand against it."""
    fired = sum(check.state == "fired" for check in found)
    tail = f" {fired} check{'s' * (fired != 1)} fired." if fired else " No check fired."
    tail = tail if job.settings.asks("checks") else " No check was asked for."
    row = numbers.row
    if row.necessity is not None:
        return (
            f"Removing {', '.join(str(s) for s in job.explanation.scope(job.model)[:6])} from {job.model.name} "
            f"({row.ablation}) costs {row.nats} nats a token"
            + (
                f"; as a share of what separates the bigram from the model that is {row.necessity}.{tail}"
                if row.necessity.value is None
                else f", N = {row.necessity} of what separates the bigram from the model.{tail}"
            )
        )
    share, what = row.recovered, job.explanation.sentence(job.model.name)
    if row.floor == "ablated" and job.explanation.by_construction(row.ablation):
        return (
            f"{what}: that is 0 over {row.ablation} by construction, because the floor puts the same constant there; "
            f"what it costs is a KL of {row.kl_explained} nats a token to the model.{tail}"
        )
    if share.value is None:
        return f"How much is explained by “{what}” is undefined, because {share.reason}.{tail}"
    text = f"{what}: that recovers {_percent(share)} of what the {row.floor} floor loses under {row.ablation} ablation"
    text += f", {numbers.headline.nines.text}"
    if computed.recovered.value is not None:
        text += f"; in training compute {_percent(computed.recovered)}"
    beaten = [group for group in controls.groups if group.p is not None]
    if beaten:
        group = max(beaten, key=lambda g: g.p or 0.0)
        text += f"; the control that does best against it is “{group.name}” (p = {group.p:.2g})"
    level = [group.name for group in controls.groups if _not_beaten(group)]
    if level:
        text += f"; it is not told to be better than {' or '.join(f'“{name}”' for name in level)}"
    return text + "." + tail


def _not_beaten(group: ControlGroup) -> bool:
    """Whether it is a single control, with no p of its own, that the claim's figure is not told to be above."""
    found = group.difference
    return found is not None and found.value is not None and (found.low is None or found.low <= 0)


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
    return "n-grams and smaller models predict tokens; sets of parts compete with Keep and Remove claims only"


def model_block(model: Model | ModuleModel, noise: Noise | None = None) -> about.ModelRecord:
    """The model's name, sizes and fingerprint."""
    shape = None
    if isinstance(model, Model):
        names = ("layers", "d_model", "heads", "kv_heads", "d_head", "vocab", "context")
        sizes = {name: getattr(model.config, name) for name in names}
        shape = ShapeRecord(**sizes, d_mlp=tuple(model.config.d_mlp))
    own = {name: getattr(model, name) for name in ("name", "fingerprint", "family", "parameters")}
    return about.ModelRecord(**own, shape=shape, noise=noise)


def _percent(estimate: Estimate) -> str:
    """Whole per cent; with two decimals where the interval is narrower than one, as near 100 % it is.

    Example:
        >>> _percent(Estimate(0.9990, 0.9986, 0.9993, 30)), _percent(Estimate(-0.62, -0.7, 0.001, 30))
        ('99.90 % [99.86, 99.93]', '−62 % [−70, 0]')
    """
    if estimate.value is None:
        return str(estimate)
    low, high = estimate.low, estimate.high
    decimals = 2 if low is not None and high is not None and 100 * (high - low) < 1 else 0
    ends = ("open" if end is None else _decimal(100 * end, decimals) for end in (low, high))
    return f"{_decimal(100 * estimate.value, decimals)} % [{', '.join(ends)}]"


def _decimal(number: float, decimals: int) -> str:
    """With a true minus sign, never −0."""
    shown = f"{number:.{decimals}f}"
    return (shown.lstrip("-") if float(shown) == 0 else shown).replace("-", "−")


def revision() -> str | None:
    """The commit of a development install; None for an installed wheel."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return None
    found = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or None
