"""Planted scaling laws come back, out of range is said, and corrections equal hand-worked values."""

# pyright: reportOperatorIssue=false, reportOptionalOperand=false, reportOptionalMemberAccess=false
# An estimate that is undefined where a value is expected fails the test by itself.
from __future__ import annotations

import numpy as np
import pytest

from assay.stats.fits import MonotoneCurve, holm, lower_envelope, p_value, power_law
from assay.stats.keyed import generator

FLOPS = np.geomspace(1e12, 1e15, 12)
LAW = 30.0, 0.1, 1.5  # a, b, linf: 3.4 nats at 1e12, 2.4 at 1e15


def law(flops):
    a, b, linf = LAW
    return linf + a * flops**-b


def test_planted_power_law_is_recovered_without_noise():
    fit = power_law(FLOPS, law(FLOPS), draws=50)
    assert fit.b == pytest.approx(LAW[1], rel=1e-3)
    assert fit.linf == pytest.approx(LAW[2], rel=1e-2)
    assert fit.a == pytest.approx(LAW[0], rel=2e-2)
    assert fit.flops_at(law(3e13)) == pytest.approx(3e13, rel=1e-3)
    assert fit.flops_at(1.0) is None


def test_planted_power_law_lies_within_its_intervals_under_noise_and_one_outlier():
    losses = law(FLOPS) * np.exp(5e-4 * generator(0).standard_normal(12))
    losses[4] *= 1.03  # a run that went wrong: Huber counts it linearly
    fit = power_law(FLOPS, losses, seed=1)
    for name, truth in zip(("a", "b", "linf"), LAW, strict=True):
        interval = fit.intervals[name]
        assert interval.low <= truth <= interval.high
    assert fit.flops_at(law(3e13)) == pytest.approx(3e13, rel=0.05)


def test_asymptote_stays_between_zero_and_the_lowest_loss():
    steep = power_law(FLOPS, 100 * FLOPS**-0.12, draws=0)  # no asymptote
    assert 0 <= steep.linf < 0.05 * (100 * FLOPS[-1] ** -0.12)
    flat = power_law(FLOPS, np.concatenate([[4.0, 3.0, 2.5], np.full(9, 2.0)]), draws=0)
    assert 0 <= flat.linf < 2.0


def test_runs_are_resampled_whole():
    groups = np.repeat(["a", "b", "c", "d"], 3)
    fit = power_law(FLOPS, law(FLOPS), groups, draws=60)
    assert fit.intervals["b"].n == 4
    with pytest.raises(ValueError, match="needs three points"):
        power_law(FLOPS[:2], law(FLOPS[:2]))


def test_curve_inverts_the_planted_law_between_its_points():
    curve = MonotoneCurve.fit(FLOPS, law(FLOPS))
    for flops in np.geomspace(1.1e12, 0.9e15, 40):
        assert curve.flops_at(float(law(flops))) == pytest.approx(flops, rel=5e-3)


def test_curve_is_monotone_and_passes_through_the_envelope_only():
    rng = generator(3)
    above = law(FLOPS) + rng.random(12) * 0.5
    flops, losses = np.concatenate([FLOPS, FLOPS * 1.5]), np.concatenate([law(FLOPS), above])
    kept = lower_envelope(flops, losses)
    assert kept[:12].all()
    curve = MonotoneCurve.fit(flops, losses)
    at = np.array([curve.flops_at(x) for x in np.linspace(curve.losses[-1], curve.losses[0], 300)])
    assert (np.diff(at) < 0).all()
    assert curve.flops_at(float(law(FLOPS[5]))) == pytest.approx(FLOPS[5])
    sampled = curve.sampled()
    assert sampled == sorted(sampled)


def test_out_of_range_is_below_or_above_and_never_a_number():
    curve = MonotoneCurve.fit(FLOPS, law(FLOPS), tolerance=1e-3)
    best, worst = float(law(FLOPS[-1])), float(law(FLOPS[0]))
    assert [curve.where(x) for x in (worst + 0.01, worst, best, best - 0.01)] == ["below", "inside", "inside", "above"]
    assert np.isnan(curve.flops_at(best - 0.01))
    assert curve.flops_at(best - 5e-4) == pytest.approx(FLOPS[-1])  # within the tolerance: the end itself
    with pytest.raises(ValueError, match="fewer than two points"):
        MonotoneCurve.fit(np.array([1.0, 2.0]), np.array([1.0, 2.0]))


def test_p_value_counts_ties_against_the_claim():
    assert p_value(0.5, np.array([0.5, 0.4, 0.6])) == 0.75
    assert p_value(0.5, [0.5 - 5e-7, 0.5 - 2e-6]) == pytest.approx(2 / 3)  # equal but for rounding, and not equal
    assert p_value(0.5, []) == 1.0
    with pytest.raises(ValueError, match="scores that are defined"):
        p_value(0.5, [float("nan")])


def test_holm_equals_the_hand_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
