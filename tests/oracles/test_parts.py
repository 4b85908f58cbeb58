"""Each of two components alone, accuracy, and a claim's bits, worked by hand on the network of two parts."""

from __future__ import annotations

from math import log2

import pytest

import assay
from assay.explanations import Constant, Keep, Remove
from assay.measure.headline.agreement import accuracy
from assay.score.ids import SystemId
from assay.score.score import score
from assay.stats.bootstrap import Resamples
from tests.oracles.two_components import model, task, workbench

# KL(model || coin) with one part at 0, one at its mean, both at either: see test_two_components.py
ZERO, MEAN, BOTH = 0.2197225, 0.1081507, 0.1840321


def test_zero_is_worse_than_the_mean_for_each_part_alone_and_the_same_for_both_at_once():
    claim = Constant(["a", "b"], "zero")
    block = assay.measure(claim, model(), task(), ablation=["mean", "zero"], controls=0).record.parts
    assert (block.ablation, block.reason) == ("mean", None)
    assert [row.component for row in block.components] == ["a", "b"]
    for row in block.components:
        assert row.kl_explained.value == pytest.approx(ZERO, abs=1e-6)
        assert row.kl_floor.value == pytest.approx(MEAN, abs=1e-6)
        assert row.recovered.value == pytest.approx(1 - ZERO / MEAN, abs=1e-5)
        assert row.recovered.low < row.recovered.value
        assert "no family" in row.compute.recovered.reason
    assert block.compound.kl_floor.value == pytest.approx(BOTH, abs=1e-6)
    assert block.compound.recovered.value == pytest.approx(0, abs=1e-6)


def test_removing_both_costs_less_than_removing_each_adds_up_to():
    block = assay.measure(Remove(["a", "b"]), model(), task(), ablation="mean", controls=0).record.parts
    for row in block.components:
        assert row.kl_explained.value == pytest.approx(MEAN, abs=1e-6)
        assert row.nats.value == pytest.approx(MEAN, abs=1e-6)
        assert "no floor" in row.recovered.reason
    assert block.compound.kl_explained.value == pytest.approx(BOTH, abs=1e-6)


def test_accuracy_of_the_four_pairs():
    # class 1 in 0, 5, 20 and 20 of 20 (0,0), (0,1), (1,0), (1,1); a tie goes to class 0
    # model: −2u, 0, 0, 2u says 0, 0, 0, 1: right in 20 + 15 + 0 + 20 of 80
    # a = u: −u, u, −u, u says 0, 1, 0, 1: 20 + 5 + 0 + 20;   a = 0: −2u, 0, −2u, 0 says 0: 20 + 15 + 0 + 0
    at = workbench(ones=(0, 5, 20, 20))
    claim = Constant(["a"], "mean")
    explained, floor = SystemId("explained", "zero"), SystemId("floor", "zero")
    plans = {explained: claim.plan(at, "zero"), floor: claim.floor(at, "zero")}
    found = accuracy(score(at, plans), Resamples(80, seed=0), explained=explained, floor=floor)
    values = {name: estimate.value for name, estimate in found.items()}
    assert values == {
        "accuracy": pytest.approx(45 / 80),
        "accuracy_model": pytest.approx(55 / 80),
        "accuracy_floor": pytest.approx(35 / 80),
        "accuracy_recovered": pytest.approx(0.5),
    }


def test_bits_of_claims_about_two_submodules_of_one_channel_each():
    for claim, bits in (
        (Keep(["a"]), log2(3) + log2(2)),
        (Remove(["a", "b"]), log2(3)),
        (Constant(["b"]), log2(3) + log2(2) + 2),
        (Remove(["a[0]"]), log2(5) + log2(4)),  # two submodules and two channels have a name
    ):
        assert claim.claim_bits(model(), channels=2).bits == pytest.approx(2 + bits)
