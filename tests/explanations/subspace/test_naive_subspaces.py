"""Explained runs of subspaces equal plain hooks on the library's own model: the inside kept, the outside filled."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from assay.errors import TaskError
from assay.explanations import Subspace
from assay.explanations.subspace import fits
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.learned import optimal_constants
from assay.intervene.fill.spec import ABLATIONS, FITTED, RANDOM
from assay.intervene.plan import Edit, Mix, Own
from assay.intervene.runner import Runner
from assay.names import parse_site
from tests.intervene.naive_cases import bench_of, logits, make, naive_fill, text_task
from tests.naive import hooks

DOUBLE = torch.float64
SETS = (("a0.h1",), ("m0", "a1.h2"), ("r1",), ("r0@3", "r2"))


def basis_of(name: str, k: int = 3, d_head: int = 8) -> Tensor:
    """Columns that are neither orthogonal nor of length one."""
    width = d_head if ".h" in name else 32
    return torch.randn(width, k, generator=torch.Generator().manual_seed(len(name)), dtype=DOUBLE)


def naive_run(network, tokens: Tensor, given: dict[str, Tensor], bases: dict[str, Tensor], *, swapped: bool = False):
    """Own value inside, what is given outside: by the projector B (BᵀB)⁻¹ Bᵀ, which needs no orthonormal columns."""

    def mixed(name: str):
        inside = bases[name] @ torch.linalg.inv(bases[name].T @ bases[name]) @ bases[name].T
        outside = torch.eye(len(inside), dtype=DOUBLE) - inside
        inside, outside = (outside, inside) if swapped else (inside, outside)
        column = parse_site(name).position

        def give(old: Tensor) -> Tensor:
            new = old @ inside.to(old) + given[name].to(old).expand_as(old) @ outside.to(old)
            if column is None:
                return new
            out = old.clone()
            out[:, column] = new[:, column]
            return out

        return give

    streams = {parse_site(name).layer: mixed(name) for name in bases if name.startswith("r")}
    parts = {name: mixed(name) for name in bases if not name.startswith("r")}
    return hooks.run(network, tokens, parts, streams=streams)


@pytest.mark.parametrize("kind", ["gpt2", "qwen3"])
@pytest.mark.parametrize("ablation", [a for a in ABLATIONS if a not in FITTED])
def test_every_ablation_fills_the_complement_alone(kind: str, ablation: str):
    workbench, (_, network) = bench_of(kind, DOUBLE, ablation == "counterfactual"), make(kind, DOUBLE)
    for names in SETS:
        bases = {name: basis_of(name, d_head=workbench.model.config.d_head) for name in names}
        for draw in (0, 1) if ablation in RANDOM else (0,):
            given = naive_fill(kind, DOUBLE, names, ablation, draw)
            got = logits(workbench, Subspace(bases).plan(workbench, ablation, draw))
            wanted = naive_run(network, workbench.task.tokens, given, bases)
            assert float((got - wanted).abs().max()) < 1e-6 * max(1.0, float(wanted.abs().max()))
            swapped = naive_run(network, workbench.task.tokens, given, bases, swapped=True)
            assert float((got - swapped).abs().max()) > 1e-2


def test_optimal_constants_are_fitted_beside_the_subspace_that_is_kept():
    workbench, (_, network) = bench_of("gpt2", torch.float32), make("gpt2", torch.float32)
    site, bases = parse_site("m1"), {"m1": basis_of("m1")}
    basis = torch.linalg.qr(bases["m1"]).Q.float()
    (edit,) = Subspace(bases).edits(workbench, "optimal")
    assert isinstance(edit.source, Mix)
    (own,), (whole,) = (optimal_constants(workbench, (site,), but) for but in ({site: basis}, None))
    reference = workbench.task.reference
    clean = workbench.model.forward(reference.tokens).log_softmax(-1)

    def divergence(constant: Tensor) -> float:
        run = naive_run(network, reference.tokens, {"m1": constant}, bases).log_softmax(-1)
        return float((clean.exp() * (clean - run)).sum(-1)[:, :-1][reference.scored[:, 1:]].mean())

    assert divergence(own) < divergence(whole)
    got = logits(workbench, workbench.plan((edit,)))
    wanted = naive_run(network, workbench.task.tokens, {"m1": own}, bases)
    assert float((got - wanted).abs().max()) < 1e-5 * float(wanted.abs().max())


def test_matched_noise_has_the_complements_own_mean_and_covariance():
    workbench, (_, network) = bench_of("llama", DOUBLE), make("llama", DOUBLE)
    reference, basis = workbench.task.reference, torch.linalg.qr(basis_of("m0")).Q
    rest = hooks.values(network, reference.tokens, ["m0"])["m0"][:, 1:][reference.real[:, 1:]]
    outside = torch.eye(32, dtype=DOUBLE) - basis @ basis.T
    claim, rows = Subspace({"m0": basis}), np.arange(len(workbench.task.tokens))
    plans = [claim.plan(workbench, "noise", draw) for draw in range(300)]
    site = parse_site("m0")
    seen = torch.stack([workbench.runner.values(plan, plan.final, [site], rows)[site] for plan in plans])
    own = hooks.values(network, workbench.task.tokens, ["m0"])["m0"]
    assert float(((seen - own) @ basis).abs().max()) < 1e-5  # inside it is the site's own
    drawn = (seen @ outside)[:, :, 1:].flatten(0, 2)
    wanted = outside @ torch.cov(rest.T) @ outside
    assert float((drawn.mean(0) - rest.mean(0) @ outside).abs().max()) < 0.05 * float(rest.std())
    assert float((torch.cov(drawn.T) - wanted).abs().max()) < 0.1 * float(wanted.diagonal().max())


@pytest.mark.parametrize("name", ["a0.h1", "m1", "r1"])
def test_principal_directions_are_those_of_the_reference_without_first_positions(name: str):
    workbench, (_, network) = bench_of("llama", DOUBLE), make("llama", DOUBLE)
    reference = workbench.task.reference
    value = hooks.values(network, reference.tokens, [name])[name][:, 1:][reference.real[:, 1:]]
    _, _, right = torch.linalg.svd(value - value.mean(0), full_matrices=False)
    (found,) = Subspace({name: {"pca": 3}}).bases(workbench).values()
    torch.testing.assert_close(found @ found.T, right[:3].T @ right[:3], rtol=0, atol=1e-5)
    (least,) = Subspace({name: {"pca": 2}}).bases(workbench).values()
    fewer = fits.narrower(workbench, parse_site(name), found)  # the direction of least variance goes
    torch.testing.assert_close(fewer @ fewer.T, least @ least.T, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_the_difference_of_unembeddings_is_all_that_a_logit_difference_reads_of_the_last_stream(kind: str):
    """At one scale of the norm: what is added in the complement of the direction moves both logits alike."""
    model, _ = make(kind, DOUBLE)
    direction = fits.unembedded(model, (" w21", 30), "r2") if kind == "gpt2" else fits.unembedded(model, (21, 30), "r2")
    assert direction.shape == (32, 1)
    x = torch.randn(5, 32, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    norm = model.weights.final_norm
    scale = norm.scale(x)

    def difference(stream: Tensor) -> Tensor:
        out = norm.over(stream, scale) @ model.W_U
        return out[:, 21] - out[:, 30]

    other = torch.randn(5, 32, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    aside = other - other @ direction @ direction.T
    torch.testing.assert_close(difference(x + aside), difference(x), rtol=0, atol=1e-10)
    assert float((difference(x + direction.T) - difference(x)).abs().min()) > 1e-3


def test_a_refit_goes_with_streams_but_for_the_last():
    model, _ = make("gpt2", DOUBLE)
    workbench = PlanContext(Runner(model, text_task(model)), 5, refit=True)
    claim = Subspace({"r1": basis_of("r1")})
    plan = claim.plan(workbench, "zero")
    assert [str(edit.site) for edit in plan.final.edits] == ["r1", "r2"]
    assert [str(edit.site) for edit in claim.edits(workbench, "zero")] == ["r1"]
    plain = PlanContext(Runner(model, text_task(model)), 5)
    clean = logits(plain, plain.plan(()))
    errors = [float((logits(at, claim.plan(at, "zero")) - clean).square().mean()) for at in (workbench, plain)]
    assert errors[0] < errors[1]
    with pytest.raises(TaskError, match=r"behind 'r2' of .* there is none; leave 'refit' out"):
        Subspace({"r2": basis_of("r2")}).plan(workbench, "zero")


def test_a_subspace_of_a_half_precision_model_is_mixed_in_its_type():
    model, _ = make("gpt2", torch.bfloat16)
    workbench = PlanContext(Runner(model, text_task(model)), 5)
    for ablation in ("mean", "noise"):
        plan = Subspace({"m0": basis_of("m0")}).plan(workbench, ablation)
        assert logits(workbench, plan).dtype == torch.bfloat16
    own = workbench.plan((Edit(parse_site("m0"), Mix(torch.eye(32)[:, :2].bfloat16(), Own(), Own())),))
    assert torch.isfinite(logits(workbench, own)).all()
