"""Dropping edges in blocks: with blocks of one and everything run again, the plain elimination of one at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from assay.errors import ClaimError
from assay.intervene.circuits.engine import Circuits
from assay.intervene.fill.ablations import PlanContext
from assay.methods.circuit_states import CircuitStates
from assay.methods.edge_scores import EdgeScores
from assay.methods.exact import exact_edges
from assay.methods.greedy import costs, greedy
from assay.score.circuits import score_circuits
from tests.intervene.naive_cases import bench_of
from tests.naive.acdc import kl

ROWS = np.array([0, 2])


def mean_kl(workbench: PlanContext, mask: np.ndarray) -> float:
    batch = Circuits(workbench, "mean").batch(ROWS)
    return kl(batch, mask) / len(batch.items)


def random_scores(workbench: PlanContext, seed: int = 0) -> EdgeScores:
    return EdgeScores(np.random.default_rng(seed).random(len(workbench.model.edges)), "random", {}, 3.0)


@pytest.mark.parametrize("kind", ["llama", "parallel", "deep"])
def test_costs_are_those_of_each_edge_cut_alone(kind):
    workbench = bench_of(kind, torch.float64)
    mask = np.random.default_rng(1).random(len(workbench.model.edges)) < 0.4
    chosen = np.flatnonzero(mask)[::3]
    naive = []
    for edge in chosen:
        less = mask.copy()
        less[edge] = False
        naive.append(mean_kl(workbench, less) - mean_kl(workbench, mask))
    states = CircuitStates(workbench, "mean", mask, rows=ROWS, memory=1)
    assert states.most == 1
    np.testing.assert_allclose(costs(states, chosen), naive, rtol=1e-6, atol=1e-10)
    states = CircuitStates(workbench, "mean", mask, rows=ROWS)
    np.testing.assert_allclose(costs(states, chosen), naive, rtol=1e-6, atol=1e-10)


def test_one_at_a_time_is_the_plain_elimination():
    workbench = bench_of("gpt2", torch.float64)
    scores = random_scores(workbench)
    found = greedy(workbench, "mean", 5, begin=scores, over=3.0, share=1e-9, uncertain=1e9, rows=ROWS)
    mask, gone = scores.top(15), []
    while mask.sum() > 5:
        tried = {}
        for edge in np.flatnonzero(mask):
            less = mask.copy()
            less[edge] = False
            tried[edge] = mean_kl(workbench, less)
        lowest = min(tried.values())
        edge = min((e for e in tried if tried[e] < lowest + 1e-9), key=lambda e: scores.scores[e])
        mask[edge] = False
        gone.append(edge)
    np.testing.assert_array_equal(found.mask, mask)
    assert found.dropped.tolist() == gone
    assert found.kl == pytest.approx(mean_kl(workbench, mask), rel=1e-6)
    assert found.start == pytest.approx(mean_kl(workbench, scores.top(5)), rel=1e-6)
    order = found.scores.best_first()
    assert set(order[:5]) == set(np.flatnonzero(mask))
    assert order[5:15].tolist() == gone[::-1]


def test_blocks_correct_scores_that_are_right_alone_but_not_together():
    workbench = bench_of("deep", torch.float64)
    scores = exact_edges(workbench, "mean", rows=ROWS)
    size = len(scores.scores) // 5
    before = workbench.runner.forwards
    found = greedy(workbench, "mean", size, begin=scores, rows=ROWS)
    assert found.scores.passes == pytest.approx(scores.passes + workbench.runner.forwards - before)
    assert found.mask.sum() == size
    assert found.kl < 0.9 * found.start
    assert score_circuits(workbench, found.mask[None], "mean", rows=ROWS).mean_kl(0) == pytest.approx(
        found.kl, rel=1e-6
    )
    assert (found.scores.top(size) == found.mask).all()


@pytest.mark.parametrize("wrong", [{"size": 0}, {"size": 10**6}, {"size": 3, "share": 0.0}, {"size": 3, "over": 0.5}])
def test_what_would_never_end_is_refused(wrong):
    workbench = bench_of("gpt2", torch.float64)
    with pytest.raises(ClaimError, match=r"greedy needs|edges was asked for"):
        greedy(workbench, "mean", begin=random_scores(workbench), **wrong)
