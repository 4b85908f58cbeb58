"""Losses, KL, R_D and R_L of two added components, worked by hand for every ablation; and where they mean nothing."""

from __future__ import annotations

from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch

from assay.explanations import Constant, Keep, Remove
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.donors import donors
from assay.intervene.fill.spec import ABLATIONS, RANDOM
from assay.intervene.runner import Runner
from assay.measure.headline.recovered import necessity, recovered_kl
from assay.measure.headline.systems import Systems, systems
from assay.measure.headline.table import headline_table
from assay.score.ids import NOOP, SystemId, rival
from assay.score.score import score
from assay.score.scores import Scored
from assay.stats.bootstrap import Resamples
from tests.measure.ids import EXPLAINED, FLOOR
from tests.oracles.two_components import (
    PAIRS,
    divergence,
    inputs,
    kl_of,
    labels,
    model,
    task,
)
from tests.oracles.two_components import (
    workbench as new_workbench,
)

# KL(model || a coin), nats, in the order (0,0), (0,1), (1,0), (1,1); the model's chances are .1, .5, .5, .9.
#
# a = 0 (zero): d = b is −2u, 0, −2u, 0: chances .1, .5, .1, .5.
#   0; 0; .5 ln 5 + .5 ln(5/9) = .5108256; .9 ln 1.8 + .1 ln .2 = .3680642. Mean .2197225 (= ln 9 / 10).
ZERO_A = 0.2197225
# a = u (its mean): d is −u, u, −u, u: chances .25, .75, .25, .75.
#   .1 ln .4 + .9 ln 1.2 = .0724603; .5 ln(2/3) + .5 ln 2 = .1438410; .1438410; .0724603. Mean .1081507.
MEAN_A = 0.1081507
# b = 0 (zero): d = a is 0, 0, 2u, 2u: chances .5, .5, .9, .9: .3680642; 0; .5108256; 0. As ZERO_A.
# b = −u (its mean): d is −u, −u, u, u: as MEAN_A with the middle ones exchanged.
# a = u, b = −u (both means): d = 0: .3680642; 0; 0; .3680642. Mean .1840321.
MEAN_BOTH = 0.1840321
# a = 0, b = 0: the same d = 0, by another way.
# a of the flipped bit (the counterfactual below flips x0): d is 0, 2u, −2u, 0: chances .5, .9, .1, .5:
#   .3680642; .5108256; .5108256; .3680642. Mean .4394449 (= 2 ln 9 / 10).
FLIPPED_A = 0.4394449
# The labels are in the model's proportions: a coin's loss is the model's entropy plus its KL.
#   entropy: (.3250830 + .6931472 + .6931472 + .3250830) / 4 = .5091151
MODEL_LOSS = 0.5091151


def run(explanation, ablations=("zero", "mean"), workbench: PlanContext | None = None, **others):
    at = workbench or new_workbench()
    plans = systems(at, explanation, ablations, 4)
    scored = score(at, {**plans.plans, **{rival(name): system for name, system in others.items()}})
    scored.systems.update({SystemId("explained", a): scored[name] for a, name in plans.explained.items()})
    resamples = Resamples(len(scored.count), None, seed=0)
    return scored, resamples, headline_table(explanation, scored, resamples, plans)


def kl(scored: Scored, name: SystemId) -> float:
    return float(scored[name].kl.sum() / scored.count.sum())


def loss(scored: Scored, name: SystemId) -> float:
    return float(scored[name].loss.sum() / scored.count.sum())


def test_the_constants_above_are_what_the_formulas_give():
    assert kl_of(dict(zip(PAIRS, (0.1, 0.5, 0.1, 0.5), strict=True))) == pytest.approx(ZERO_A, abs=1e-7)
    assert kl_of(dict(zip(PAIRS, (0.25, 0.75, 0.25, 0.75), strict=True))) == pytest.approx(MEAN_A, abs=1e-7)
    assert kl_of(dict.fromkeys(PAIRS, 0.5)) == pytest.approx(MEAN_BOTH, abs=1e-7)
    assert kl_of(dict(zip(PAIRS, (0.5, 0.9, 0.1, 0.5), strict=True))) == pytest.approx(FLIPPED_A, abs=1e-7)
    assert pytest.approx(0.1 * log(9), abs=1e-7) == ZERO_A


def with_counterfactual() -> PlanContext:
    made = task()
    flipped = made.tokens.clone()
    flipped[:, 0] = 1 - flipped[:, 0]
    return PlanContext(Runner(model(), replace(made, counterfactual=flipped)), seed=0)


@pytest.mark.parametrize(
    ("ablation", "expected"),
    [("zero", ZERO_A), ("mean", MEAN_A), ("mean_position", MEAN_A), ("optimal", MEAN_A), ("counterfactual", FLIPPED_A)],
)
def test_removing_a_costs_what_was_worked_by_hand(ablation, expected):
    scored, _, numbers = run(Remove(["a"]), (ablation,), with_counterfactual())
    # by symmetry (flip both bits) the best constant is the mean; gradient steps come near it
    near = 2e-3 if ablation == "optimal" else 1e-6
    assert kl(scored, SystemId("explained", ablation)) == pytest.approx(expected, abs=near)
    assert scored.model.loss.sum() / scored.count.sum() == pytest.approx(MODEL_LOSS, abs=1e-6)
    assert loss(scored, SystemId("explained", ablation)) == pytest.approx(MODEL_LOSS + expected, abs=near)
    assert numbers.own[ablation].nats.value == pytest.approx(expected, abs=near)
    assert numbers.own[ablation].kl_explained.value == pytest.approx(expected, abs=near)
    assert "no bigram" in str(numbers.own[ablation].necessity)


@pytest.mark.parametrize("ablation", ["resample_joint", "resample_independent"])
def test_resampling_averages_over_exactly_the_donors_that_it_names(ablation):
    at = new_workbench()
    scored, _, _ = run(Remove(["a", "b"]), (ablation,), at)
    values = {0: (0, -2), 1: (2, 0)}  # of a and b, in units of u
    own = dict(zip(PAIRS, (0.1, 0.5, 0.5, 0.9), strict=True))
    expected = []
    for draw in range(4):
        keys = ("", "") if ablation == "resample_joint" else ("a", "b")
        rows = [donors(at.task, 0, draw, key) for key in keys]
        for i, x in enumerate(at.task.tokens[:, :2].int().tolist()):
            d = sum(values[int(at.task.reference.tokens[rows[part][i], part])][part] for part in (0, 1))
            expected.append(divergence(own[tuple(x)], 3.0**d / (1 + 3.0**d)))
    assert kl(scored, SystemId("explained", ablation)) == pytest.approx(np.mean(expected), abs=1e-6)
    if ablation == "resample_joint":
        # the donor's d is −2u, 0, 0 or 2u; any donor for any pair, 16 equally likely cases, gives about .5 nats:
        # (0 + .3680642·2 + 1.7577797)/4 for (0,0) and (1,1), (2·.5108256)/4 for the others; mean .4389443
        by_hand = ((2 * 0.3680642 + 0.8 * log(9)) / 4 + 2 * 0.5108256 / 4) / 2
        assert kl(scored, SystemId("explained", ablation)) == pytest.approx(by_hand, abs=0.1)


def test_noise_has_the_mean_and_variance_of_the_part():
    # a is 0 or 2u with equal chances: mean u, variance u²; E KL over a Gaussian a, by quadrature
    scored, _, _ = run(Remove(["a"]), ("noise",), new_workbench(times=100, ones=(10, 50, 50, 90)))
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    total = 0.0
    for (_, second), own in zip(PAIRS, (0.1, 0.5, 0.5, 0.9), strict=True):
        for z, w in zip(nodes, weights / weights.sum(), strict=True):
            d = log(3) * (1 + z) + (0 if second else -2 * log(3))
            total += w * divergence(own, 1 / (1 + np.exp(-d))) / 4
    assert kl(scored, SystemId("explained", "noise")) == pytest.approx(total, abs=0.03)


def test_keeping_a_recovers_what_was_worked_by_hand():
    scored, _, numbers = run(Keep(["a"]))
    # b = −u against both means: R_D = 1 − .1081507 / .1840321 = .4123267; zero: 1 − .2197225 / .1840321 < 0
    for ablation, explained, floor in (("mean", MEAN_A, MEAN_BOTH), ("zero", ZERO_A, MEAN_BOTH)):
        row = next(r for r in numbers.table if r.ablation == ablation)
        assert row.floor == "empty"
        assert kl(scored, SystemId("floor", ablation)) == pytest.approx(floor, abs=1e-6)
        assert row.recovered.value == pytest.approx(1 - explained / floor, abs=1e-5)
        # the labels are calibrated, so the loss says the same
        assert row.recovered_loss.value == pytest.approx(1 - explained / floor, abs=1e-5)
        assert row.gap.value == pytest.approx(floor, abs=1e-6)
    assert numbers.ablation == "zero"  # the lowest leads
    assert numbers.headline.recovered.value == pytest.approx(-0.1939357, abs=1e-5)
    assert numbers.headline.nines.certified.value == 0
    assert numbers.headline.nines.text == "0 nines over empty, zero: no better than the floor"


@pytest.mark.parametrize("ablation", [a for a in ABLATIONS if a not in ("optimal",)])
def test_the_full_explanation_is_the_model_and_the_empty_one_the_floor(ablation):
    at = with_counterfactual()
    _, _, full = run(Keep(["a", "b"]), (ablation,), at)
    assert full.table[0].recovered.value == pytest.approx(1, abs=1e-6)
    assert full.table[0].recovered_loss.value == pytest.approx(1, abs=1e-6)
    scored, _, empty = run(Keep([]), (ablation,), at)
    assert scored[SystemId("explained", ablation)].kl == pytest.approx(scored[SystemId("floor", ablation)].kl)
    assert empty.table[0].recovered.value == pytest.approx(0, abs=1e-12)
    assert len(scored[SystemId("floor", ablation)].draw_kl[0]) == (4 if ablation in RANDOM else 1)


def test_predicting_the_mean_scores_nothing_over_the_mean_floor():
    _, _, numbers = run(Constant(["a"]), ("mean", "zero"))
    by_ablation = {row.ablation: row for row in numbers.table}
    assert by_ablation["mean"].recovered.value == pytest.approx(0, abs=1e-9)
    assert by_ablation["mean"].recovered_loss.value == pytest.approx(0, abs=1e-9)
    # over the zero floor 1 − .1081507 / .2197225 = .5077849: the floor's name must stand beside the number
    assert by_ablation["zero"].recovered.value == pytest.approx(0.5077849, abs=1e-5)
    assert numbers.ablation == "mean"


def test_the_identity_scores_1_and_a_permuted_model_below_0():
    at = new_workbench()
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(at.task.tokens)))

    def permuted(given, rows):
        return model().forward(at.task.tokens[order[torch.from_numpy(rows)]])

    scored, resamples, _ = run(
        Constant(["a"]), ("mean",), at, identity=lambda x, rows: model().forward(x), permuted=permuted
    )
    floor, count = scored[FLOOR].kl, scored.count
    assert recovered_kl(resamples, scored[rival("identity")].kl, floor, count).value == pytest.approx(1, abs=1e-6)
    assert kl(scored, rival("permuted")) == pytest.approx(0.4389, abs=0.1)  # any row for any row: as resample_joint
    assert recovered_kl(resamples, scored[rival("permuted")].kl, floor, count).value < -1


def test_a_harmful_head_has_no_share_of_the_loss():
    # Labels that go by x1 alone, with chance 1/4 or 3/4: the floor (a at its mean) is right, the model is not.
    # Floor: H(1/4) = .5623351. Model: (.6548161 + ln 2) / 2 = .6739816, where .75·(−ln .9) + .25·(−ln .1) = .6546666.
    scored, _, numbers = run(Constant(["a"], "zero"), ("mean",), new_workbench(ones=(25, 75, 25, 75), times=100))
    row = numbers.table[0]
    assert row.gap.value == pytest.approx(0.5623351 - (0.6546666 + log(2)) / 2, abs=1e-5)
    assert "harmful scope" in (row.recovered_loss.reason or "")
    assert row.recovered_loss.value is None
    assert row.recovered.value is not None  # KL to the model is what it was
    assert float(scored.model.loss.sum() / scored.count.sum()) > loss(scored, FLOOR)


def test_a_gap_that_is_not_resolved_is_said():
    # For (1,1) the gap is ln(.9/.75) = .1823216 for label 1 and ln(.1/.25) = −.9162907 for label 0: at five to one it
    # sums to −.0047; (0,0) likewise; for the others it is ln(.5/.25) or ln(.5/.75), 0 at .415/.585 (7 to 5: .03)
    _, _, numbers = run(Constant(["a"]), ("mean",), new_workbench(ones=(2, 7, 5, 10), times=12))
    row = numbers.table[0]
    assert row.gap.low is not None
    assert row.gap.low < 0 < row.gap.high
    assert row.recovered_loss.value is None
    assert "gap not resolved" in (row.recovered_loss.reason or "")
    assert row.recovered.value == pytest.approx(0, abs=1e-9)


def test_necessity_is_the_share_of_what_separates_the_bigram_from_the_model():
    count = np.full(40, 10.0)
    spread = np.linspace(-1, 1, 40)
    # means a token: model 2.0, removed 2.3, bigram 3.5: N = .3 / 1.5 = .2
    got = necessity(
        Resamples(40, None),
        count,
        loss_model=count * (2.0 + 0.1 * spread),
        loss_removed=count * (2.3 + 0.1 * spread),
        loss_bigram=count * (3.5 + 0.2 * spread),
        kl_removed=count * 0.25,
    )
    assert got.necessity.value == pytest.approx(0.2)
    assert got.nats.value == pytest.approx(0.3)
    assert got.kl.value == pytest.approx(0.25)


def test_a_mean_of_ratios_would_be_another_number():
    # two kinds of inputs: ratios .0724603/.3680642 and .1438410/0 for Keep(a) over both means; the mean of the ratios
    # that exist is .197, the ratio of sums .588
    scored, _, numbers = run(Keep(["a"]), ("mean",))
    explained, floor = scored[EXPLAINED].kl, scored[FLOOR].kl
    exist = floor > 1e-9
    assert float((explained[exist] / floor[exist]).mean()) == pytest.approx(0.19687, abs=1e-4)
    assert numbers.table[0].recovered.value == pytest.approx(1 - 0.5876733, abs=1e-5)


def test_a_systems_list_names_the_runs_of_every_ablation_and_a_no_op():
    plans = systems(new_workbench(), Keep(["a"]), ("mean", "resample_joint"), 5)
    assert isinstance(plans, Systems)
    assert {n: len(p) for n, p in plans.plans.items()} == {
        EXPLAINED: 1,
        FLOOR: 1,
        SystemId("explained", "resample_joint"): 5,
        SystemId("floor", "resample_joint"): 5,
        NOOP: 1,
    }
    assert len(inputs(3)) == len(labels((1, 1, 1, 1), 3)) == 12
