"""Frontiers on planted networks: full recovery from the true size on, a band below it, and figures by hand."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from assay.errors import ClaimError
from assay.explanations.circuit.path_sampled import PROFILE, misplaced
from assay.frontier.bands import alikes
from assay.frontier.frontier import Frontiers, frontiers, node_count
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.runner import Runner
from assay.methods.edge_scores import EdgeScores
from assay.methods.exact import exact_edges
from assay.methods.orders import first_layers, random_scores
from assay.planted.worlds import world
from assay.score.circuits import score_circuits

NAME, ABLATION = "induction", "resample_joint"
DRAWS = (0, 1)


@cache
def workbench(seed: int) -> PlanContext:
    case = world(NAME)
    return PlanContext(Runner(case.model, case.task(n=36, seed=seed)), 0)


@cache
def true_mask() -> np.ndarray:
    case = world(NAME)
    return case.model.edges.mask(case.truth(ABLATION).edges)


@cache
def found() -> Frontiers:
    scores = [exact_edges(workbench(0), ABLATION), random_scores(workbench(0).model.edges)]
    sizes = np.array([1, 3, 5, 8, 20, 46])
    return frontiers(workbench(1), scores, ABLATION, sizes=sizes, controls=20, draws=DRAWS, seed=0)


def test_exact_scores_recover_everything_from_the_true_size_on():
    exact = found().each[0]
    true = int(true_mask().sum())
    assert true == 5
    for point, mask in zip(exact.method.sizes, exact.masks, strict=True):
        share = point.recovered.value
        assert share is not None
        if point.edges >= true:
            assert share > 0.999
            assert (mask & true_mask()).sum() == true
            assert point.accuracy.value == 1
        else:
            assert share < 0.7
    assert np.array_equal(next(mask for mask in exact.masks if mask.sum() == true), true_mask())


def test_random_circuits_of_the_true_size_lie_below():
    point = next(p for p in found().each[0].method.sizes if p.edges == 5)
    control = point.control
    assert control is not None
    assert 10 <= control.n <= 20
    assert control.high < 0.7
    assert control.p == 1 / (1 + control.n)
    assert control.low <= control.median <= control.high <= control.best
    assert found().each[0].method.sizes[-1].control is None  # there is but one circuit of all edges
    lone = found().each[1].method.sizes[0]
    assert lone.control is None or lone.control.p > 0.05


def test_figures_are_those_of_the_circuits_by_their_definitions():
    point = next(p for p in found().each[0].method.sizes if p.edges == 3)
    edges = workbench(1).model.edges
    mine = next(mask for mask in found().each[0].masks if mask.sum() == 3)
    masks = np.stack([mine, np.zeros(len(edges), dtype=bool), np.ones(len(edges), dtype=bool)])
    scores = score_circuits(workbench(1), masks, ABLATION, draws=DRAWS)
    kl, loss = scores.stacked("kl").sum(1), scores.stacked("loss").sum(1)
    assert point.recovered.value == pytest.approx(1 - kl[0] / kl[1], abs=1e-9)
    by_loss = (loss[1] - loss[0]) / (loss[1] - loss[2])
    assert point.recovered_loss.value == pytest.approx(by_loss, abs=1e-9)
    assert point.gap.value == pytest.approx(abs(1 - by_loss), abs=1e-9)
    assert point.kl.value == pytest.approx(kl[0] / scores.count.sum(), abs=1e-9)
    assert point.accuracy.value == pytest.approx(scores[0].correct.sum() / scores.count.sum(), abs=1e-12)
    assert found().losses.empty_kl.value == pytest.approx(kl[1] / scores.count.sum(), abs=1e-9)
    for figure in (point.recovered, point.recovered_loss, point.gap, point.kl, point.accuracy):
        assert figure.low is not None
        assert figure.high is not None
        assert figure.value is not None
        assert figure.low <= figure.value <= figure.high
        assert figure.n == 36
    assert point.recovered.low < point.recovered.high  # type: ignore[operator]


def test_areas_are_those_of_the_points():
    exact = found().each[0]
    x = [0.0, *(p.edges / 46 for p in exact.method.sizes), 1.0]
    y = [0.0, *(p.recovered.value or 0.0 for p in exact.method.sizes), 1.0]
    assert exact.method.area.linear.value == pytest.approx(np.trapezoid(y, x), abs=1e-6)
    x = np.log([1.0, *(p.edges for p in exact.method.sizes), 46.0]) / np.log(46)  # type: ignore[assignment]
    assert exact.method.area.log.value == pytest.approx(np.trapezoid(y, x), abs=1e-6)
    for name in ("linear", "log"):
        mine, random = getattr(exact.method.area, name), getattr(found().each[1].method.area, name)
        assert mine.low > random.high  # type: ignore[operator]
    assert not exact.method.mib.over_recovery


def test_sizes_that_give_one_circuit_are_listed_once():
    for one in found().each:
        sizes = [point.edges for point in one.method.sizes]
        assert sizes == sorted(set(sizes))
        assert sizes[-1] == 46


def test_a_methods_controls_are_like_its_own_circuits_whatever_else_is_asked_for():
    """Beside another method the band of a circuit is the one that it has alone."""
    scores = [first_layers(workbench(0).model.edges), random_scores(workbench(0).model.edges)]
    options = {"sizes": np.array([8, 20, 46]), "controls": 12, "draws": (0,), "seed": 3}
    alone = frontiers(workbench(1), scores[:1], ABLATION, **options).each[0]
    beside = frontiers(workbench(1), scores, ABLATION, **options)
    for mine, same in zip(alone.method.sizes, beside.each[0].method.sizes, strict=True):
        assert (mine.control is None) == (same.control is None)
        for key in ("n", "median", "low", "high", "best", "mine", "p"):
            assert mine.control is None or getattr(mine.control, key) == pytest.approx(
                getattr(same.control, key), abs=1e-6
            )
    edges = workbench(1).model.edges
    circuits = [mask for one in beside.each for mask in one.masks if mask.sum() < 46]
    groups = alikes(edges, circuits)
    assert beside.bands <= len(groups)
    assert sum(len(alike) for _, alike in groups) == len(circuits)
    for like, alike in groups:
        assert (misplaced(edges, like, np.stack(alike)) <= PROFILE).all()


def test_ties_fall_in_the_declared_order():
    edges = workbench(1).model.edges
    flat = EdgeScores(np.zeros(len(edges)), "flat", {}, 0.0)
    one = frontiers(workbench(1), [flat], "zero", sizes=np.array([20, 46]), controls=0).each[0]
    point, mask = one.method.sizes[0], one.masks[0]
    assert point.edges >= 20
    assert not mask[point.taken :].any()
    np.testing.assert_array_equal(mask, edges.pruned(np.arange(46) < point.taken))
    assert point.control is None


def test_nodes_are_counted_by_what_they_write():
    edges = workbench(1).model.edges
    assert node_count(edges, true_mask()) == 2
    assert node_count(edges, edges.mask(["input->logits"])) == 0


def test_what_gives_no_frontier_is_refused():
    scores = random_scores(workbench(1).model.edges)
    for several, sizes, controls in (([], [1, 2], 0), ([scores], [3], 0), ([scores], [1, 2], -1)):
        with pytest.raises(ClaimError, match="give no frontier"):
            frontiers(workbench(1), several, "zero", sizes=np.array(sizes), controls=controls)
