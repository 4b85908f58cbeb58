"""Claims about networks that call a submodule twice, and about those with activations between their layers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn

import assay
from assay.explanations import Constant, Keep, Remove
from assay.model.load import load
from assay.model.module import ModuleModel


class Twice(nn.Module):
    """One activation for two layers; widths as asked for."""

    def __init__(self, first: int = 6, second: int = 6) -> None:
        super().__init__()
        self.act = nn.ReLU()
        self.a, self.b, self.c = nn.Linear(5, first), nn.Linear(first, second), nn.Linear(second, 3)

    def forward(self, x: Tensor, edit: Callable[[int, Tensor], Tensor] = lambda call, value: value) -> Tensor:
        h = edit(1, self.act(self.a(x)))
        return self.c(edit(2, self.act(self.b(h))))


@cache
def opened(first: int, second: int) -> ModuleModel:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = Twice(first, second).eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(3)
    model = load(network)
    assert isinstance(model, ModuleModel)
    return model


def data(seed: int, rows: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 5, generator=random), torch.randint(0, 3, (rows,), generator=random)


SCORED, REFERENCE = data(0, 40), data(1, 30)


def measured(claim, first: int = 6, second: int = 6, ablation: str = "mean", **more) -> dict:
    model = opened(first, second)
    task = assay.Task.classify(model, *SCORED, reference=REFERENCE)
    return assay.measure(claim, model, task, ablation=ablation, controls=0, **more).record


def by_hand(first: int, second: int, calls: tuple[int, ...], fill: str = "mean") -> float:
    """KL(model || model with each of these calls at its own mean on the reference, or at 0)."""
    network, means = opened(first, second).network, {}
    assert isinstance(network, Twice)
    with torch.no_grad():
        network(REFERENCE[0], lambda call, value: means.setdefault(call, value.mean(0)) * 0 + value)
        own = network(SCORED[0]).log_softmax(-1)

        def edit(call: int, value: Tensor) -> Tensor:
            filled = means[call] if fill == "mean" else torch.zeros_like(means[call])
            return filled.expand_as(value) if call in calls else value

        other = network(SCORED[0], edit).log_softmax(-1)
    return float((own.exp() * (own - other)).sum(-1).mean())


@pytest.mark.parametrize("widths", [(6, 6), (6, 4)])
@pytest.mark.parametrize(("name", "calls"), [("act", (1, 2)), ("act#1", (1,)), ("act#2", (2,))])
def test_each_call_takes_its_own_mean(widths: tuple[int, int], name: str, calls: tuple[int, ...]):
    row = measured(Remove([name]), *widths).table[0]
    assert row.kl_explained.value == pytest.approx(by_hand(*widths, calls), rel=1e-4)


@pytest.mark.parametrize(
    "ablation", ["zero", "mean_position", "resample_joint", "resample_independent", "noise", "optimal"]
)
def test_every_ablation_runs_on_calls_of_different_widths(ablation: str):
    record = measured(Remove(["act"]), 6, 4, ablation)
    kl = record.table[0].kl_explained.value
    assert kl > 0
    if ablation == "zero":
        assert kl == pytest.approx(by_hand(6, 4, (1, 2), "zero"), rel=1e-4)
    assert record.claim.scope == ("act#1", "act#2")
    assert [row.component for row in record.parts.components] == ["act#1", "act#2"]


def test_a_constant_of_one_call_leaves_the_other():
    record = measured(Constant(["act#2[1]", "act#2[3]"], "zero"), 6, 4)
    assert record.table[0].kl_explained.value < by_hand(6, 4, (2,), "zero")
    assert record.bits.claim.how.startswith("2 + log2(28+1)")  # 5 calls with 6 + 4 + 6 + 4 + 3 channels
    with_controls = assay.measure(
        Remove(["act#2[1]"]), opened(6, 4),
        assay.Task.classify(opened(6, 4), *SCORED, reference=REFERENCE), ablation="mean", controls=20,
    ).record  # fmt: skip
    names = with_controls.controls.groups[0].names
    assert sorted(names) == ["act#2[0]", "act#2[2]", "act#2[3]"]


def test_keeping_every_layer_with_weights_keeps_the_network():
    kept = measured(Keep(["a", "b", "c"]))
    assert kept.table[0].kl_explained.value == pytest.approx(0, abs=1e-9)
    assert kept.recovered.value == pytest.approx(1)
    some = measured(Keep(["a", "c"]))
    assert some.table[0].kl_explained.value > 0
    assert [row.part for row in some.residual.parts] == ["b"]


def test_an_activation_that_is_named_is_a_part():
    named = measured(Keep(["act#1"]))
    assert named.claim.scope == ("act#1",)
    assert named.table[0].kl_explained.value == pytest.approx(named.table[0].kl_floor.value)


@pytest.mark.parametrize("names", [["act"], ["act#1"], ["act#2"], ["act#1", "act#2"], ["a", "b", "c"]])
@pytest.mark.parametrize("controls", [0, 3])
def test_keeping_activations_alone_is_vacuous_however_they_are_named(names: list[str], controls: int):
    task = assay.Task.classify(opened(6, 6), *SCORED, reference=REFERENCE)
    record = assay.measure(Keep(names), opened(6, 6), task, ablation="mean", controls=controls).record
    (found,) = [check for check in record.checks if check.name == "vacuous"]
    assert record.recovered.value == pytest.approx(float(names == ["a", "b", "c"]))
    assert found.state == ("passed" if names == ["a", "b", "c"] else "fired"), found
