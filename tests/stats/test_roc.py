"""ROC curves against counts by hand, and the interval of the area against a published one and by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from assay.stats.roc import POINTS, newcombe, roc


def test_the_curve_is_what_counting_gives_and_its_trapezoids_are_the_area():
    random = np.random.default_rng(0)
    scores, right = random.integers(0, 12, 60).astype(float), random.random(60) < 0.3
    found = roc(scores, right)
    thresholds = sorted(set(scores), reverse=True)
    assert found.size.tolist() == [int((scores >= t).sum()) for t in thresholds]
    assert found.true.tolist() == [(scores >= t)[right].mean() for t in thresholds]
    assert found.false.tolist() == [(scores >= t)[~right].mean() for t in thresholds]
    pairs = scores[right][:, None] - scores[~right][None]
    assert found.area.value == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    under = np.trapezoid(np.append(0, found.true), np.append(0, found.false))
    assert found.area.value == pytest.approx(under)


def test_of_many_thresholds_some_are_kept_with_both_ends():
    found = roc(np.arange(5_000.0), np.arange(5_000) % 7 == 0)
    assert len(found.size) == POINTS
    assert (found.size[0], found.size[-1]) == (1, 5_000)


@pytest.mark.parametrize(("right", "reason"), [([False] * 3, "nothing is right"), ([True] * 3, "everything is right")])
def test_without_right_items_or_others_there_is_no_area(right: list[bool], reason: str):
    found = roc(np.array([1.0, 2.0, 3.0]), np.array(right)).area
    assert (found.value, found.low, found.reason) == (None, None, reason)


def test_the_ends_solve_the_equation_and_perfect_separation_keeps_a_length():
    low, high = newcombe(0.8, 10, 20)
    for end in (low, high):
        spread = end * (1 - end) * (1 + 14 * (1 - end) / (2 - end) + 14 * end / (1 + end)) / 200
        assert abs(0.8 - end) == pytest.approx(1.959964 * spread**0.5, rel=1e-5)
    low, high = newcombe(1.0, 4, 9)
    assert high == 1.0
    assert 0.5 < low < 0.9


def test_it_covers_the_true_area():
    random, true = np.random.default_rng(1), 0.8555  # of normals 1.5 apart
    right, inside = np.arange(30) < 8, 0
    for _ in range(400):
        area = roc(random.normal(size=30) + 1.5 * right, right).area
        assert area.low is not None
        assert area.high is not None
        inside += area.low <= true <= area.high
    assert 0.92 <= inside / 400 <= 0.99
