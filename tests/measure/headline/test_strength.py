"""The axis of strength: rows over one floor, what a claim says that holds at its mean alone, and what is left out."""

from __future__ import annotations

from functools import cache

import pytest

import assay
from assay.measure.measurement import Measurement
from assay.report import strength
from assay.report.verdict import verdict
from assay.stats.estimate import Estimate

ONLY = ("headline", "strength")


@cache
def measured(budget: int | str) -> Measurement:
    model = assay.load("zoo:novel-attn2")
    task = assay.Task.repeat(model, n=8, length=12)
    return assay.measure(assay.Keep(["a0", "a1.h0", "a1.h5"]), model, task, budget=budget, only=ONLY)


def test_a_measurement_has_the_strengths_over_one_floor_and_the_worst_only_when_it_is_thorough() -> None:
    usual, thorough = measured(60).record.strength, measured("thorough").record.strength
    assert usual is not None
    assert thorough is not None
    assert [row.strength for row in usual.rows] == ["mean", "resampled"]
    assert [row.strength for row in thorough.rows] == ["mean", "resampled", "shared adversarial"]
    assert usual.rows == thorough.rows[:2]
    mean, _, worst = thorough.rows
    assert (worst.kl.value or 0) > 1.5 * (mean.kl.value or 0)
    floor = next(r.kl_floor.value for r in measured("thorough").record.table if r.ablation == "mean")
    for row in thorough.rows:
        assert row.recovered.value == pytest.approx(1 - (row.kl.value or 0) / (floor or 1), abs=1e-9)
    assert any("adversarial" in fit.what for fit in measured("thorough").record.reference.fits)


def test_what_the_headline_has_run_is_not_run_again() -> None:
    record = measured(60).record
    stage = next(one for one in record.budget.stages if one.name == "strength")
    assert 0 < stage.passes <= 2.0  # one run of resampled parts, and their donors; the mean is the headline's
    row = next(one for one in record.table if one.ablation == "mean")
    assert record.strength is not None
    assert record.strength.rows[0].kl == row.kl_explained


def test_a_claim_that_says_all_that_is_ablated_has_no_axis() -> None:
    model = assay.load("zoo:novel-attn2")
    task = assay.Task.repeat(model, n=4, length=8)
    assert assay.measure(assay.Remove(["a0.h1"]), model, task, only=ONLY).record.strength is None
    none = assay.measure(assay.Keep(["a0"]), model, task, budget="headline").record
    assert none.strength is not None
    assert not none.strength.rows
    assert none.strength.reason == "the budget is the headline's alone"
    assert "strength" in none.budget.wanting


def test_a_claim_that_holds_at_its_mean_alone_says_so_in_its_verdict() -> None:
    """Planted: the same record with rows on either side of one half, and with all on one."""
    record = measured("thorough").record
    assert record.strength is not None

    def over(*values: float) -> str:
        rows = tuple(
            row.model_copy(update={"recovered": Estimate(value, value - 0.05, value + 0.05, 8)})
            for row, value in zip(record.strength.rows, values, strict=True)
        )
        found = record.model_copy(update={"strength": record.strength.model_copy(update={"rows": rows})})
        return " ".join(verdict(found).sentences)

    assert "It holds only where everything else is at its mean" in over(0.9, 0.2, 0.1)
    assert "holds only where" not in over(0.9, 0.8, 0.7)
    assert "holds only where" not in over(0.3, 0.2, 0.1)
    assert "holds only where" not in over(0.52, 0.2, 0.1)  # its interval reaches below one half
    assert "shared adversarial" in strength.sees(record)


class Zeroed(assay.Keep):
    """A kind with a strength of its own."""

    at_strengths = ("mean", "zero")


def test_a_strength_of_a_kinds_own_is_measured_and_named() -> None:
    model = assay.load("zoo:novel-attn2")
    task = assay.Task.repeat(model, n=4, length=8)
    record = assay.measure(Zeroed(["a0", "a1.h0"]), model, task, ablation="mean", budget=60, only=ONLY).record
    assert record.strength is not None
    assert [row.strength for row in record.strength.rows] == ["mean", "zero"]
    assert [row[0] for row in strength.rows(record.strength)] == ["at its mean", "filled by zero"]
