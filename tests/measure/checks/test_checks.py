"""Each check fires on a planted case and passes on a clean one; the gatherers find what was planted in a tiny model."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from assay.explanations import Constant, Keep, Program, Remove, programs
from assay.explanations.answers import Use, Uses
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.runner import Runner
from assay.measure.checks.checks import run_checks, scope_share
from assay.measure.checks.evidence import Evidence, self_match
from assay.measure.checks.knockouts import knockouts
from assay.measure.checks.merges import merges
from assay.measure.checks.off_manifold import OffManifold, off_manifold, separation
from assay.measure.checks.thresholds import THRESHOLDS
from assay.record.about import Check
from assay.record.controls import Nearest
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate
from assay.task.overlap import Overlap
from assay.task.task import Task
from tests.measure.headline.test_agreement import system, uniform, written
from tests.measure.ids import EXPLAINED, FLOOR
from tests.measure.tokens.test_residual import HEADS, measured, model, own_pattern, world


def e(value: float, width: float = 0.01) -> Estimate:
    return Estimate(value, value - width, value + width, 40)


def clean() -> Evidence:
    """A claim that passes every check."""
    loss = uniform(0) + 2
    scored, resamples = written(
        model=system(loss, 0 * loss),
        floor_mean=system(loss + 0.5, 0.4 + 0 * loss),
        bigram=system(loss + 2, 1.5 + 0 * loss),
    )
    return Evidence(
        ablation="mean",
        recovered={"mean": e(0.62), "resample_joint": e(0.65)},
        recovered_loss={"mean": e(0.63), "resample_joint": e(0.64)},
        gap=e(0.5),
        scored=scored,
        resamples=resamples,
        scope=FLOOR,
        nearest=Nearest(name="control", share=0.4, epsilon=0.01, of=2, tokens=800),
        self_match={"resample_joint": 0.0},
        ngram_tokens=200.0,
        found_on="zoo:train",
        overlap=Overlap((), 0, 1000, ()),
        tried=(1, 1),
        knockouts=Uses((Use("a0.h1", 0.1, {"alone": 0.1}), Use("a1.h2", 0.3, {"alone": 0.2})), 0.4),
        merges={"a1.h2: prefix 3 → recent": e(0.2)},
        off_manifold={"explained": OffManifold(0.55, 1.1, 1.0, "r2", 20, 200)},
    )


def few() -> Evidence:
    good = clean()
    assert good.scored is not None
    count = good.scored.count.copy()
    count[12:] = 0
    return replace(good, scored=replace(good.scored, count=count), resamples=Resamples(12, draws=50))


def tiny_floor() -> Evidence:
    good = clean()
    assert good.scored is not None
    loss = uniform(0) + 2
    systems = {**good.scored.systems, FLOOR: system(loss + 0.02, 0.02 + 0 * loss)}
    return replace(good, scored=replace(good.scored, systems=systems))


PLANTED = {
    "ablation-sensitive": lambda: replace(clean(), recovered={"mean": e(0.62), "resample_joint": e(0.83)}),
    "cancellation": lambda: replace(clean(), recovered_loss={"mean": e(0.70)}),
    "vacuous": lambda: replace(clean(), nearest=Nearest(name="bigram", share=0.97, epsilon=0.01, of=2, tokens=800)),
    "self-match": lambda: replace(clean(), self_match={"resample_joint": 0.3}),
    "redundant": lambda: replace(clean(), knockouts=Uses((Use("a0.h1", 1e-4, {"alone": 0.2}),), 0.4)),
    "frivolous": lambda: replace(clean(), knockouts=Uses((Use("a0.h1", 1e-4, {"alone": 1e-4}),), 0.4)),
    "over-specific": lambda: replace(clean(), merges={"a1.h2: prefix 3 → recent": e(0.002, 0.003)}),
    "tiny scope": tiny_floor,
    "off-manifold": lambda: replace(clean(), off_manifold={"floor": OffManifold(0.9, 3.0, 1.0, "r2", 20, 200)}),
    "leak": lambda: replace(clean(), overlap=Overlap((("a", "a"),), 0, 1000, ("a",))),
    "over-recovery": lambda: replace(clean(), recovered_loss={"mean": e(1.05)}),
    "harmful scope": lambda: replace(clean(), gap=e(-0.2)),
    "weak floor": lambda: replace(clean(), ngram_tokens=12.0),
    "few clusters": few,
    "1 of m": lambda: replace(clean(), tried=(2, 7)),
}


def states(evidence: Evidence) -> dict[str, Check]:
    return {check.name: check for check in run_checks(evidence)}


def test_a_clean_claim_passes_every_check():
    found = states(clean())
    assert {check.state for check in found.values()} == {"passed"}
    assert set(found) == set(PLANTED)


@pytest.mark.parametrize("name", PLANTED)
def test_each_check_fires_on_its_planted_case_and_no_unrelated_one_does(name: str):
    found = states(PLANTED[name]())
    fired = {check.name for check in found.values() if check.state == "fired"}
    assert name in fired
    assert fired <= {name} | ({"cancellation"} if name == "over-recovery" else set())
    assert found[name].evidence
    assert found[name].threshold
    assert found[name].state == "fired"


def test_what_was_not_gathered_is_unknown():
    found = states(Evidence(ablation="mean", recovered={}))
    assert {check.state for check in found.values()} == {"unknown"}


def test_a_hand_written_claim_cannot_be_checked_for_a_leak():
    found = states(replace(clean(), found_on=None))
    assert found["leak"].state == "unknown"
    assert "by hand" in found["leak"].evidence


def test_an_unresolved_gap_is_unknown_with_its_reason():
    gap = Estimate.undefined("gap not resolved")
    found = states(replace(clean(), gap=gap, recovered_loss={"mean": gap}))
    for name in ("harmful scope", "over-recovery", "cancellation"):
        assert found[name].state == "unknown"
        assert "gap not resolved" in found[name].evidence


def test_errors_that_cancel_in_loss_do_not_cancel_in_kl():
    # far too good on half of the tokens and far too bad on the others: no loss is missing, much KL is
    loss, sign = uniform(0) + 3, np.where(uniform(1) < 0.5, 1.0, -1.0)
    sign[np.argsort(uniform(1))[: len(sign) // 2]] = 1.0
    sign[np.argsort(uniform(1))[len(sign) // 2 :]] = -1.0
    scored, resamples = written(
        model=system(loss, 0 * loss),
        explained_mean=system(loss + 0.8 * sign, 0.4 + 0 * loss),
        floor_mean=system(loss + 0.5, 0.5 + 0 * loss),
    )
    kl = resamples.recovered(scored[EXPLAINED].kl, scored[FLOOR].kl)
    gap = scored[FLOOR].loss - scored.model.loss
    in_loss = resamples.ratio(scored[FLOOR].loss - scored[EXPLAINED].loss, gap)
    assert in_loss.value == pytest.approx(1, abs=0.01)
    assert kl.value == pytest.approx(0.2)
    found = states(replace(clean(), recovered={"mean": kl}, recovered_loss={"mean": in_loss}))
    assert found["cancellation"].state == "fired"


def test_thresholds_are_one_table_that_can_be_changed():
    strict = replace(THRESHOLDS, ablation_range=0.01)
    found = {check.name: check.state for check in run_checks(clean(), strict)}
    assert found["ablation-sensitive"] == "fired"


def test_scope_share_is_of_the_gap_to_the_bigram():
    evidence = clean()
    assert evidence.scored is not None
    assert evidence.resamples is not None
    assert scope_share(evidence.scored, evidence.resamples, FLOOR).value == pytest.approx(0.25)


def test_self_match_is_zero_on_a_disjoint_reference_and_one_on_the_scored_row():
    workbench = world()
    assert self_match(workbench, ("mean", "resample_joint"), 2, []) == {"resample_joint": 0.0}
    one = next(
        t for t in map(workbench.task.subset, ([i] for i in range(len(workbench.task.documents)))) if len(t) == 1
    )
    itself = PlanContext(Runner(workbench.model, replace(one, reference=one)))
    assert self_match(itself, ("resample_joint",), 2, []) == {"resample_joint": 1.0}


def test_self_match_of_independent_donors_is_over_the_donors_of_every_site():
    workbench, sites = world(), [_site("a0.h1"), _site("m0")]
    own = PlanContext(Runner(workbench.model, replace(workbench.task, reference=workbench.task)))
    tokens, shares = own.task.tokens, []
    for draw, site in itertools.product(range(3), sites):
        (edit,) = own.ablate([site], "resample_independent", draw)
        shares.append((tokens[edit.source.rows] == tokens).all(1).double().mean())
    found = self_match(own, ("resample_joint", "resample_independent"), 3, sites)
    assert found["resample_independent"] == pytest.approx(float(np.mean(shares)))
    assert found["resample_independent"] != pytest.approx(found["resample_joint"])


def test_knockouts_find_a_dead_part_frivolous_and_a_live_one_used():
    workbench = world()
    # a program that gives the mean is no different from the ablated part: it matters nowhere
    mean = workbench.statistics.mean(_site("a0.h1")) @ model().W_O(0)[1]

    def constant(tokens: torch.Tensor) -> torch.Tensor:
        return mean[: tokens.shape[1]].expand(*tokens.shape, -1)

    claim = Program({"a0.h1": programs.custom(constant, returns="output"), "a1.h2": own_pattern("a1.h2")})
    found = knockouts(workbench, claim, ablation="mean", rows=np.arange(6), contexts=1)
    assert found is not None
    verdicts = {use.part: use.verdict(0.01, found.scale, 1e-4) for use in found.uses}
    assert verdicts == {"a0.h1": "frivolous", "a1.h2": "used"}
    evidence = replace(clean(), knockouts=found)
    assert states(evidence)["frivolous"].state == "fired"
    assert "a0.h1" in states(evidence)["frivolous"].evidence


def test_a_part_that_is_frozen_out_downstream_still_counts_as_used():
    workbench = world()
    for claim in (Keep(["a0.h1", "a1.h2", "m0", "m1"]), Remove(HEADS)):
        found = knockouts(workbench, claim, ablation="mean", rows=np.arange(4), contexts=1)
        assert found is not None
        assert all(use.verdict(0.01, found.scale, 1e-4) == "used" for use in found.uses)
        assert set(found.uses[0].contexts) == {
            "alone",
            "downstream frozen",
            "under knock-out 1 (mean)",
            "under knock-out 1 (zero)",
        }
    last = knockouts(workbench, Remove(["m1"]), ablation="mean", rows=np.arange(4), contexts=0)
    assert last is not None
    # nothing is downstream of the last MLP: freezing changes nothing
    assert last.uses[0].contexts["downstream frozen"] == pytest.approx(last.uses[0].left_out, rel=1e-4)


def test_a_backup_is_redundant():
    use = Use("a0.h1", 0.0, {"alone": 0.3, "downstream frozen": 0.2})
    assert use.verdict(0.01, 0.4, 1e-4) == "redundant"
    assert "alone" in use.describe(0.4)


def test_constants_have_no_parts_that_matter():
    assert knockouts(world(), Constant(HEADS), ablation="mean") is None


def test_merging_what_makes_no_difference_costs_nothing():
    workbench = world()
    # in these texts no token stands before two different ones often: a longer prefix seldom changes the target
    claim = Program({"a0.h1": programs.induction(match="prefix", prefix=3), "a1.h2": own_pattern("a1.h2")})
    scored, resamples = measured(workbench, claim)
    costs = merges(workbench, claim, scored, resamples, explained=EXPLAINED, floor=FLOOR, ablation="mean")
    assert set(costs) == {"a0.h1: prefix 3 → recent", "a1.h2: its program → mean"}
    assert (costs["a1.h2: its program → mean"].value or 0) > 0.05
    assert abs(costs["a0.h1: prefix 3 → recent"].value or 0) < (costs["a1.h2: its program → mean"].value or 0)
    single = Program({"a1.h2": programs.induction()})
    assert merges(workbench, single, scored, resamples, explained=EXPLAINED, floor=FLOOR, ablation="mean") == {}


def test_longer_ngrams_and_labels_are_merged_too():
    workbench = world()
    claim = Program({"m0": programs.ngram(2), "m1": programs.label(tokens=[20, 21, 22])})
    scored, resamples = measured(workbench, claim)
    costs = merges(workbench, claim, scored, resamples, explained=EXPLAINED, floor=FLOOR, ablation="mean")
    assert set(costs) == {"m0: ngram(2) → ngram(1)", "m1: both sides of the label → mean"}


def test_the_classifier_tells_a_collapsed_direction_and_not_two_samples_of_one_distribution():
    chance = np.random.default_rng(0)
    mixing = chance.normal(size=(12, 12))
    a, b = (chance.normal(size=(1200, 12)) @ mixing for _ in range(2))
    held = np.arange(1200) >= 600
    auroc, far, near = separation(a, b, held)
    assert 0.4 < auroc < 0.6
    assert far == pytest.approx(near, rel=0.1)
    direction = np.linalg.qr(mixing.T)[0][:, :4]
    collapsed = b - (b - b.mean(0)) @ direction @ direction.T  # the mean is untouched
    assert separation(a, collapsed, held)[0] > 0.8


def test_off_manifold_is_at_chance_for_an_unchanged_stream_and_high_for_a_zeroed_one():
    workbench = world()
    same = off_manifold(workbench, Program({"a0.h1": own_pattern("a0.h1")}).plan(workbench))
    assert same.auroc == pytest.approx(0.5, abs=0.05)
    assert same.site == "r1"
    zeroed = off_manifold(workbench, workbench.plan(workbench.ablate([_site("m0"), _site("m1")], "zero")))
    assert zeroed.auroc is not None
    assert zeroed.auroc > 0.8
    assert zeroed.site == "r2"
    assert "held-out documents" in str(zeroed)
    assert off_manifold(workbench, workbench.plan(())).auroc is None


def test_off_manifold_is_undefined_where_the_clean_stream_is_the_same_everywhere():
    view = model()
    task = Task.from_ids(view, [[7] * n for n in range(16, 24)], reference=[[5, 9] * 9], bos=False)
    workbench = PlanContext(Runner(view, task))
    found = off_manifold(workbench, workbench.plan(workbench.ablate([_site("r0")], "zero")))
    assert (found.auroc, found.reason) == (None, "r0 has the same clean value wherever it was looked at")


def _site(name: str):
    from assay.names import parse_site

    return parse_site(name)
