"""The record: everything a reader needs to reproduce and to judge a measurement, as `measurement.json` holds it."""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from assay.errors import RunError
from assay.explanations.claims.file import ClaimFile
from assay.intervene.ablations import Workbench
from assay.measure.checks.evidence import Check
from assay.measure.context import Context
from assay.measure.controls.rivals import Rival, rivals
from assay.measure.headline.figures import Figures, row_json
from assay.measure.headline.parts_block import parts_block
from assay.measure.job import Job
from assay.measure.settings import NOT_ASKED
from assay.measure.yardsticks import Gathered
from assay.model.transformer import Model
from assay.report import words
from assay.score.scores import Scores
from assay.stats.estimate import Estimate
from assay.store.register import Adjusted, Entry, Tried, adjusted, foreseen, log, register_path
from assay.store.runs import SCHEMA
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


def logged(job: Job, record: dict[str, Any]) -> str | None:
    """Logs a finished measurement as a try, where it has a claim file and a run folder; why it could not, or None."""
    if job.claim is None or job.settings.out is None:
        return None
    try:
        register(job.claim, job.settings.out, job.settings.ablation, _largest_p(record["controls"]))
    except RunError as problem:
        return str(problem)
    return None


def _foreseen(job: Job, controls: dict[str, Any]) -> tuple[Tried | None, Adjusted | None]:
    """The place of this try once it is logged, which it is when the run is saved; None where nothing can be read."""
    if job.claim is None or job.settings.out is None:
        return None, None
    try:
        return foreseen(*_try(job.claim, job.settings.out, job.settings.ablation, _largest_p(controls)))
    except RunError:
        return None, None


def _try(claim: ClaimFile, out: str, ablations: Sequence[str], p: float | None) -> tuple[Path, Entry]:
    split = f"{claim.model} {claim.task.model_dump(exclude_none=True)}"
    return register_path(out), Entry(split, claim.hash, tuple(ablations), p=p)


def record(context: Context, gathered: Gathered, controls: dict[str, Any], started: float) -> dict[str, Any]:
    """The whole record of a finished measurement."""
    job, bench, scored, numbers, plans = context.job, context.bench, context.scored, context.numbers, context.plans
    resamples, people = context.resamples, context.rivals

    def loss(its: Scores) -> dict[str, Any]:
        return resamples.mean(its.loss[context.used], context.count).to_json()

    head = headline(numbers, job.explanation.headline_floor)
    tried, over = _foreseen(job, controls)
    found = [_one_of_m(check, tried) for check in gathered.checks]
    floors = {
        f"{row.floor}:{row.ablation}" if row.floor in ("ablated", "empty") else row.floor: loss(scored[row.system])
        for row in numbers.rows
    }
    model = job.model
    transformer = isinstance(model, Model)
    task = job.task.description
    name = model.name
    sentence = job.explanation.sentence(name)
    return {
        "schema": SCHEMA,
        "assay": {"version": VERSION, "revision": revision()},
        "claim": {
            "sentence": sentence,
            "kind": job.explanation.kind,
            "level": job.explanation.level,
            "scope": [str(site) for site in job.explanation.scope(model)],
            "text": None if job.claim is None else job.claim.source.text,
            "hash": None if job.claim is None else job.claim.hash,
        },
        "arguments": job.settings.arguments(),
        "model": {
            "name": name,
            "fingerprint": model.fingerprint,
            "family": model.family,
            "parameters": model.parameters,
            "shape": shape_of(model) if transformer else None,
            "noise": {"kl": numbers.noise_kl, "loss": numbers.noise_loss, "proof": model.noise},
        },
        "task": task,
        "reference": bench.on_reference(),
        "level": job.explanation.level,
        "level_note": words.LEVELS[job.explanation.level],
        "headline": head,
        "recovered": head["recovered"],
        "recovered_loss": head["recovered_loss"],
        "losses": {"model": loss(scored.model), "explained": loss(scored[context.explained]), "floors": floors},
        "table": table(numbers),
        "beside": gathered.beside,
        "nines": head["nines"]["value"],
        "compute": gathered.compute.to_json(),
        "parts": parts_block(plans, scored, resamples, numbers, gathered.compute),
        "bits": gathered.length.to_json(),
        "circuit": None,
        **({} if gathered.own is None else {job.explanation.block_name: gathered.own}),
        "controls": controls,
        "rivals": rivals(people, scored, resamples, floor=context.floor) if job.settings.asks("rivals") else [],
        "rivals_reason": _no_rivals(job, people),
        "checks": [check.to_json() for check in found],
        "residual": gathered.residual,
        "unmatched": job.explanation.unmatched(bench),
        "sentence": verdict(job, numbers, gathered, controls, found),
        "register": None if tried is None else _register_block(tried, over),
        "versions": versions(bench),
        "timing": {
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            "seconds": round(time.time() - started, 1),
            "forwards": round(bench.runner.forwards - bench.used.before),
        },
    }


def headline(numbers: Figures, placed: str) -> dict[str, Any]:
    """The headline block: R_D, R_L and nines; for Remove necessity and KL, and what it is `placed` over."""
    if numbers.necessity:
        mine = numbers.necessity[numbers.ablation]
        none = Estimate.undefined("a Remove claim has necessity and KL, and no recovered share").to_json()
        block = {"ablation": numbers.ablation, "floor": placed, "recovered": none, "recovered_loss": none}
        nines = {"value": none, "certified": none, "limit": None, "floor": placed, "text": "no nines"}
        return {**block, "nines": nines, **mine.to_json()}
    row = numbers.headline
    assert row is not None
    return {
        "ablation": row.ablation,
        "floor": row.floor,
        "recovered": row.figures.recovered.to_json(),
        "recovered_loss": row.figures.recovered_loss.to_json(),
        "nines": row.figures.nines.to_json(),
    }


def table(numbers: Figures) -> list[dict[str, Any]]:
    """Every floor x ablation; for Remove every ablation."""
    if not numbers.necessity:
        return [row_json(row, numbers.headline) for row in numbers.rows]
    none = Estimate.undefined("a Remove claim has no floor").to_json()
    empty = dict.fromkeys(("recovered", "recovered_loss", "nines", "kl_floor", "loss_floor"), none)
    return [
        {
            "ablation": ablation,
            "floor": "bigram",
            "option": None,
            "headline": ablation == numbers.ablation,
            **empty,
            "necessity": figures.necessity.to_json(),
            "kl_explained": figures.kl.to_json(),
            "nats": figures.nats.to_json(),
        }
        for ablation, figures in numbers.necessity.items()
    ]


def verdict(job: Job, numbers: Figures, gathered: Gathered, controls: dict[str, Any], found: Sequence[Check]) -> str:
    """One plain sentence: how much, over what, worth what, and whether the controls and checks stand against it."""
    fired = sum(check.state == "fired" for check in found)
    tail = f" {fired} check{'s' * (fired != 1)} fired." if fired else " No check fired."
    tail = tail if job.settings.asks("checks") else " No check was asked for."
    if numbers.necessity:
        mine = numbers.necessity[numbers.ablation]
        return (
            f"Removing {', '.join(str(s) for s in job.explanation.scope(job.model)[:6])} from {job.model.name} "
            f"({numbers.ablation}) costs {mine.nats} nats a token"
            + (
                f"; as a share of what separates the bigram from the model that is {mine.necessity}.{tail}"
                if mine.necessity.value is None
                else f", N = {mine.necessity} of what separates the bigram from the model.{tail}"
            )
        )
    row = numbers.headline
    assert row is not None
    share = row.figures.recovered
    what = job.explanation.sentence(job.model.name)
    if row.floor == "ablated" and job.explanation.by_construction(row.ablation):
        kl = row.figures.kl_explained
        return (
            f"{what}: that is 0 over {row.ablation} by construction, because the floor puts the same constant there; "
            f"what it costs is a KL of {kl} nats a token to the model.{tail}"
        )
    if share.value is None:
        return f"How much is explained by “{what}” is undefined, because {share.reason}.{tail}"
    worth = gathered.compute.recovered
    text = f"{what}: that recovers {_percent(share)} of what the {row.floor} floor loses under {row.ablation} ablation"
    text += f", {row.figures.nines.text}"
    if worth.value is not None:
        text += f"; in training compute {_percent(worth)}"
    beaten = [g for g in controls.get("groups", []) if g.get("p") is not None]
    if beaten:
        group = max(beaten, key=lambda g: g["p"])
        text += f"; the control that does best against it is “{group['name']}” (p = {group['p']:.2g})"
    level = _not_beaten(controls)
    if level:
        text += f"; it is not told to be better than {' or '.join(f'“{name}”' for name in level)}"
    return text + "." + tail


def _not_beaten(controls: dict[str, Any]) -> list[str]:
    """Single controls, with no p of their own, that the claim's figure is not told to be above."""
    found: list[str] = []
    for group in controls.get("groups", []):
        difference = group.get("difference") or {"value": None}
        low = difference.get("low")
        if difference["value"] is not None and (low is None or low <= 0):
            found.append(group["name"])
    return found


def versions(bench: Workbench) -> dict[str, Any]:
    """Versions, thread count, device, precision and the micro-batch: what the numbers' last digits depend on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "numpy": np.__version__,
        "threads": torch.get_num_threads(),
        "device": str(bench.model.device),
        "precision": str(bench.model.dtype).removeprefix("torch."),
        "micro_batch": bench.runner.batch,
        "platform": f"{sys.platform} {platform.machine()}",
    }


def _largest_p(controls: dict[str, Any]) -> float | None:
    """A try's p: the largest over its groups of controls, since the claim has to be better than each of them."""
    return max((group["p"] for group in controls.get("groups", []) if group.get("p") is not None), default=None)


def _register_block(tried: Tried, over: Adjusted | None) -> dict[str, Any]:
    """The record's `register` block; `without_p` tries count as p = 1."""
    block: dict[str, Any] = {"tried": tried.tried, "this": tried.this}
    p, holm, without = (None, None, 0) if over is None else (over.p, over.holm, over.without)
    return block | {"p": p, "p_holm": holm, "without_p": without}


def _one_of_m(check: Check, tried: Tried | None) -> Check:
    if check.name != "1 of m" or tried is None:
        return check
    state = "fired" if tried.tried > 1 else "passed"
    return Check(check.name, state, f"this is try {tried.this} of {tried.tried} on this data", check.threshold)


def _no_rivals(job: Job, people: Sequence[Rival]) -> str | None:
    """Why there are none."""
    if not job.settings.asks("rivals"):
        return NOT_ASKED
    if people:
        return None
    if isinstance(job.model, Model):
        return "no n-gram could be fitted, and no smaller member of the model's family is at hand"
    return "n-grams and smaller models predict tokens; sets of parts compete with Keep and Remove claims only"


def shape_of(model: Model) -> dict[str, Any]:
    shape = model.config
    names = ("layers", "d_model", "heads", "kv_heads", "d_head", "vocab", "context")
    return {**{name: getattr(shape, name) for name in names}, "d_mlp": list(shape.d_mlp)}


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
