"""A sweep gives what one forward pass for every patch gives, on every family, for every ablation and position."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from assay.errors import ComponentError, TaskError
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.spec import ABLATIONS, FITTED
from assay.intervene.runner import Runner
from assay.intervene.sweep.sweep import Sweep, sweep
from assay.model.load import load
from assay.task.metrics import METRICS
from tests.intervene.naive_cases import KINDS, bench_of, make, text_task
from tests.intervene.sweep.sweep_cases import by_edits, by_hooks, prompt_bench
from tests.model.tiny import build, tiny_tokenizer
from tests.naive import hooks

SOME = ("input", "a0.h1", "a0.h3", "m0", "a1.h2", "m1")
DTYPES = (torch.float32, torch.float64)


def check(got: Sweep, wanted: tuple[np.ndarray, np.ndarray], workbench: PlanContext) -> None:
    """Per scored token, as a share of the logits' RMS (or of what is measured, where a token moves further)."""
    tolerance = 1e-5 if workbench.model.dtype == torch.float32 else 1e-10
    rms = float(workbench.model.forward(workbench.task.tokens).square().mean().sqrt())
    for found, plain in zip((got.loss, got.kl), wanted, strict=True):
        assert float(np.abs(plain).max()) > 0.01
        np.testing.assert_allclose(found / got.count, plain / got.count, rtol=tolerance, atol=tolerance * rms)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_with_the_loss_at_all_positions(kind, dtype):
    workbench = bench_of(kind, dtype)
    positions = (0, 7, -1, None)
    wanted = by_edits(workbench, "resample_joint", SOME, positions)
    check(sweep(workbench, "resample_joint", SOME, positions), wanted, workbench)
    # groups of one row and few components
    check(sweep(workbench, "resample_joint", SOME, positions, memory=1 << 14), wanted, workbench)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_with_the_loss_at_the_end_of_prompts_of_several_lengths(kind, dtype, reverse):
    workbench = prompt_bench(kind, dtype)
    positions = (2, "subject", -2, -1, None)
    wanted = by_edits(workbench, "counterfactual", SOME, positions, reverse)
    got = sweep(workbench, "counterfactual", SOME, positions, reverse=reverse)
    check(got, wanted, workbench)
    assert got.positions == positions
    assert got.components == SOME
    check(sweep(workbench, "counterfactual", SOME, positions, reverse=reverse, memory=1 << 13), wanted, workbench)


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_ablation(ablation, dtype):
    workbench = prompt_bench("qwen3", dtype)
    names = ("a0.h2", "m0") if ablation in FITTED else (*SOME, "a1", "r1", "r2")
    if ablation == "noise":
        names = SOME
    wanted = by_edits(workbench, ablation, names, (3, None))
    check(sweep(workbench, ablation, names, (3, None)), wanted, workbench)


@pytest.mark.parametrize("kind", KINDS)
def test_hooks_on_the_librarys_model_give_the_same(kind):
    dtype = torch.float64 if kind == "gpt2" else torch.float32  # the library rounds norms and rotary angles
    workbench, (_, network) = prompt_bench(kind, dtype), make(kind, dtype)
    task = workbench.task
    names = ("a0.h1", "m0", "a1.h2", "m1")
    fill = hooks.values(network, task.counterfactual, list(names))
    fill["input"] = hooks.stream(network, task.counterfactual, 0)
    columns = np.stack([np.full(len(task), 4), task.columns["subject"], task.last])
    got = sweep(workbench, "counterfactual", fill, (4, "subject", -1))
    check(got, by_hooks(network, workbench, fill, columns), workbench)


def test_every_column_is_swept_where_none_is_named():
    workbench = prompt_bench("llama", torch.float64)
    got = sweep(workbench, "mean")
    assert got.positions == tuple(range(int(workbench.task.last.max()) + 1))
    assert got.components == workbench.model.components
    shortest = tuple(range(int(workbench.task.last.min()) + 1))
    some = sweep(workbench, "mean", positions=shortest)
    np.testing.assert_allclose(got.loss[:, : len(shortest)], some.loss, atol=1e-12)
    for row, last in enumerate(workbench.task.last):
        assert not got.kl[:, last + 1 :, row].any()
        assert got.kl[0, last, row] > 0


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric(metric):
    pair = METRICS[metric].answers == 2
    workbench = prompt_bench("llama", torch.float64) if pair else bench_of("llama", torch.float64)
    workbench = PlanContext(Runner(workbench.model, replace(workbench.task, metric=METRICS[metric])), 5)
    wanted = by_edits(workbench, "resample_joint", SOME, (1, -1))
    check(sweep(workbench, "resample_joint", SOME, (1, -1)), wanted, workbench)


def test_probabilities_too_small_for_float32_are_not_lost():
    network = build("gpt2").float()
    with torch.no_grad():
        network.transformer.ln_f.weight *= 60
    model = load(network, tokenizer=tiny_tokenizer())
    workbench = PlanContext(Runner(model, text_task(model)), 5)
    wanted = by_edits(workbench, "resample_joint", ("input", "m1"), (1, None))
    assert wanted[1].max() > 500
    got = sweep(workbench, "resample_joint", ("input", "m1"), (1, None))
    for found, plain in zip((got.loss, got.kl), wanted, strict=True):
        np.testing.assert_allclose(found, plain, rtol=1e-4, atol=1e-2)


def test_before_fill_and_own_value_differ_nothing_is_run_and_nothing_changes():
    workbench = prompt_bench("gpt2", torch.float32)
    task = workbench.task
    tokens = task.counterfactual.clone()
    tokens[:, :5] = task.tokens[:, :5]
    task = replace(task, counterfactual=tokens)
    workbench = PlanContext(Runner(workbench.model, task), 5)
    changed = (tokens != task.tokens).int().argmax(1).numpy()
    got = sweep(workbench, "counterfactual")
    for row, column in enumerate(changed):
        assert column >= 5
        assert not got.kl[:, :column, row].any()
        assert got.kl[0, column, row] > 0
    before = workbench.runner.forwards
    sweep(workbench, "counterfactual", positions=range(5))
    assert workbench.runner.forwards - before == 2 * len(task)  # its own run and the donors'


def test_cost_grows_with_the_question():
    workbench = prompt_bench("llama", torch.float32)

    def passes(names: list[str], positions: list[int]) -> float:
        before = workbench.runner.forwards
        sweep(workbench, "zero", names, positions)
        return workbench.runner.forwards - before - len(workbench.task)

    assert passes(["a1.h0", "a1.h1", "m1"], [0, 1, 2]) == 0
    assert 0 < passes(["m0"], [-1]) <= passes(["m0"], [-2]) / 2
    assert passes(["m0"], [-1]) * 2 == pytest.approx(passes(["input"], [-1]), abs=1e-5)  # counts are rounded


def test_shapes_follow_from_memory_and_the_same_arguments_give_the_same_bytes():
    workbench = bench_of("qwen3", torch.float32)
    runs = [sweep(workbench, "noise", SOME, memory=memory) for memory in (1 << 28, 1 << 28, 1 << 18, 1 << 12)]
    assert runs[0].loss.tobytes() == runs[1].loss.tobytes()
    for run in runs[2:]:
        np.testing.assert_allclose(run.kl, runs[0].kl, rtol=1e-5, atol=1e-5)


def test_sums_by_document_and_some_rows():
    workbench = bench_of("gpt2", torch.float64)
    whole = sweep(workbench, "mean", ("m0", "a1.h0"), (1, None))
    summed = whole.by_document()
    for index, document in enumerate(summed.document):
        own = whole.document == document
        np.testing.assert_allclose(summed.loss[..., index], whole.loss[..., own].sum(-1))
        assert summed.count[index] == whole.count[own].sum()
    np.testing.assert_allclose(whole.mean("kl"), whole.kl.sum(-1) / workbench.task.count)
    some = sweep(workbench, "mean", ("m0", "a1.h0"), (1, None), rows=np.array([3, 1]))
    np.testing.assert_allclose(some.loss, whole.loss[..., [3, 1]], atol=1e-12)
    np.testing.assert_allclose(some.clean_loss, whole.clean_loss[[3, 1]], atol=1e-12)


def test_the_loss_of_a_reversed_sweep_is_less_that_of_the_donors_run():
    workbench = prompt_bench("gpt2", torch.float64)
    got = sweep(workbench, "counterfactual", ("input",), (None,), reverse=True)
    # with all of its input the model is itself again
    np.testing.assert_allclose(got.base_loss + got.loss[0, 0], got.clean_loss, atol=1e-10)
    assert got.base_kl.min() > 0.01
    np.testing.assert_allclose(got.kl, 0, atol=1e-10)


def test_what_cannot_be_swept_is_said():
    workbench = prompt_bench("gpt2", torch.float32)
    with pytest.raises(ComponentError, match=r"'m0\.n3' cannot be swept over positions"):
        sweep(workbench, "zero", ["m0.n3"])
    with pytest.raises(ComponentError, match="'m0@3' cannot be swept"):
        sweep(workbench, "zero", ["m0@3"])
    with pytest.raises(ComponentError, match="'m0' is named twice"):
        sweep(workbench, "zero", ["m0", "m0"])
    with pytest.raises(ComponentError, match="at least one component"):
        sweep(workbench, "zero", [])
    with pytest.raises(TaskError, match="reversed only where every fill comes from one run"):
        sweep(workbench, "zero", reverse=True)
    with pytest.raises(TaskError, match="has no column 'subjekt'; did you mean 'subject'"):
        sweep(workbench, "zero", positions=["subjekt"])
    frozen = PlanContext(workbench.runner, 5, frozen_norm=True)
    with pytest.raises(TaskError, match="'frozen_norm' and 'refit' do not apply"):
        sweep(frozen, "zero")
