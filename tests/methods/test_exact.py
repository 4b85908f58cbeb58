"""Every edge cut alone: the fast form equals the circuit of all other edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from assay.intervene.fill.ablations import PlanContext
from assay.methods.exact import exact_edges
from assay.score.circuits import score_circuits
from tests.intervene.naive_cases import DEEPER, KINDS, bench_of


def naive_costs(workbench: PlanContext, ablation: str, column: str = "kl", **options) -> np.ndarray:
    """A column of the circuit less each edge, in nats for each scored token."""
    masks = ~np.eye(len(workbench.model.edges), dtype=bool)
    found = score_circuits(workbench, masks, ablation, **options)
    return found.stacked(column).sum(1) / found.count.sum()


@pytest.mark.parametrize("kind", [*KINDS, *DEEPER])
def test_scores_are_the_cost_of_each_edge(kind):
    workbench = bench_of(kind, torch.float64)
    found = exact_edges(workbench, "resample_independent", rows=np.array([0, 2]))
    naive = naive_costs(workbench, "resample_independent", rows=np.array([0, 2]))
    np.testing.assert_allclose(found.scores, naive, rtol=1e-6, atol=1e-12)
    assert (found.scores > 1e-6).mean() > 0.7


def test_frozen_norms_loss_and_draws():
    whole = bench_of("scaled", torch.float64)
    workbench = PlanContext(whole.runner, seed=3, frozen_norm=True)
    rows = np.array([0, 2])
    found = exact_edges(workbench, "resample_joint", loss="task", draws=(0, 1), rows=rows, memory=1)
    naive = naive_costs(workbench, "resample_joint", "loss", draws=(0, 1), rows=rows)
    whole_circuit = score_circuits(workbench, np.ones((1, len(workbench.model.edges)), dtype=bool), "mean", rows=rows)
    own = whole_circuit[0].loss.sum() / whole_circuit.count.sum()
    np.testing.assert_allclose(found.scores, naive - own, rtol=1e-6, atol=1e-10)
    other = exact_edges(whole, "resample_joint", loss="task", draws=(0, 1), rows=rows)
    assert np.abs(other.scores - found.scores).max() > 1e-3


def test_a_fill_that_is_the_own_value_costs_nothing_and_is_not_run():
    workbench = bench_of("gpt2", torch.float64, counterfactual=True)
    task = workbench.task
    same = torch.equal(task.tokens, task.counterfactual)
    assert not same
    before = workbench.runner.forwards
    found = exact_edges(workbench, "counterfactual")
    assert found.passes == workbench.runner.forwards - before > 0
    naive = naive_costs(workbench, "counterfactual")
    np.testing.assert_allclose(found.scores, naive, rtol=1e-6, atol=1e-12)
