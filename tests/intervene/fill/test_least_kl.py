"""Fits on the reference against fits of our own in plain hooks, and what they say that they reached."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from assay.explanations import Circuit, Keep
from assay.intervene.components import expand
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.learned import optimal_constants
from assay.intervene.runner import Runner
from assay.model.load import load
from assay.task.task import Task
from tests.intervene.naive_cases import logits
from tests.model.tiny import build, tiny_tokenizer
from tests.naive import hooks

SIZES = {"one": ("a0.h1",), "some": ("a0.h0", "m0", "a1.h1"), "all": ("a0", "a1", "a2", "m0", "m1", "m2")}


@cache
def network() -> Any:
    """Three layers that matter: weights far larger than at the start of a training."""
    made = build("gpt2", layers=3, d=16, heads=2, d_mlp=24, vocab=50, seed=1).double().eval().requires_grad_(False)
    with torch.no_grad():
        for block in made.transformer.h:
            for matrix in (block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj):
                matrix.weight.mul_(3)
    return made


@cache
def workbench() -> PlanContext:
    model = load(network(), tokenizer=tiny_tokenizer(50))
    words = np.random.default_rng(0)
    texts = [" ".join(f"w{i}" for i in words.integers(2, 50, 16)) for _ in range(54)]
    return PlanContext(Runner(model, Task.text(model, texts=texts[:6], reference=texts[6:])))  # type: ignore[arg-type]


def divergence(constants: dict[str, Tensor]) -> Tensor:
    """KL(model || model with these constants) on the whole reference, in plain hooks."""
    reference = workbench().task.reference
    assert reference is not None
    with torch.no_grad():
        own = network()(reference.tokens).logits.log_softmax(-1)
    other = hooks.run(network(), reference.tokens, constants, gradients=True).log_softmax(-1)
    return (own.exp() * (own - other)).sum(-1)[:, :-1][reference.scored[:, 1:]].mean()


def independent(widths: dict[str, int], length: int) -> float:
    """The least divergence that scipy's L-BFGS-B finds from 0 on, the first position apart."""

    def constants(numbers: Tensor) -> dict[str, Tensor]:
        parts = numbers.split([2 * width for width in widths.values()])
        return {
            name: torch.cat([part[:width].expand(1, -1), part[width:].expand(length - 1, -1)])
            for (name, width), part in zip(widths.items(), parts, strict=True)
        }

    def loss(numbers: np.ndarray) -> tuple[float, np.ndarray]:
        given = torch.tensor(numbers, dtype=torch.float32, requires_grad=True)
        with torch.enable_grad():
            value = divergence(constants(given))
        (slope,) = torch.autograd.grad(value, given)
        return float(value.detach()), slope.double().numpy()

    start = np.zeros(2 * sum(widths.values()))
    return float(minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 80}).fun)


@pytest.mark.parametrize("size", SIZES)
def test_optimal_constants_are_as_good_as_an_independent_fit(size: str):
    sites = tuple(expand(SIZES[size], workbench().model))
    before = len(workbench().used.fits)
    constants = optimal_constants(workbench(), sites)
    named = {str(site): value for site, value in zip(sites, constants, strict=True)}
    reached = float(divergence(named).detach())
    widths = {name: value.shape[-1] for name, value in named.items()}
    assert reached < 1.03 * independent(widths, constants[0].shape[0])
    (fit,) = workbench().used.fits[before:]
    assert fit.settled
    assert fit.what == f"optimal constants of {len(sites)} part{'s' * (len(sites) > 1)}"
    assert fit.reached < fit.start
    assert fit.reached == pytest.approx(reached, rel=0.2)  # on a third of the reference
    optimal_constants(workbench(), sites)
    assert len(workbench().used.fits) == before + 1  # kept


def test_keeping_everything_leaves_nothing_to_fit():
    model = workbench().model
    claim = Keep([name for name in model.components if name != "input"])
    untouched = workbench().plan(())
    torch.testing.assert_close(logits(workbench(), claim.plan(workbench(), "optimal")), logits(workbench(), untouched))
    whole = Circuit(nodes=[name for name in model.components if name != "input"])
    torch.testing.assert_close(logits(workbench(), whole.plan(workbench(), "optimal")), logits(workbench(), untouched))


def test_parts_kept_at_a_column_are_fitted_with_all_the_others():
    """One by one, each in a model that is otherwise whole, their constants are worse together than nothing kept."""
    model = workbench().model
    claim = Keep([f"{name}@5" for name in model.components if name != "input"])
    kept, floor = (
        {str(e.site): e.source for e in plan(workbench(), "optimal").final.edits} for plan in (claim.plan, claim.floor)
    )
    for name, source in floor.items():
        torch.testing.assert_close(kept[name].tensor, source.tensor, rtol=0, atol=0)
