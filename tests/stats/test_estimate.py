"""An estimate is a number with an interval, or a reason: never NaN, never a silent gap."""

from __future__ import annotations

import math

import numpy as np
import pytest

from assay.errors import UserError
from assay.stats.estimate import Estimate
from assay.stats.keyed import generator, torch_generator


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(0.62, 0.59, 0.65, 9), "0.62 [0.59, 0.65]"),
        (Estimate(0.99701, 0.99652, 0.99748, 9), "0.9970 [0.9965, 0.9975]"),
        (Estimate(134.2, 120.0, 151.0, 9), "134 [120, 151]"),
        (Estimate(-0.0001, -0.02, 0.02, 9), "0.00 [-0.02, 0.02]"),
        (Estimate(3e-7, 2e-7, 4e-7, 9), "3e-07 [2e-07, 4e-07]"),
        (Estimate(2.0, 1.0, None, 9, "unbounded"), "2.00 [1.00, open]"),
        (Estimate(1.0, 1.0, 1.0, 9), "1.000 [1.000, 1.000]"),
        (Estimate.undefined("nothing was scored"), "undefined, because nothing was scored"),
    ],
)
def test_printed_digits_are_those_the_interval_bears(estimate, text):
    assert str(estimate) == text


def test_a_figure_is_a_number_where_one_is_wanted():
    found, other = Estimate(0.625, 0.5, 0.7, 9), Estimate(0.9, 0.8, 1.0, 9)
    assert float(found) == 0.625
    assert (f"{found:.2f}", f"{found:8.1%}|", f"{found}") == ("0.62", "   62.5%|", "0.62 [0.50, 0.70]")
    assert found > 0.5
    assert not found > 0.625
    assert found >= np.float64(0.625)
    assert found < 0.7
    assert np.float64(0.5) < found <= other
    assert sorted([other, found]) == [found, other]
    assert max(found, other) is other
    with pytest.raises(TypeError):
        _ = found < "0.9"  # type: ignore[operator]


def test_an_undefined_figure_is_never_a_number():
    nothing = Estimate.undefined("the gap is not resolved")
    sentence = "the figure is undefined, because the gap is not resolved, so it is no number"
    for use in (
        lambda: float(nothing),
        lambda: nothing < 0.9,
        lambda: nothing >= 0.9,
        lambda: nothing > 0.9,
        lambda: nothing <= Estimate(0.5, 0.4, 0.6, 9),
        lambda: Estimate(0.5, 0.4, 0.6, 9) > nothing,
    ):
        for kind in (ValueError, UserError):
            with pytest.raises(kind, match=sentence):
                use()
    assert f"{nothing:.2f}" == f"{nothing}" == "undefined, because the gap is not resolved"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_refused(bad):
    for fields in ((bad, 0.0, 1.0), (0.5, bad, 1.0), (0.5, 0.0, bad)):
        with pytest.raises(ValueError, match="what is undefined is None with a reason"):
            Estimate(*fields, 3)


def test_what_is_missing_needs_a_reason():
    with pytest.raises(ValueError, match="without value needs a reason"):
        Estimate(None, None, None, 0)
    with pytest.raises(ValueError, match="without high needs a reason"):
        Estimate(1.0, 0.0, None, 0)


def test_json_round_trip_keeps_everything():
    for estimate in (Estimate(0.5, 0.4, 0.6, 30, method="percentile"), Estimate.undefined("why", 3)):
        assert Estimate.from_json(estimate.to_json()) == estimate
    assert Estimate.undefined("why").to_json()["value"] is None


def test_decreasing_map_exchanges_the_ends():
    mapped = Estimate(0.2, None, 0.3, 5, "open below").map(lambda r: 1 - r, decreasing=True)
    assert (mapped.value, mapped.low, mapped.high) == (0.8, 0.7, None)


def test_keyed_streams_do_not_depend_on_order_and_differ_by_key():
    a, b = generator(0, "x").random(4), generator(0, "x", 1).random(4)
    assert np.array_equal(a, generator(0, "x").random(4))
    assert not np.array_equal(a, b)
    assert not np.array_equal(generator(0, "a", "b").random(4), generator(0, "ab").random(4))
    assert not np.array_equal(generator(0, 1).random(4), generator(0, "1").random(4))
    assert torch_generator(0, "x").initial_seed() != torch_generator(1, "x").initial_seed()
