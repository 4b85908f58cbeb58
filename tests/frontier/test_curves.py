"""Areas of a frontier by hand: three circuits of 1, 10 and 100 edges of 1,000, on two kinds of documents."""

from __future__ import annotations

from math import log10

import numpy as np
import pytest

from assay.frontier.curves import Curve, area_linear, area_log, cmd, cpr, trapezoid_weights
from assay.stats.bootstrap import Resamples

N = 40
COUNTS = np.full(N, 5.0)


def curve(shares: list[float], losses: list[float] | None = None, sizes: tuple[int, ...] = (1, 10, 100)) -> Curve:
    """Documents whose floor differs, and circuits that recover these shares of each document's own floor."""
    floor = 1.0 + np.arange(N) % 3
    model = 2.0 + 0.1 * (np.arange(N) % 5)
    lost = shares if losses is None else losses
    return Curve(
        sizes=np.array(sizes),
        total=1_000,
        kl=np.outer([1 - share for share in shares], floor) * COUNTS,
        kl_empty=floor * COUNTS,
        loss=(model + np.outer([1 - share for share in lost], floor)) * COUNTS,
        loss_empty=(model + floor) * COUNTS,
        loss_model=model * COUNTS,
        counts=COUNTS,
        resamples=Resamples(N, seed=1),
    )


def test_weights_give_the_area_under_straight_lines():
    x, y = np.array([0.0, 0.5, 2.0, 2.5]), np.array([1.0, 3.0, -1.0, 4.0])
    assert trapezoid_weights(x) @ y == pytest.approx(np.trapezoid(y, x), abs=1e-12)


def test_areas_by_hand():
    found = curve([0.1, 0.5, 0.8])
    by_hand = 0.001 * 0.1 / 2 + 0.009 * (0.1 + 0.5) / 2 + 0.09 * (0.5 + 0.8) / 2 + 0.9 * (0.8 + 1) / 2
    linear = area_linear(found)
    assert linear.value == pytest.approx(by_hand, abs=1e-12)
    # every document has the same shares, so there is nothing to vary
    assert linear.low == pytest.approx(by_hand, abs=1e-9)
    assert linear.high == pytest.approx(by_hand, abs=1e-9)
    log = (0.1 + 0.5) / 2 / 3 + (0.5 + 0.8) / 2 / 3 + (0.8 + 1) / 2 / 3
    assert area_log(found).value == pytest.approx(log, abs=1e-12)


def test_below_the_smallest_circuit_nothing_is_recovered():
    found = area_log(curve([0.5, 0.8], sizes=(10, 100)))
    by_hand = (0 + 0.5) / 2 / 3 + (0.5 + 0.8) / 2 / 3 + (0.8 + 1) / 2 / 3
    assert found.value == pytest.approx(by_hand, abs=1e-12)


def test_cpr_and_cmd_by_hand_and_what_over_recovery_does():
    shares, sizes = [0.2, 1.5, 1.0], (10, 500, 1_000)
    found = curve(shares, sizes=sizes)
    by_hand = 0.01 * (0 + 0.2) / 2 + 0.49 * (0.2 + 1.5) / 2 + 0.5 * (1.5 + 1) / 2
    assert cpr(found).value == pytest.approx(by_hand, abs=1e-9)
    by_hand = 0.01 * (1 + 0.8) / 2 + 0.49 * (0.8 + 0.5) / 2 + 0.5 * (0.5 + 0) / 2
    assert cmd(found).value == pytest.approx(by_hand, abs=1e-9)
    fair = curve([0.2, 1.0, 1.0], sizes=sizes)
    assert cpr(found).value > cpr(fair).value  # type: ignore[operator]
    assert cmd(found).value > cmd(fair).value  # type: ignore[operator]


def test_sizes_that_end_before_all_edges_still_count_the_way_to_the_model():
    """A lone bad circuit is far from the model; the area is not 0 because it has one point."""
    found = curve([-0.5], sizes=(100,))
    assert cpr(found).value == pytest.approx(0.1 * (0 - 0.5) / 2 + 0.9 * (-0.5 + 1) / 2, abs=1e-9)
    assert cmd(found).value == pytest.approx(0.1 * (1 + 1.5) / 2 + 0.9 * (1.5 + 0) / 2, abs=1e-9)


def test_an_interval_holds_the_value_and_widens_with_the_documents_spread():
    found = curve([0.1, 0.5, 0.8])
    uneven = np.where(np.arange(N) % 2 == 0, 0.5, 1.5)
    varied = Curve(**{**vars(found), "kl": found.kl * uneven})
    area = area_linear(varied)
    assert area.low is not None
    assert area.high is not None
    assert area.value is not None
    assert area.low < area.value < area.high
    sure = area_linear(found)
    assert sure.low is not None
    assert sure.high is not None
    assert area.high - area.low > 100 * (sure.high - sure.low)
    assert log10(area.value) < 0


def test_a_distance_of_few_documents_does_not_reach_below_zero():
    found = curve([1.0, 1.0, 1.0])
    few = np.arange(9)
    uneven = found.loss + np.outer([30.0, 0, 0], np.array([1.0] + [0.0] * (N - 1)))
    cut = {k: v[..., few] for k, v in vars(found).items() if isinstance(v, np.ndarray) and v.shape[-1] == N}
    small = Curve(**{**vars(found), **cut, "loss": uneven[:, few], "resamples": Resamples(9, seed=1)})
    distance = cmd(small)
    assert distance.method == "jackknife_t"
    assert distance.low == 0
    assert distance.value is not None
    assert distance.value > 0


def test_without_a_gap_there_is_no_share_of_it():
    found = curve([0.1, 0.5, 0.8])
    flat = Curve(**{**vars(found), "loss_empty": found.loss_model, "loss": np.stack([found.loss_model] * 3)})
    for measure in (cpr, cmd):
        assert measure(flat).value is None
        assert "gap not resolved" in str(measure(flat).reason)
