"""Networks of plain arithmetic whose answers are known: what a scrubbed run must pass, and what it must not.

The cases are those that causal scrubbing was first tried on: an identical hypothesis, a value in two parts, deviations
large and small, parts that cancel, parts that are exchanged, inputs that go together, parts that nothing is said of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from assay.explanations import Hypothesis
from assay.explanations.hypothesis.interchange import interchange, least
from assay.explanations.hypothesis.scrub import LEFT
from assay.measure.workbench import Workbench
from assay.score.score import score
from assay.task.task import Task

CLASSES, SHARP = 24, 8.0
RESAMPLED = ("resample_joint", "resample_independent")
Function = Callable[..., Tensor]


class Part(nn.Module):
    """A function of columns [batch, 1]."""

    def __init__(self, function: Function):
        super().__init__()
        self.function = function

    def forward(self, *values: Tensor) -> Tensor:
        return self.function(*values)


class Arithmetic(nn.Module):
    """Parts of inputs x0, x1, ... or of other parts; the last one's value v gives class k the logit −8 (v − k)²."""

    def __init__(self, parts: Mapping[str, tuple[Sequence[str], Function]]):
        super().__init__()
        self.reads = {name: tuple(reads) for name, (reads, _) in parts.items()}
        for name, (_, function) in parts.items():
            self.add_module(name, Part(function))

    def forward(self, x: Tensor) -> Tensor:
        values = {f"x{place}": column for place, column in enumerate(x.split(1, 1))}
        for name, reads in self.reads.items():
            values[name] = self.get_submodule(name)(*(values[one] for one in reads))
        return -SHARP * (values[name] - torch.arange(CLASSES)) ** 2


def same(value: Tensor) -> Tensor:
    return value


def bench_of(parts: Mapping[str, tuple[Sequence[str], Function]], draw: Callable[[Any, int], np.ndarray]) -> Workbench:
    net = Arithmetic(parts).eval()

    def rows(seed: int, n: int) -> tuple[Tensor, Tensor]:
        x = draw(np.random.default_rng(seed), n)
        x = torch.from_numpy(np.concatenate([x, np.random.default_rng(seed).random((n, 1))], 1)).float()  # all apart
        with torch.no_grad():
            return x, net(x).argmax(1)

    return Workbench(net, Task.classify(net, *rows(0, 120), reference=rows(1, 40)))


def column(place: int) -> Callable[[Any], int]:
    return lambda example: int(example.inputs[place])


def digits(places: int) -> Callable[[Any, int], np.ndarray]:
    return lambda random, n: random.integers(0, 5, (n, places))


def recovered(bench: Workbench, claim: Hypothesis, strength: str = "resample_independent") -> tuple[float, float]:
    """R_D of the scrubbed run, and its KL in nats."""
    found = score(bench, {0: claim.plan(bench, strength), 1: claim.floor(bench, strength)})
    return 1 - found.mean_kl(0) / found.mean_kl(1), found.mean_kl(0)


def swapped(bench: Workbench, claim: Hypothesis) -> float:
    """Interchange accuracy with the rest resampled, the worst."""
    rest = "resample_independent"
    return least(interchange(bench, claim.graph(bench), (rest,), 0), rest).value(rest).value or 0.0


SUM = {"a": (["x0"], same), "b": (["x1"], same), "out": (["a", "b"], lambda a, b: a + b)}
INPUTS = {"u": column(0), "v": column(1)}
ADDED = {**INPUTS, "answer": lambda u, v: u + v}
BOTH = {"u": ["a"], "v": ["b"], "answer": ["out"]}


@pytest.mark.parametrize("strength", [LEFT, "mean", *RESAMPLED])
@pytest.mark.parametrize("treeify", [True, False])
def test_an_identical_hypothesis_loses_nothing(strength: str, treeify: bool):
    claim = Hypothesis(ADDED, BOTH, treeify=treeify)
    assert recovered(bench_of(SUM, digits(2)), claim, strength)[1] == pytest.approx(0.0, abs=1e-9)


def test_a_value_in_two_parts_is_carried_by_both_and_by_neither_alone():
    """u is split into a part of it and what is left of it, by another input that nothing else reads."""
    parts = {
        "a": (["x0", "x1"], lambda x, y: x * y / 5),
        "b": (["x0", "x1"], lambda x, y: x - x * y / 5),
        "out": (["a", "b"], lambda a, b: a + b),
    }
    bench, variables = bench_of(parts, digits(2)), {"u": column(0), "answer": lambda u: u}
    both = Hypothesis(variables, {"u": ["a", "b"], "answer": ["out"]})
    assert recovered(bench, both)[1] == pytest.approx(0.0, abs=1e-6)
    for one in ("a", "b"):
        assert recovered(bench, Hypothesis(variables, {"u": [one], "answer": ["out"]}))[0] < 0.7


def test_a_value_that_is_spread_over_the_stream_is_carried_by_what_holds_all_of_it():
    """Two parts write into one, by weights that add up to the value; that one carries it, one of the two does not."""
    parts = {
        "a": (["x0"], lambda x: 3 * x),
        "b": (["x0"], lambda x: -2 * x),
        "stream": (["a", "b"], lambda a, b: a + b),
        "out": (["stream"], same),
    }
    bench, variables = bench_of(parts, digits(1)), {"u": column(0), "answer": lambda u: u}
    assert recovered(bench, Hypothesis(variables, {"u": ["stream"], "answer": ["out"]}))[1] == pytest.approx(
        0, abs=1e-6
    )
    split = Hypothesis(variables, {"u": ["a", "b"], "answer": ["stream", "out"]})
    assert recovered(bench, split)[1] == pytest.approx(0.0, abs=1e-6)
    assert recovered(bench, Hypothesis(variables, {"u": ["a"], "answer": ["stream", "out"]}))[0] < 0.8


def test_what_the_hypothesis_leaves_out_costs_as_much_as_it_does():
    """out = u + ε v with v unsaid: the larger ε, the larger the loss, from next to nothing on."""
    losses = []
    for size in (0.0, 0.05, 0.2, 1.0):
        parts = {**SUM, "out": (["a", "b"], lambda a, b, size=size: a + size * b)}
        claim = Hypothesis({"u": column(0), "answer": lambda u: u}, {"u": ["a"], "answer": ["out"]})
        losses.append(recovered(bench_of(parts, digits(2)), claim)[1])
    assert losses[0] == pytest.approx(0.0, abs=1e-9)
    assert losses == sorted(losses)
    assert 0 < losses[1] < 0.2 < 2 < losses[3]


def test_intermediates_that_cancel_fail():
    """a = x0 + x2 and b = x1 − x2 add up to x0 + x1; neither is what it is said to be."""
    parts = {
        "a": (["x0", "x2"], lambda x, z: x + z),
        "b": (["x1", "x2"], lambda y, z: y - z),
        "out": (["a", "b"], lambda a, b: a + b),
    }
    bench = bench_of(parts, digits(3))
    share, nats = recovered(bench, Hypothesis(ADDED, BOTH))
    assert share < 0.8
    assert nats > 10
    assert swapped(bench, Hypothesis(ADDED, BOTH)) < 0.6


def test_intermediates_that_are_exchanged_fail_although_the_output_is_equal():
    exchanged = Hypothesis(ADDED, {"u": ["b"], "v": ["a"], "answer": ["out"]})
    bench = bench_of(SUM, digits(2))
    assert recovered(bench, Hypothesis(ADDED, BOTH))[1] == pytest.approx(0.0, abs=1e-9)
    assert recovered(bench, exchanged)[0] < 0.6
    assert swapped(bench, exchanged) < 0.2
    assert swapped(bench, Hypothesis(ADDED, BOTH)) == 1.0


@pytest.mark.parametrize("strength", RESAMPLED)
def test_a_claim_on_one_of_two_inputs_that_go_together_fails(strength: str):
    """x1 = 2 x0 wherever it is scored, and the network reads both."""

    def together(random: Any, n: int) -> np.ndarray:
        x = random.integers(0, 5, n)
        return np.stack([x, 2 * x], 1)

    bench = bench_of(SUM, together)
    one = {"u": column(0), "answer": lambda u: 3 * u}
    both = {"u": column(0), "answer": lambda u: 3 * u}
    assert recovered(bench, Hypothesis(one, {"u": ["a"], "answer": ["out"]}), strength)[0] < 0.7
    assert recovered(bench, Hypothesis(both, {"u": ["a", "b"], "answer": ["out"]}), strength)[1] == pytest.approx(0.0)


def test_parts_that_nothing_is_said_of_count_as_the_policy_says():
    """b matters and carries nothing: left, it costs nothing; ablated, whatever it is worth; loose, nothing again."""
    bench = bench_of(SUM, digits(2))
    said = Hypothesis({"u": column(0), "answer": lambda u: u}, {"u": ["a"], "answer": ["out"]})
    loose = Hypothesis(ADDED, {"u": ["a"], "answer": ["out"]})
    assert recovered(bench, said, LEFT)[1] == pytest.approx(0.0, abs=1e-9)
    for strength in ("mean", *RESAMPLED):
        assert recovered(bench, said, strength)[1] > 1
    for strength in RESAMPLED:
        assert recovered(bench, loose, strength)[1] == pytest.approx(0.0, abs=1e-9)
