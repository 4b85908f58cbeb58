"""Every ablation, through the runner, equals plain hooks on the library's own model with the same donors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from assay.errors import ClaimError, TaskError
from assay.explanations import Constant, Keep, Remove
from assay.intervene.components import expand
from assay.intervene.edits.engine import Seen
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.spec import ABLATIONS, FITTED, RANDOM
from assay.intervene.plan import Edit, EditRun, From, Own, Plan, Value
from assay.intervene.runner import Runner
from assay.names import parse_site
from assay.score.score import score
from tests.intervene.naive_cases import (
    KINDS,
    ROUNDED,
    SETS,
    assert_close,
    bench_of,
    logits,
    make,
    naive_fill,
    text_task,
    tolerance_of,
)
from tests.naive import hooks

CASES = [
    (ablation, kind, dtype)
    for ablation in ABLATIONS
    for kind, dtype in [*((kind, torch.float32) for kind in KINDS), ("gpt2", torch.float64)]
    # gradient steps take time, and how constants are put is the same for all
    if ablation not in FITTED or (kind in ("gpt2", "qwen3") and dtype == torch.float32)
]


@pytest.mark.parametrize(("ablation", "kind", "dtype"), CASES)
def test_every_ablation_equals_plain_hooks(ablation, kind, dtype):
    workbench = bench_of(kind, dtype, ablation == "counterfactual")
    _, network = make(kind, dtype)
    fixed = ablation in ("mean", "mean_position")
    for names in SETS.values() if ablation not in FITTED else [SETS["mixed"]]:
        for draw in (0, 1) if ablation in RANDOM else (0,):
            plan = Remove(names).plan(workbench, ablation, draw)
            given = naive_fill(kind, dtype, names, ablation, draw)
            wanted = hooks.run(network, workbench.task.tokens, given)
            assert_close(logits(workbench, plan), wanted, tolerance_of(kind, dtype, rounded=fixed))
            assert_close(logits(workbench, plan, reuse=False), wanted, tolerance_of(kind, dtype, rounded=fixed))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ablation", [a for a in ABLATIONS if a not in FITTED])
def test_keep_is_the_ablated_complement_and_the_empty_floor_ablates_everything(kind, ablation):
    workbench = bench_of(kind, torch.float64, ablation == "counterfactual")
    model, network = make(kind, torch.float64)
    kept = ("a0.h2", "a1.h0", "m1")
    everything = tuple(hooks.all_parts(network, model.config.layers, model.config.heads))
    assert set(everything) == set(model.components) - {"input"}
    given = naive_fill(kind, torch.float64, everything, ablation)
    inside = {name: value for name, value in given.items() if name not in kept}
    tolerance = tolerance_of(kind, torch.float64, rounded=True)
    assert_close(
        logits(workbench, Keep(kept).plan(workbench, ablation)),
        hooks.run(network, workbench.task.tokens, inside),
        tolerance,
    )
    empty = hooks.run(network, workbench.task.tokens, given)
    assert_close(logits(workbench, Keep(kept).floor(workbench, ablation)), empty, tolerance)
    assert_close(logits(workbench, Keep([]).plan(workbench, ablation)), empty, tolerance)
    whole = Keep(everything).plan(workbench, ablation)
    assert torch.equal(logits(workbench, whole), logits(workbench, Plan()))


def test_keeping_neurons_ablates_the_others_of_their_layer_and_keeping_columns_the_other_columns():
    workbench = bench_of("gpt2", torch.float64)
    _, network = make("gpt2", torch.float64)
    parts = [p for p in hooks.all_parts(network, 2, 4) if p != "m0"]
    others = tuple(f"m0.n{i}" for i in range(48) if i not in (3, 5))
    given = naive_fill("gpt2", torch.float64, (*parts, *others), "resample_joint", 0)
    got = logits(workbench, Keep(["m0.n3", "m0.n5"]).plan(workbench, "resample_joint"))
    assert_close(got, hooks.run(network, workbench.task.tokens, given), 1e-10)
    given = naive_fill("gpt2", torch.float64, tuple(hooks.all_parts(network, 2, 4)), "resample_joint", 0)

    def all_but_two(old: Tensor) -> Tensor:
        out = given["a1.h1"].clone()
        out[:, 2], out[:, 4] = old[:, 2], old[:, 4]
        return out

    got = logits(workbench, Keep(["a1.h1@2", "a1.h1@4"]).plan(workbench, "resample_joint"))
    assert_close(got, hooks.run(network, workbench.task.tokens, {**given, "a1.h1": all_but_two}), 1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_norm_divides_by_the_scales_of_the_clean_run(kind):
    model, network = make(kind, torch.float64)
    workbench = PlanContext(Runner(model, text_task(model)), 5, frozen_norm=True)
    for ablation in ("zero", "resample_joint"):
        for names in (SETS["mixed"], ("m1",)):
            given = naive_fill(kind, torch.float64, names, ablation, 0)
            wanted = hooks.run(network, workbench.task.tokens, given, frozen=True)
            assert_close(
                logits(workbench, Remove(names).plan(workbench, ablation)), wanted, tolerance_of(kind, torch.float64)
            )
            assert float((wanted - hooks.run(network, workbench.task.tokens, given)).abs().max()) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("names", [("a0.h1",), ("a0.h1", "m1")], ids=["first", "last"])
def test_refit_is_the_ridge_regression_of_the_clean_stream_on_the_ablated_one(kind, names):
    model, network = make(kind, torch.float64)
    workbench = PlanContext(Runner(model, text_task(model)), 5, refit=True)
    task = workbench.task
    layer = 1 + int(names[-1].startswith("m1"))
    given = {name: torch.zeros(1) for name in names}
    x = hooks.stream(network, task.reference.tokens, layer, given)[task.reference.real]
    y = hooks.stream(network, task.reference.tokens, layer)[task.reference.real]
    centred = x - x.mean(0)
    gram = centred.T @ centred
    ridge = 1e-4 * float(gram.diagonal().mean())
    # the same optimum as an ordinary least-squares problem with rows added
    rows = torch.cat([centred, ridge**0.5 * torch.eye(len(gram), dtype=torch.float64)])
    slope = torch.linalg.lstsq(rows, torch.cat([y - y.mean(0), torch.zeros_like(gram)])).solution

    def affine(old: Tensor) -> Tensor:
        new = (old - x.mean(0)) @ slope + y.mean(0)
        new[:, 0] = old[:, 0]
        return new

    wanted = hooks.run(network, task.tokens, given, streams={layer: affine})
    assert_close(logits(workbench, Remove(names).plan(workbench, "zero")), wanted, ROUNDED)


@pytest.mark.parametrize("ablation", [a for a in ABLATIONS if a not in (*FITTED, "counterfactual")])
def test_refit_runs_under_every_ablation_and_brings_constants_nearer(ablation):
    model, _ = make("llama", torch.float32)
    task = text_task(model)
    plain, helped = (PlanContext(Runner(model, task), 5, refit=refit) for refit in (False, True))
    clean = logits(plain, Plan())
    errors = [float((logits(b, Remove(["m0"]).plan(b, ablation)) - clean).square().mean()) for b in (plain, helped)]
    assert np.isfinite(errors).all()
    if ablation in ("zero", "mean"):
        assert errors[1] < errors[0]


def test_noise_has_the_references_mean_and_covariance_the_first_position_apart():
    workbench = bench_of("llama", torch.float64)
    _, network = make("llama", torch.float64)
    reference = workbench.task.reference
    value = hooks.values(network, reference.tokens, ["a0.h1"])["a0.h1"]
    rest = value[:, 1:][reference.real[:, 1:]]
    rows = np.arange(len(workbench.task.tokens))
    seen = Seen(workbench.task.tokens, rows, "scored")
    sources = [workbench.ablate([parse_site("a0.h1")], "noise", draw)[0].source for draw in range(400)]
    drawn = torch.stack([source.program(seen) for source in sources]).double()
    sample = drawn[:, :, 1:].flatten(0, 2)
    scale = float(rest.std())
    assert float((sample.mean(0) - rest.mean(0)).abs().max()) < 0.05 * scale
    assert float((torch.cov(sample.T) - torch.cov(rest.T)).abs().max()) < 0.08 * scale**2
    first = value[:, 0].mean(0)  # BOS is the same everywhere: nothing varies there
    assert float((drawn[:, :, 0] - first).abs().max()) < 1e-5


def test_optimal_constants_are_better_than_the_mean_on_the_reference():
    workbench = bench_of("gpt2", torch.float32)
    model, network = make("gpt2", torch.float32)
    names = ("a0.h0", "a1.h2", "m1")
    reference = workbench.task.reference
    clean = model.forward(reference.tokens).log_softmax(-1)

    def divergence(ablation: str) -> float:
        edited = hooks.run(
            network, reference.tokens, naive_fill("gpt2", torch.float32, names, ablation, 0)
        ).log_softmax(-1)
        kl = (clean.exp() * (clean - edited)).sum(-1)[:, :-1]
        return float(kl[reference.scored[:, 1:]].mean())

    assert divergence("optimal") < divergence("mean")


@pytest.mark.parametrize("kind", KINDS)
def test_a_parts_own_value_changes_nothing(kind):
    workbench = bench_of(kind, torch.float32)
    clean = logits(workbench, Plan())
    for names in SETS.values():
        plan = workbench.plan(tuple(Edit(site, Own()) for site in expand(names, workbench.model)))
        assert_close(logits(workbench, plan), clean, 1e-5)
        assert_close(logits(workbench, plan, reuse=False), clean, 1e-5)
    own = workbench.plan(tuple(Edit(parse_site(n), From("clean")) for n in SETS["mixed"]))
    assert_close(logits(workbench, own), clean, 1e-5)


def test_the_same_site_may_take_several_donors():
    workbench = bench_of("gpt2", torch.float64)
    _, network = make("gpt2", torch.float64)
    rows = [np.zeros(len(workbench.task.tokens), dtype=np.int64), np.full(len(workbench.task.tokens), 7)]
    edits = tuple(Edit(parse_site(f"m0@{2 + i}"), From("donor", r)) for i, r in enumerate(rows))
    got = logits(workbench, Plan((EditRun("donor", "reference"), EditRun("explained", edits=edits))))

    known = [hooks.values(network, workbench.task.reference.tokens[torch.from_numpy(r)], ["m0"])["m0"] for r in rows]

    def both(old: Tensor) -> Tensor:
        out = old.clone()
        for i, value in enumerate(known):
            out[:, 2 + i] = value[:, 2 + i]
        return out

    assert_close(got, hooks.run(network, workbench.task.tokens, {"m0": both}), 1e-10)


@pytest.mark.parametrize("ablation", ["mean", "resample_joint", "resample_independent", "noise"])
def test_results_do_not_depend_on_the_micro_batch_and_one_seed_gives_the_same_bytes(ablation):
    model, _ = make("llama", torch.float32)
    task = text_task(model)

    def kl(size: int | None, seed: int = 5) -> np.ndarray:
        runner = Runner(model, task)
        runner.batch = size or runner.batch
        workbench = PlanContext(runner, seed)
        return score(workbench, {"e": [Remove(SETS["mixed"]).plan(workbench, ablation, draw) for draw in range(2)]})[
            "e"
        ].draw_kl

    whole = kl(None)
    assert kl(None).tobytes() == whole.tobytes()
    for size in (1, 2, 3):
        np.testing.assert_allclose(kl(size), whole, rtol=1e-4, atol=1e-5)
    if ablation in RANDOM:
        assert not np.allclose(kl(None, 6), whole, rtol=1e-3)
        assert not np.allclose(whole[:, 0], whole[:, 1], rtol=1e-3)


def test_joint_donors_are_one_row_for_all_sites_and_independent_ones_are_not():
    workbench = bench_of("llama", torch.float32)
    joint = workbench.ablate(expand(SETS["mixed"], workbench.model), "resample_joint", 2)
    apart = workbench.ablate(expand(SETS["mixed"], workbench.model), "resample_independent", 2)
    rows = [edit.source.rows.tobytes() for edit in joint if isinstance(edit.source, From)]
    assert len(rows) == len(SETS["mixed"])
    assert len(set(rows)) == 1
    assert len({edit.source.rows.tobytes() for edit in apart if isinstance(edit.source, From)}) > 1


def test_a_constant_claim_puts_its_constant_whatever_the_ablation():
    workbench = bench_of("gpt2", torch.float64)
    _, network = make("gpt2", torch.float64)
    for value in ("mean", "mean_position", "zero"):
        given = naive_fill("gpt2", torch.float64, ("a0.h1", "m1"), value, 0)
        wanted = hooks.run(network, workbench.task.tokens, given)
        for ablation in ("zero", "resample_joint"):
            got = logits(workbench, Constant(["a0.h1", "m1"], value).plan(workbench, ablation, 3))
            assert_close(got, wanted, ROUNDED)


def test_a_mean_that_counts_the_first_position_would_fail():
    """BOS has another mean: the naive mean with it differs from the reference's by far more than any tolerance."""
    workbench = bench_of("llama", torch.float64)
    _, network = make("llama", torch.float64)
    reference = workbench.task.reference
    value = hooks.values(network, reference.tokens, ["m0"])["m0"]
    right, wrong = value[:, 1:][reference.real[:, 1:]].mean(0), value[reference.real].mean(0)
    kept = workbench.statistics.mean(parse_site("m0")).double()
    assert_close(kept[1:], right.expand_as(kept[1:]), 1e-6)
    assert_close(kept[0], value[:, 0].mean(0), 1e-6)
    assert float((wrong - right).abs().max()) > 1e-2 * float(right.abs().max())


def test_what_an_ablation_lacks_is_said():
    workbench = bench_of("llama", torch.float32)
    with pytest.raises(TaskError, match="has no counterfactuals"):
        workbench.ablate(expand(["m0"], workbench.model), "counterfactual")
    with pytest.raises(TaskError, match="unknown ablation 'meen'; did you mean 'mean'\\?"):
        workbench.ablate(expand(["m0"], workbench.model), "meen")
    with pytest.raises(ClaimError, match="at least one component"):
        Remove([])
    assert isinstance(workbench.source("zero", parse_site("m0"), 0), Value)
