"""R_D, R_L, nines and necessity on planted truth."""

# pyright: reportArgumentType=false, reportOperatorIssue=false, reportOptionalOperand=false, reportOptionalMemberAccess=false
# An estimate that is undefined where a value is expected fails the test by itself.
from __future__ import annotations

import math

import numpy as np
import pytest

from assay.measure.headline.recovered import (
    RESOLUTION,
    measure_recovered,
    necessity,
    nines,
    recovered_kl,
    recovered_loss,
)
from assay.stats.bootstrap import Resamples
from assay.stats.keyed import generator

N = 200


def data(seed=0, documents=N):
    rng = generator(seed, "recovered")
    tokens = rng.integers(200, 2_000, documents).astype(float)
    floor = tokens * 0.5 * np.exp(0.3 * rng.standard_normal(documents))
    return rng, tokens, floor


@pytest.mark.parametrize("documents", [20, N])
@pytest.mark.parametrize(("right", "expected"), [(0.0, 0.0), (0.5, 0.301), (0.9, 1.0), (0.99, 2.0), (0.999, 3.0)])
def test_program_right_on_a_share_of_inputs_reads_its_nines_within_the_interval(right, expected, documents):
    """Right: the model's own output, KL 0. Wrong: the floor's. Drawn token by token (docs/definitions.md#recovered)."""
    rng, tokens, floor = data(documents=documents)
    share_wrong = rng.binomial(100 * tokens.astype(int), 1 - right) / (100 * tokens)
    found = nines(Resamples(documents), floor * share_wrong, floor, tokens, "mean")
    assert found.value.low is not None
    assert found.value.high is not None
    assert found.value.low - 1e-9 <= expected <= found.value.high + 1e-3
    assert found.certified.value is not None
    assert found.certified.value == pytest.approx(found.value.low)
    assert found.certified.value <= found.value.value


def test_nines_carry_the_floors_name_and_are_never_rounded_up():
    _, tokens, floor = data()
    resamples = Resamples(N)
    assert nines(resamples, floor * 0.05, floor, tokens, "mean").text == "1.3 nines over mean"
    assert nines(resamples, floor * 0.4, floor, tokens, "bigram").text == "0.39 nines over bigram"
    assert nines(resamples, floor * 0.0102, floor, tokens, "mean").text == "1.9 nines over mean"


def test_certified_nines_are_those_of_the_upper_end_of_the_ratio():
    rng, tokens, floor = data()
    explained = floor * 0.1 * rng.gamma(2, 0.5, N)
    resamples = Resamples(N)
    ratio = resamples.ratio(explained, floor, tokens)
    found = nines(resamples, explained, floor, tokens, "mean")
    assert found.certified.value == pytest.approx(-math.log10(ratio.high))
    assert found.certified.value < found.value.value == pytest.approx(-math.log10(ratio.value))


def test_at_the_meters_resolution_nines_are_shown_as_more_than_it():
    _, tokens, floor = data()
    mean = floor.sum() / tokens.sum()
    resamples = Resamples(N)
    limited = nines(resamples, floor * 1e-6, floor, tokens, "mean", noise=mean * 10**-4.15)
    assert limited.limit == pytest.approx(4.15)
    assert limited.certified.value == limited.value.value == limited.limit
    assert limited.text == ">4.1 nines over mean"
    perfect = nines(resamples, floor * 0, floor, tokens, "mean")  # KL of 0: float32 still has a resolution
    assert perfect.limit == pytest.approx(-math.log10(RESOLUTION / mean))
    assert perfect.text.startswith(">6.6 nines")


def test_ratio_of_one_or_more_prints_zero_no_better_than_the_floor():
    rng, tokens, floor = data()
    worse = nines(Resamples(N), floor * 1.2, floor, tokens, "mean")
    assert worse.text == "0 nines over mean: no better than the floor"
    assert worse.certified.value == worse.value.value == 0.0
    unsure = nines(Resamples(N), floor * 0.99 * (1 + 0.5 * rng.standard_normal(N)).clip(0), floor, tokens, "mean")
    assert unsure.certified.value == 0.0
    assert unsure.text == "0 nines over mean: not shown to be better than the floor"


def test_identity_scores_one_the_floor_zero_and_nothing_exceeds_one():
    _, tokens, floor = data()
    for documents in (12, N):
        resamples, cut = Resamples(documents), slice(documents)
        own, counts = floor[cut], tokens[cut]
        assert recovered_kl(resamples, own * 0 - 1e-9, own, counts).value == 1.0  # rounding below 0
        assert recovered_kl(resamples, own, own, counts).value == 0.0
        assert recovered_kl(resamples, own * 2, own, counts).value == -1.0
    rng = generator(2)
    rough = recovered_kl(Resamples(12), floor[:12] * rng.gamma(0.1, 0.3, 12), floor[:12], tokens[:12])
    assert rough.method == "jackknife_t"
    assert rough.high <= 1.0


def test_a_floor_like_the_model_leaves_recovered_undefined_with_a_reason():
    _, tokens, floor = data()
    for kl, noise in ((floor * 0, 0.0), (floor * 1e-8, 0.0), (floor, 0.2)):
        found = recovered_kl(Resamples(N), kl * 0.5, kl, tokens, noise=noise)
        assert found.value is None
        assert "cannot be distinguished from the model" in found.reason
        printed = nines(Resamples(N), kl * 0.5, kl, tokens, "mean", noise=noise)
        assert printed.certified.value is None
        assert printed.text.startswith("nines over mean: undefined, because")
        assert printed.certified.value is None
    assert recovered_kl(Resamples(N), floor, floor, tokens * 0).reason == "nothing was scored"


def losses(gap: float, spread: float = 0.0, seed=0):
    rng, tokens, _ = data(seed)
    model = tokens * (3 + 0.5 * rng.standard_normal(N))
    return tokens, model, model + tokens * (gap + spread * rng.standard_normal(N))


def test_recovered_loss_is_the_share_of_the_gap_in_sums():
    tokens, model, floor = losses(0.4, 0.05)
    explained = model + 0.25 * (floor - model)
    found = recovered_loss(Resamples(N), model, explained, floor, tokens)
    assert found.value == pytest.approx(0.75)
    assert found.method == "jackknife_t"


@pytest.mark.parametrize(
    ("gap", "spread", "noise", "reason"),
    [
        (-0.1, 0.05, 0.0, "harmful scope"),
        (0.001, 0.1, 0.0, "gap not resolved"),
        (5e-5, 0.0, 0.0, "gap not resolved"),  # sure, but below 1e-4 nats
        (0.01, 0.0, 0.003, "gap not resolved"),  # within 5 times the no-op run's noise
    ],
)
def test_recovered_loss_is_undefined_where_the_gap_means_nothing(gap, spread, noise, reason):
    tokens, model, floor = losses(gap, spread)
    found = recovered_loss(Resamples(N), model, model, floor, tokens, noise=noise)
    assert found.value is None
    assert found.low is None
    assert found.high is None
    assert found.reason.startswith(reason)


def test_cancelling_errors_show_in_loss_only():
    """Half of the documents better than the model, half worse: R_L says all is recovered, R_D does not."""
    tokens, model, floor = losses(0.4)
    swing = np.where(np.arange(N) % 2, 0.1, -0.1) * tokens.mean()
    row, _ = measure_recovered(
        Resamples(N),
        tokens,
        loss_model=model,
        explained=(model + swing, 0.2 * tokens),
        floor=(floor, 0.4 * tokens),
        floor_name="mean",
    )
    assert row.recovered.value == pytest.approx(0.5)
    assert row.recovered_loss.value == pytest.approx(1.0)
    assert row.cancellation.value == pytest.approx(0.5)
    assert row.cancellation.low > 0.05
    assert row.gap.value == pytest.approx(0.4)
    assert row.nines.value == pytest.approx(-math.log10(0.5))


def test_cancellation_is_undefined_where_one_of_the_two_is():
    tokens, model, floor = losses(-0.1)
    row, _ = measure_recovered(
        Resamples(N),
        tokens,
        loss_model=model,
        explained=(model, 0.1 * tokens),
        floor=(floor, 0.2 * tokens),
        floor_name="mean",
    )
    assert row.recovered.value == pytest.approx(0.5)
    assert row.cancellation.value is None
    assert row.cancellation.reason == "R_L is undefined"


def test_necessity_is_the_share_of_the_way_to_the_bigram():
    tokens, model, bigram = losses(2.0, 0.1)
    removed = model + 0.3 * (bigram - model)
    found = necessity(
        Resamples(N), tokens, loss_model=model, loss_removed=removed, loss_bigram=bigram, kl_removed=0.6 * tokens
    )
    assert found.necessity.value == pytest.approx(0.3)
    assert found.kl.value == pytest.approx(0.6)
    assert found.nats.low < 0.6 < found.nats.high
    worse = necessity(
        Resamples(N), tokens, loss_model=bigram, loss_removed=bigram, loss_bigram=model, kl_removed=tokens
    )
    assert worse.necessity.value is None
    assert "the bigram's loss" in worse.necessity.reason
    assert worse.kl.value == pytest.approx(1.0)
