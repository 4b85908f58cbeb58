"""The worst constants of ablated parts: where the answer is known, within what the parts take, through circuits."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

import assay
from assay.intervene.circuits.plans import circuit_plan
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.adversarial import adversarial_constants
from assay.intervene.plan import CircuitRun, Edit, EditRun, Plan, Value
from assay.intervene.runner import Runner
from assay.model.edge_sets import EdgeSet
from assay.names import parse_site
from assay.score.score import score

N, SHARE = 400, 3.0


class _Backup(nn.Module):
    """The answer is the first input's sign; a part beside it adds three times the second's, which is −1 to 1."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
        with torch.no_grad():
            self.first.weight.copy_(torch.tensor([[1.0, 0.0]]))
            self.second.weight.copy_(torch.tensor([[0.0, 1.0]]))

    def forward(self, x: Tensor) -> Tensor:
        logit = self.first(x) + SHARE * self.second(x)
        return torch.cat([logit, torch.zeros_like(logit)], 1)


def _module() -> tuple[PlanContext, Tensor]:
    random = np.random.default_rng(0)
    x = torch.from_numpy(random.uniform(-1, 1, (N, 2))).float()
    y = (x[:, 0] < 0).long()
    model = assay.load(_Backup())
    half = N // 2
    task = assay.Task.classify(model, x[:half], y[:half], reference=(x[half:], y[half:]))
    return PlanContext(Runner(model, task)), x[half:]


def test_the_worst_constant_is_at_the_end_of_what_the_part_takes() -> None:
    """Ablated by its mean, the second part costs little; the KL grows with its constant either way, so that the worst
    is one of the ends of what it takes, and a value beyond them is none that the part has."""
    workbench, seen = _module()
    site = parse_site("second", modules=True)
    (constant,) = adversarial_constants(workbench, (site,), key="test")
    most = float(seen[:, 1].abs().max())
    assert 0.9 < abs(float(constant)) <= most

    def kl(value: float) -> float:
        plan = workbench.plan((Edit(site, Value(torch.tensor([value]))),))
        found = score(workbench, {"x": plan})
        return float(found["x"].kl.sum() / found.count.sum())

    worst = max(kl(-most), kl(most))
    assert kl(float(constant)) > 0.9 * worst > 1.5 * kl(0.0)


def test_what_a_part_keeps_is_not_made_worse() -> None:
    """Within the subspace that a part keeps the constant has no say."""
    workbench, _ = _module()
    site = parse_site("second", modules=True)
    (edit,) = workbench.ablate([site], "shared_adversarial", but={site: torch.eye(1)})
    found = score(workbench, {"x": workbench.plan((edit,))})
    assert float(found["x"].kl.sum()) < 1e-6


def _circuit() -> tuple[PlanContext, EdgeSet]:
    model = assay.load("zoo:novel-attn2")
    task = assay.Task.repeat(model, n=6, length=12)
    kept = np.zeros(len(model.edges), dtype=bool)
    kept[::3] = True
    return PlanContext(Runner(model, task)), EdgeSet.whole(kept)


def test_gradients_through_a_circuit_are_those_of_finite_differences() -> None:
    workbench, edges = _circuit()
    model, task = workbench.model, workbench.task
    sites = [parse_site(name) for name in model.edges.writers]
    means = [workbench.source("mean", site, 0).tensor for site in sites]
    shift = torch.zeros(len(sites), requires_grad=True)
    rows = np.arange(4)
    runner = Runner(model, task.of_reference())

    def value(shift: Tensor) -> Tensor:
        fills = tuple(Edit(site, Value(mean * (1 + by))) for site, mean, by in zip(sites, means, shift, strict=True))
        plan = Plan((EditRun("fill", edits=fills), CircuitRun("explained", edges, "fill")))
        return runner.output(plan, rows).logits.double().log_softmax(-1)[:, 1:, 5].mean()

    (gradient,) = torch.autograd.grad(value(shift), shift)
    step = 3e-2
    for at in (0, 3, len(sites) - 1):
        aside = torch.zeros(len(sites))
        aside[at] = step
        with torch.no_grad():
            found = float(value(aside) - value(-aside)) / (2 * step)
        assert abs(found - float(gradient[at])) < 2e-2 * float(gradient.abs().max())


def test_a_circuit_is_made_worse_than_by_means_and_every_edge_leaves_nothing_to_make_worse() -> None:
    workbench, edges = _circuit()
    every = EdgeSet.whole(np.ones(len(edges.kept), dtype=bool))
    plans = {
        "mean": circuit_plan(workbench, edges, "mean"),
        "worst": circuit_plan(workbench, edges, "shared_adversarial"),
        "every": circuit_plan(workbench, every, "shared_adversarial"),
    }
    found = score(workbench, plans)
    kl = {name: float(found[name].kl.sum() / found.count.sum()) for name in plans}
    assert kl["worst"] > 1.2 * kl["mean"] > 0
    assert kl["every"] < 1e-5


def test_the_same_seed_gives_the_same_constants_and_each_set_its_own() -> None:
    one, two = (_circuit()[0] for _ in range(2))
    sites = [parse_site("a0.h1"), parse_site("a1.h2")]
    first, again = (context.ablate(sites, "shared_adversarial") for context in (one, two))
    assert all(torch.equal(a.source.tensor, b.source.tensor) for a, b in zip(first, again, strict=True))
    (alone,) = one.ablate(sites[:1], "shared_adversarial")
    assert not torch.equal(alone.source.tensor, first[0].source.tensor)
