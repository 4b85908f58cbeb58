"""ACDC decides as the plain procedure does, which runs one edge at a time and every circuit from the start."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from assay.errors import ClaimError
from assay.intervene.circuits.engine import Circuits
from assay.intervene.fill.ablations import PlanContext
from assay.methods.acdc import acdc
from tests.intervene.naive_cases import DEEPER, KINDS, bench_of
from tests.naive import acdc as naive

ROWS = np.array([0, 2])


def compare(workbench: PlanContext, ablation: str, tau: float, order=None, draws=(0,), rows=ROWS, memory=1 << 30):
    found = acdc(workbench, ablation, tau, order=order, draws=draws, rows=rows, memory=memory)
    batches = [Circuits(workbench, ablation, draw).batch(rows) for draw in draws]
    mask, increase = naive.acdc(batches, tau, order)
    assert not len(found.close)
    np.testing.assert_array_equal(found.mask, mask)
    np.testing.assert_allclose(found.increase, increase, rtol=1e-5, atol=1e-11)
    items = sum(len(batch.items) for batch in batches)
    assert found.kl == pytest.approx(sum(naive.kl(batch, mask) for batch in batches) / items, rel=1e-6, abs=1e-12)
    np.testing.assert_array_equal(found.increase >= tau, mask)
    return found


@pytest.mark.parametrize(
    ("kind", "tau"), [*((kind, 0.02) for kind in [*KINDS, *DEEPER]), *product(("parallel", "deep"), (2e-3, 0.3))]
)
def test_decisions_are_those_of_one_edge_at_a_time(kind, tau):
    found = compare(bench_of(kind, torch.float64), "mean", tau)
    edges = len(found.mask)
    assert 0 < found.mask.sum() < edges
    assert found.tried < 3 * edges
    assert found.steps < 0.6 * edges


@pytest.mark.parametrize(
    ("ablation", "draws"), [("zero", (0,)), ("resample_joint", (0, 2)), ("resample_independent", (0, 2))]
)
def test_other_fills_several_draws_and_an_order(ablation, draws):
    workbench = bench_of("llama", torch.float64)
    order = np.random.default_rng(0).permutation(len(workbench.model.edges))
    ordered = compare(workbench, ablation, 0.02, order, draws)
    plain = acdc(workbench, ablation, 0.02, draws=draws, rows=ROWS)
    assert (plain.mask != ordered.mask).any()


def test_counterfactuals_of_prompts_and_rows_in_several_batches():
    workbench = bench_of("parallel", torch.float64, counterfactual=True)
    rows = np.arange(len(workbench.task.tokens))
    found = compare(workbench, "counterfactual", 0.02, rows=rows)
    split = acdc(workbench, "counterfactual", 0.02, rows=rows, memory=1)
    np.testing.assert_array_equal(split.mask, found.mask)
    assert found.increase[found.mask].min() >= 0.02


def test_frozen_norms():
    workbench = PlanContext(bench_of("gpt2", torch.float64).runner, seed=1, frozen_norm=True)
    compare(workbench, "mean", 0.01)


def test_what_leads_nowhere_is_cut_without_a_run():
    workbench = bench_of("deep", torch.float64)
    found = acdc(workbench, "mean", 50.0)  # cuts everything
    assert not found.mask.any()
    last = len(workbench.model.edges.writers)
    assert found.tried == last  # the edges into `logits`; no other reader leads anywhere then
    assert not found.increase[:-last].any()


def test_decisions_next_to_tau_are_listed():
    workbench = bench_of("gpt2", torch.float64)
    edge = int(workbench.model.edges.offsets[-2])  # the first that is tried
    rise = float(acdc(workbench, "mean", 0.01, rows=ROWS).increase[edge])
    for factor, close in ((1 + 1e-5, True), (1 - 1e-5, True), (1.01, False)):
        found = acdc(workbench, "mean", rise * factor, rows=ROWS)
        assert (edge in found.close) == close
        assert found.mask[edge] == (factor < 1)


@pytest.mark.parametrize("tau", [0.0, -1.0, float("nan")])
def test_tau_must_be_above_zero(tau):
    with pytest.raises(ClaimError, match="tau"):
        acdc(bench_of("gpt2", torch.float64), "mean", tau)
