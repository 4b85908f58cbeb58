"""A sweep gives what one forward pass for every patch gives, on every family, for every ablation and position."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from assay.errors import ComponentError, TaskError
from assay.intervene.ablations import Workbench
from assay.intervene.runner import Runner
from assay.intervene.spec import ABLATIONS
from assay.intervene.sweep import Sweep, sweep
from assay.model.load import load
from assay.task.metrics import METRICS
from tests.intervene.naive_cases import KINDS, bench_of, make, text_task
from tests.intervene.sweep_cases import by_edits, by_hooks, prompt_bench
from tests.model.tiny import build, tiny_tokenizer
from tests.naive import hooks

SOME = ("input", "a0.h1", "a0.h3", "m0", "a1.h2", "m1")
DTYPES = (torch.float32, torch.float64)


def check(got: Sweep, wanted: tuple[np.ndarray, np.ndarray], bench: Workbench) -> None:
    """Per scored token, as a share of the logits' RMS (or of what is measured, where a token moves further)."""
    tolerance = 1e-5 if bench.model.dtype == torch.float32 else 1e-10
    rms = float(bench.model.forward(bench.task.tokens).square().mean().sqrt())
    for found, plain in zip((got.loss, got.kl), wanted, strict=True):
        assert float(np.abs(plain).max()) > 0.01
        np.testing.assert_allclose(found / got.count, plain / got.count, rtol=tolerance, atol=tolerance * rms)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_with_the_loss_at_all_positions(kind, dtype):
    bench = bench_of(kind, dtype)
    positions = (0, 7, -1, None)
    wanted = by_edits(bench, "resample_joint", SOME, positions)
    check(sweep(bench, "resample_joint", SOME, positions), wanted, bench)
    # groups of one row and few components
    check(sweep(bench, "resample_joint", SOME, positions, memory=1 << 14), wanted, bench)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_with_the_loss_at_the_end_of_prompts_of_several_lengths(kind, dtype, reverse):
    bench = prompt_bench(kind, dtype)
    positions = (2, "subject", -2, -1, None)
    wanted = by_edits(bench, "counterfactual", SOME, positions, reverse)
    got = sweep(bench, "counterfactual", SOME, positions, reverse=reverse)
    check(got, wanted, bench)
    assert got.positions == positions
    assert got.components == SOME
    check(sweep(bench, "counterfactual", SOME, positions, reverse=reverse, memory=1 << 13), wanted, bench)


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_ablation(ablation, dtype):
    bench = prompt_bench("qwen3", dtype)
    names = ("a0.h2", "m0") if ablation == "optimal" else (*SOME, "a1", "r1", "r2")
    if ablation == "noise":
        names = SOME
    wanted = by_edits(bench, ablation, names, (3, None))
    check(sweep(bench, ablation, names, (3, None)), wanted, bench)


@pytest.mark.parametrize("kind", KINDS)
def test_hooks_on_the_librarys_model_give_the_same(kind):
    dtype = torch.float64 if kind == "gpt2" else torch.float32  # the library rounds norms and rotary angles
    bench, (_, network) = prompt_bench(kind, dtype), make(kind, dtype)
    task = bench.task
    names = ("a0.h1", "m0", "a1.h2", "m1")
    fill = hooks.values(network, task.counterfactual, list(names))
    fill["input"] = hooks.stream(network, task.counterfactual, 0)
    columns = np.stack([np.full(len(task), 4), task.columns["subject"], task.last])
    got = sweep(bench, "counterfactual", fill, (4, "subject", -1))
    check(got, by_hooks(network, bench, fill, columns), bench)


def test_every_column_is_swept_where_none_is_named():
    bench = prompt_bench("llama", torch.float64)
    got = sweep(bench, "mean")
    assert got.positions == tuple(range(int(bench.task.last.max()) + 1))
    assert got.components == bench.model.components
    shortest = tuple(range(int(bench.task.last.min()) + 1))
    some = sweep(bench, "mean", positions=shortest)
    np.testing.assert_allclose(got.loss[:, : len(shortest)], some.loss, atol=1e-12)
    for row, last in enumerate(bench.task.last):
        assert not got.kl[:, last + 1 :, row].any()
        assert got.kl[0, last, row] > 0


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric(metric):
    pair = METRICS[metric].answers == 2
    bench = prompt_bench("llama", torch.float64) if pair else bench_of("llama", torch.float64)
    bench = Workbench(Runner(bench.model, replace(bench.task, metric=METRICS[metric])), 5)
    wanted = by_edits(bench, "resample_joint", SOME, (1, -1))
    check(sweep(bench, "resample_joint", SOME, (1, -1)), wanted, bench)


def test_probabilities_too_small_for_float32_are_not_lost():
    network = build("gpt2").float()
    with torch.no_grad():
        network.transformer.ln_f.weight *= 60
    model = load(network, tokenizer=tiny_tokenizer())
    bench = Workbench(Runner(model, text_task(model)), 5)
    wanted = by_edits(bench, "resample_joint", ("input", "m1"), (1, None))
    assert wanted[1].max() > 500
    got = sweep(bench, "resample_joint", ("input", "m1"), (1, None))
    for found, plain in zip((got.loss, got.kl), wanted, strict=True):
        np.testing.assert_allclose(found, plain, rtol=1e-4, atol=1e-2)


def test_before_fill_and_own_value_differ_nothing_is_run_and_nothing_changes():
    bench = prompt_bench("gpt2", torch.float32)
    task = bench.task
    tokens = task.counterfactual.clone()
    tokens[:, :5] = task.tokens[:, :5]
    task = replace(task, counterfactual=tokens)
    bench = Workbench(Runner(bench.model, task), 5)
    changed = (tokens != task.tokens).int().argmax(1).numpy()
    got = sweep(bench, "counterfactual")
    for row, column in enumerate(changed):
        assert column >= 5
        assert not got.kl[:, :column, row].any()
        assert got.kl[0, column, row] > 0
    before = bench.runner.forwards
    sweep(bench, "counterfactual", positions=range(5))
    assert bench.runner.forwards - before == 2 * len(task)  # its own run and the donors'


def test_cost_grows_with_the_question():
    bench = prompt_bench("llama", torch.float32)

    def passes(names: list[str], positions: list[int]) -> float:
        before = bench.runner.forwards
        sweep(bench, "zero", names, positions)
        return bench.runner.forwards - before - len(bench.task)

    assert passes(["a1.h0", "a1.h1", "m1"], [0, 1, 2]) == 0
    assert 0 < passes(["m0"], [-1]) <= passes(["m0"], [-2]) / 2
    assert passes(["m0"], [-1]) * 2 == pytest.approx(passes(["input"], [-1]))


def test_shapes_follow_from_memory_and_the_same_arguments_give_the_same_bytes():
    bench = bench_of("qwen3", torch.float32)
    runs = [sweep(bench, "noise", SOME, memory=memory) for memory in (1 << 28, 1 << 28, 1 << 18, 1 << 12)]
    assert runs[0].loss.tobytes() == runs[1].loss.tobytes()
    for run in runs[2:]:
        np.testing.assert_allclose(run.kl, runs[0].kl, rtol=1e-5, atol=1e-5)


def test_sums_by_document_and_some_rows():
    bench = bench_of("gpt2", torch.float64)
    whole = sweep(bench, "mean", ("m0", "a1.h0"), (1, None))
    summed = whole.by_document()
    for index, document in enumerate(summed.document):
        own = whole.document == document
        np.testing.assert_allclose(summed.loss[..., index], whole.loss[..., own].sum(-1))
        assert summed.count[index] == whole.count[own].sum()
    np.testing.assert_allclose(whole.mean("kl"), whole.kl.sum(-1) / bench.task.count)
    some = sweep(bench, "mean", ("m0", "a1.h0"), (1, None), rows=np.array([3, 1]))
    np.testing.assert_allclose(some.loss, whole.loss[..., [3, 1]], atol=1e-12)
    np.testing.assert_allclose(some.clean_loss, whole.clean_loss[[3, 1]], atol=1e-12)


def test_the_loss_of_a_reversed_sweep_is_less_that_of_the_donors_run():
    bench = prompt_bench("gpt2", torch.float64)
    got = sweep(bench, "counterfactual", ("input",), (None,), reverse=True)
    # with all of its input the model is itself again
    np.testing.assert_allclose(got.base_loss + got.loss[0, 0], got.clean_loss, atol=1e-10)
    assert got.base_kl.min() > 0.01
    np.testing.assert_allclose(got.kl, 0, atol=1e-10)


def test_what_cannot_be_swept_is_said():
    bench = prompt_bench("gpt2", torch.float32)
    with pytest.raises(ComponentError, match=r"'m0\.n3' cannot be swept over positions"):
        sweep(bench, "zero", ["m0.n3"])
    with pytest.raises(ComponentError, match="'m0@3' cannot be swept"):
        sweep(bench, "zero", ["m0@3"])
    with pytest.raises(ComponentError, match="'m0' is named twice"):
        sweep(bench, "zero", ["m0", "m0"])
    with pytest.raises(ComponentError, match="at least one component"):
        sweep(bench, "zero", [])
    with pytest.raises(TaskError, match="reversed only where every fill comes from one run"):
        sweep(bench, "zero", reverse=True)
    with pytest.raises(TaskError, match="has no column 'subjekt'; did you mean 'subject'"):
        sweep(bench, "zero", positions=["subjekt"])
    frozen = Workbench(bench.runner, 5, frozen_norm=True)
    with pytest.raises(TaskError, match="'frozen_norm' and 'refit' do not apply"):
        sweep(frozen, "zero")
