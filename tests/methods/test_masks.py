"""Learned masks: gates by their definition, gradients, the size that was asked for, and circuits better than chance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from assay.errors import ClaimError
from assay.intervene.circuits.engine import Circuits
from assay.methods.masks import learned_masks, open_share, sampled, shifted
from assay.score.circuits import CircuitTarget, score_circuits
from tests.intervene.naive_cases import bench_of

ROWS = np.array([0, 2])


def test_the_share_of_open_gates_is_its_expectation():
    generator = torch.Generator().manual_seed(0)
    for log_alpha in (-2.0, 0.0, 1.5):
        alpha = torch.full((200_000,), log_alpha, dtype=torch.float64)
        gates = sampled(alpha, torch.rand(len(alpha), generator=generator, dtype=torch.float64))
        assert 0 <= gates.min() <= gates.max() <= 1
        expected = float(open_share(alpha)[0])
        assert float((gates > 0).double().mean()) == pytest.approx(expected, abs=4 * (0.25 / len(alpha)) ** 0.5)
        between = float(((gates > 0) & (gates < 1)).double().mean())
        whole = 1 / (1 + np.exp(-(log_alpha - 2 / 3 * np.log(11))))  # 1.1 / 0.1 = 11 at both ends
        assert between == pytest.approx(expected - whole, abs=4 * (0.25 / len(alpha)) ** 0.5)


def test_a_shift_opens_so_many_gates_and_keeps_their_order():
    alpha = torch.randn(500, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 5
    for count in (0.5, 20.0, 499.0):
        moved = shifted(alpha, count)
        assert float(open_share(moved).sum()) == pytest.approx(count, rel=1e-6)
        assert float((moved - alpha).std()) < 1e-12


@pytest.mark.parametrize("kind", ["gpt2", "llama", "parallel"])
def test_the_gradient_of_the_loss_is_that_of_finite_differences(kind):
    workbench = bench_of(kind, torch.float64)
    target = CircuitTarget(Circuits(workbench, "mean").batch(ROWS))
    gates = torch.rand(1, len(workbench.model.edges), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    gates = (0.1 + 0.8 * gates).requires_grad_()

    def loss(values: torch.Tensor) -> torch.Tensor:
        return target.mean_kl(target.batch.vary(target.batch.clean, target.batch.matrix(values)).logits)[0]

    (gradient,) = torch.autograd.grad(loss(gates), gates)
    with torch.no_grad():
        for edge in range(0, gates.shape[1], 7):
            step = torch.zeros_like(gates)
            step[0, edge] = 1e-5
            naive = float(loss(gates + step) - loss(gates - step)) / 2e-5
            assert float(gradient[0, edge]) == pytest.approx(naive, rel=1e-5, abs=1e-8)


def test_gates_come_to_the_size_and_are_better_than_chance():
    workbench = bench_of("deep", torch.float32)
    edges = len(workbench.model.edges)
    size = edges // 3
    found = learned_masks(workbench, "mean", size, steps=120, together=3, seed=4)
    final = float(open_share(torch.from_numpy(found.scores.scores)).sum())
    assert final == pytest.approx(size, rel=1e-3)
    assert found.sizes[0] > 0.8 * edges
    assert len(found.kl) == len(found.sizes) == 120
    chance = np.random.default_rng(0)
    random = np.array([chance.permutation(edges) < size for _ in range(10)])
    scored = score_circuits(workbench, np.concatenate([found.scores.top(size)[None], random]), "mean")
    kl = scored.stacked("kl").sum(1)
    assert kl[0] < 0.5 * kl[1:].min()
    assert found.scores.passes > 2 * 120


def test_the_seed_alone_decides():
    workbench = bench_of("llama", torch.float32)
    several = [
        learned_masks(workbench, "resample_joint", 20, steps=4, together=2, draws=(0, 1), seed=seed, memory=memory)
        for seed, memory in ((1, 1 << 30), (1, 0), (2, 1 << 30))
    ]
    assert several[0].scores.scores.tobytes() == several[1].scores.scores.tobytes()
    assert (several[0].scores.scores != several[2].scores.scores).any()


@pytest.mark.parametrize(("size", "steps"), [(0, 5), (10**6, 5), (3, 0)])
def test_sizes_that_are_none_are_refused(size, steps):
    with pytest.raises(ClaimError, match="not a size to learn"):
        learned_masks(bench_of("gpt2", torch.float32), "mean", size, steps=steps)
