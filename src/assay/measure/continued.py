"""Going on with a measurement that left blocks for want of budget, or was stopped: what is put together of the two
records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assay.errors import RunError
from assay.measure.job import Job
from assay.measure.measurement import Measurement
from assay.record.about import CONTINUED, STOPPED, BudgetRecord, Check, StageRecord
from assay.record.measurement import MeasurementRecord
from assay.report.verdict import verdict
from assay.store.canonical import canonical_json

CHECKS = {"knock-outs": ("redundant", "frivolous"), "merges": ("over-specific",), "off-manifold": ("off-manifold",)}


def check(before: Measurement, job: Job, folder: str) -> None:
    """Raises `RunError` where a run cannot be gone on with: which of claim, model and data is another one now."""
    record = before.record
    if not record.budget.wanting:
        raise RunError(f"the run {folder!r} left nothing for want of budget, so there is nothing to go on with")
    if before.scored is None:
        raise RunError(f"the run {folder!r} has no scores.npz, which it would be gone on from; measure again")
    claim = job.claim
    changed = {
        "model": (record.model.fingerprint, job.model.fingerprint),
        "data": (canonical_json(record.task), canonical_json(job.task.description)),
        "claim": None if claim is None else (record.claim.hash, claim.hash),  # its file names model and data too
    }
    for what, pair in changed.items():
        if pair is not None and pair[0] != pair[1]:
            raise RunError(f"the {what} of the run {folder!r} is another one now; measure again")


def joined(before: MeasurementRecord, now: MeasurementRecord) -> MeasurementRecord:
    """The earlier record with what was measured now, or why it was not, in place of what it had left. What it had left
    and is still ahead stays as it is."""
    wanted, ahead = before.budget.wanting, now.budget.ahead
    done = {block for block in wanted if block not in ahead}
    new = {block for block in done if wanted[block] == STOPPED}  # of these, what takes no pass is not there either
    later = "parts" in done or "compute" in wanted  # whether what compute says is of now
    left = {block: why for block, why in now.budget.wanting.items() if block not in ahead or block == "compute"}
    left |= {block: wanted[block] for block in ahead if block in wanted}
    if not later:
        left.pop("compute", None)
    update: dict[str, Any] = {"timing": now.timing, "arguments": now.arguments, "versions": now.versions}
    if "parts" in done or "compute" in done:
        update["parts"] = now.parts
    if "controls" in done:
        update["tries"] = now.tries
    if "bits" in done:
        update["bits"] = now.bits
    if "own" in done:
        update["own"] = now.own
    if "rivals" in done:
        update |= {"rivals": now.rivals, "rivals_reason": now.rivals_reason, "agreement": now.agreement}
    if "strength" in done:
        update["strength"] = now.strength
    controls = now.controls if "controls" in done else before.controls
    random = now.controls if "random weights" in done else before.controls
    update["controls"] = controls.model_copy(
        update={"random_weights": random.random_weights, "random_weights_reason": random.random_weights_reason}
    )
    if later or (before.compute.reason is not None and "compute" not in ahead):
        update["compute"] = now.compute
    if "worst examples" in new:
        update["residual"] = now.residual
    else:
        update["residual"] = before.residual.model_copy(update=_residual(now, done))
    update["checks"] = now.checks if "knock-outs" in new else tuple(_checks(before, now, done))
    stages = (
        *before.budget.stages,
        *(StageRecord(name=one.name + CONTINUED, passes=one.passes) for one in now.budget.stages),
    )
    update["budget"] = BudgetRecord(passes=now.budget.passes, stages=stages, wanting=left)
    record = before.model_copy(update=update)
    return record.model_copy(update={"sentence": " ".join(verdict(record).sentences)})


def _residual(now: MeasurementRecord, done: set[str]) -> Mapping[str, Any]:
    update: dict[str, Any] = {}
    if "worst examples" in done:
        update |= {"worst": now.residual.worst, "worst_of_slices": now.residual.worst_of_slices}
    if "restored parts" in done:
        update["parts"] = now.residual.parts
    if "residual signal" in done:
        update["signal"] = now.residual.signal
    return update


def _checks(before: MeasurementRecord, now: MeasurementRecord, done: set[str]) -> list[Check]:
    """Checks are as they were but for those whose evidence was gathered now; "vacuous" looks at the controls."""
    names = {name for block in done for name in CHECKS.get(block, ())} | ({"vacuous"} if "controls" in done else set())
    new = {check.name: check for check in now.checks}
    return [new[check.name] if check.name in names else check for check in before.checks]
