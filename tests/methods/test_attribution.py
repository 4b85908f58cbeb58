"""Attribution over edges equals gradients of soft masks in the circuit engine, and plain copies of the stream."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from assay.errors import TaskError
from assay.intervene.circuits.engine import CircuitBatch, Circuits
from assay.intervene.circuits.reader_gradients import forward, reader_gradients
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.runner import Runner
from assay.methods.attribution import attribution, gim, saliency
from assay.methods.integrated_attribution import integrated_attribution
from assay.model.load import load
from assay.model.transformer import Model
from assay.task.metrics import metric_of
from assay.task.task import Task
from tests.intervene.naive_cases import KINDS, bench_of, prompt_task, sentences
from tests.model.tiny import build, tiny_tokenizer
from tests.naive import edge_gradients as naive

EXACT = {torch.float32: 1e-5, torch.float64: 1e-9}
SMALL = 1 << 16  # so few bytes that every row is a batch of its own


@cache
def circuits_of(kind: str, dtype: torch.dtype, ablation: str = "resample_joint", frozen: bool = False) -> Circuits:
    workbench = bench_of(kind, dtype, ablation == "counterfactual")
    if frozen:
        workbench = PlanContext(workbench.runner, seed=5, frozen_norm=True)
    return Circuits(workbench, ablation)


def everything(circuits: Circuits) -> CircuitBatch:
    return circuits.batch(np.arange(len(circuits.workbench.task.tokens)))


def items_loss(circuits: Circuits, logits: Tensor) -> Tensor:
    """The mean loss of logits at the items, by the plain formula."""
    task = circuits.workbench.task
    items = task.items(np.arange(len(task.tokens)))
    whole = logits.new_zeros(*task.tokens.shape, logits.shape[-1])
    whole = whole.index_put((torch.from_numpy(items.row), torch.from_numpy(items.position - 1)), logits)
    return naive.loss(task, whole)


def mask_gradient(circuits: Circuits, share: float = 1.0) -> np.ndarray:
    """How the loss rises when an edge's own value gives way to its fill, where all edges carry this share."""
    masks = torch.full((1, len(circuits.edges)), share, dtype=circuits.model.dtype, requires_grad=True)
    loss = items_loss(circuits, everything(circuits).logits(masks)[0])
    return -torch.autograd.grad(loss, masks)[0][0].double().numpy()


def fills_of(circuits: Circuits) -> Tensor:
    """[writers, rows, pos, d_model] what each writes in the model's own run less the engine's difference."""
    with torch.no_grad():
        own = torch.stack(naive.forward(circuits.model, circuits.workbench.task.tokens)[1])
    return own - everything(circuits).deltas()


def assert_same(got: np.ndarray | None, wanted: np.ndarray, tolerance: float) -> None:
    assert got is not None
    assert np.abs(wanted).max() > 1e-3
    assert np.abs(got - wanted).max() / np.abs(wanted).max() < tolerance


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_attribution_equals_the_gradient_of_soft_masks(kind, dtype):
    ablations = ("resample_joint", "mean", "counterfactual") if dtype == torch.float64 else ("counterfactual",)
    for ablation in ablations:
        circuits = circuits_of(kind, dtype, ablation)
        wanted, before = mask_gradient(circuits), circuits.workbench.runner.forwards
        batch = everything(circuits)
        fill = circuits.workbench.runner.forwards - before
        found = attribution(circuits)
        assert_same(found.signed, wanted, EXACT[dtype])
        np.testing.assert_array_equal(found.scores, np.abs(found.signed))
        assert found.passes == pytest.approx(fill + 2 * len(batch.rows))  # the fill, one forward and one backward pass


@pytest.mark.parametrize("kind", ["gpt2", "qwen3"])
def test_attribution_with_frozen_norms_equals_the_gradient_of_soft_masks(kind):
    circuits = circuits_of(kind, torch.float64, "mean", frozen=True)
    found = attribution(circuits)
    assert_same(found.signed, mask_gradient(circuits), 1e-9)
    free = attribution(circuits_of(kind, torch.float64, "mean"))
    assert np.abs(free.scores - found.scores).max() > 1e-3 * found.scores.max()


@pytest.mark.parametrize("kind", KINDS)
def test_gim_equals_plain_copies_with_a_changed_backward_pass(kind):
    circuits = circuits_of(kind, torch.float64, "counterfactual" if kind == "gpt2" else "resample_joint")
    wanted = naive.scores(circuits.workbench.task, circuits.model, fills_of(circuits), at=[{}], soft=True)
    found, plain = gim(circuits), attribution(circuits)
    assert_same(found.signed, circuits.edges.flat(wanted.numpy()), 1e-9)
    assert np.abs(found.scores - plain.scores).max() > 0.1 * plain.scores.max()
    assert found.passes == plain.passes


def test_batches_of_rows_change_nothing():
    circuits = circuits_of("llama", torch.float64)
    for method in (attribution, gim, integrated_attribution):
        assert_same(method(circuits, memory=SMALL).signed, method(circuits).signed, 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_plain_copies_agree_with_the_engine_and_with_steps_along_the_input(kind):
    circuits = circuits_of(kind, torch.float64, "counterfactual" if kind == "gpt2" else "resample_joint")
    task, model, fills = circuits.workbench.task, circuits.model, fills_of(circuits)
    own = model.embed(task.tokens)
    plain = naive.scores(task, model, fills, at=[{}])
    assert_same(circuits.edges.flat(plain.numpy()), mask_gradient(circuits), 1e-9)
    for rule, kind_of_loss, along in (("midpoint", "task", (1 / 6, 0.5, 5 / 6)), ("left", "kl", (0, 1 / 3, 2 / 3))):
        at = [{0: fills[0] + share * (own - fills[0])} for share in along]
        wanted = circuits.edges.flat(naive.scores(task, model, fills, at=at, kind=kind_of_loss).numpy())
        found = integrated_attribution(circuits, steps=3, rule=rule, loss=kind_of_loss, check=False)
        assert_same(found.signed, wanted, 1e-9)


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("kind", ["gpt2", "parallel", "qwen3"])
def test_steps_along_activations_equal_plain_copies(kind, each):
    circuits = circuits_of(kind, torch.float64)
    task, model, fills = circuits.workbench.task, circuits.model, fills_of(circuits)
    with torch.no_grad():
        own = torch.stack(naive.forward(model, task.tokens)[1])
    names = circuits.edges.writers
    groups = {name: [i] for i, name in enumerate(names)}
    if not each:
        groups = {}
        for place, name in enumerate(names):
            groups.setdefault(name.split(".")[0], []).append(place)
    wanted = torch.zeros(len(circuits.edges.readers), len(names), dtype=torch.float64)
    for writers in groups.values():
        at = [{w: fills[w] + share * (own[w] - fills[w]) for w in writers} for share in (0.25, 0.75)]
        wanted += naive.scores(task, model, fills, at=at, writers=writers)
    found = integrated_attribution(circuits, along="activations", steps=2, each=each)
    assert_same(found.signed, circuits.edges.flat(wanted.numpy()), 1e-9)
    assert list(found.completeness) == list(groups)
    for name, writers in groups.items():  # what the sums tend to: the group's own ablation
        logits, _ = naive.forward(model, task.tokens, given={w: fills[w] for w in writers})
        rise = float(naive.loss(task, logits) - naive.loss(task, naive.forward(model, task.tokens)[0]))
        assert found.completeness[name][1] == pytest.approx(rise, abs=1e-9)


def test_sums_over_the_edges_out_of_a_part_tend_to_what_filling_it_costs():
    circuits = circuits_of("gpt2", torch.float64)
    few, many = (integrated_attribution(circuits, steps=steps).completeness["input"] for steps in (2, 200))
    assert abs(many[0] - many[1]) < 1e-3 * abs(many[1])
    assert abs(many[0] - many[1]) < abs(few[0] - few[1])
    found = integrated_attribution(circuits, along="activations", steps=100).completeness
    assert set(found) == {"input", "a0", "m0", "a1", "m1"}
    for total, rise in found.values():
        assert total == pytest.approx(rise, rel=1e-2, abs=1e-4)
    at_model = attribution(circuits).signed
    assert abs(at_model[circuits.edges.ends(np.arange(len(circuits.edges)))[1] == 0].sum() - many[1]) > 0.01


def test_queries_keys_values_and_mlps_share_out_the_gradient_of_the_stream():
    """No copies are kept, yet the parts that are mapped back add up to what the fused stream itself has."""
    circuits = circuits_of("qwen3", torch.float64)
    batch = everything(circuits)
    run = forward(batch, batch.model.embed(batch.tokens).unsqueeze(0))
    loss = run.logits.square().mean()
    (whole,) = torch.autograd.grad(loss, run.streams[0, 0], retain_graph=True)
    total = torch.zeros_like(whole[0])
    for _, gradient in reader_gradients(run, loss):
        if gradient.ndim == 4:
            total += gradient.sum(0)
        else:
            total[batch.items.where] += gradient[0]
    torch.testing.assert_close(total, whole[0], rtol=1e-10, atol=1e-12)


@cache
def one_layer() -> Circuits:
    network = build("gpt2", layers=1, d_mlp=None)
    model = load(network, tokenizer=tiny_tokenizer(50))
    assert isinstance(model, Model)
    return Circuits(PlanContext(Runner(model, prompt_task(model)), seed=5, frozen_norm=True), "counterfactual")


def test_attribution_is_exact_where_the_model_is_linear_in_an_edge():
    """One layer of attention, frozen norms, a logit difference: linear in what values and logits read."""
    circuits = one_layer()
    signed = attribution(circuits).signed
    assert signed is not None
    batch, count = everything(circuits), len(circuits.edges)
    without = ~np.eye(count, dtype=bool)
    own = items_loss(circuits, batch.logits(np.ones((1, count), dtype=bool))[0])
    rise = np.array([float(items_loss(circuits, batch.logits(mask[None])[0]) - own) for mask in without])
    linear = np.array([name.endswith(("<v>", "logits")) for name in circuits.edges])
    np.testing.assert_allclose(signed[linear], rise[linear], rtol=1e-8, atol=1e-10)
    assert np.abs(signed[~linear] - rise[~linear]).max() > 1e-4


def test_a_head_that_writes_nothing_scores_nothing():
    network = build("llama")
    with torch.no_grad():
        network.model.layers[0].self_attn.o_proj.weight[:, 8:16] = 0  # head 1
    model = load(network, tokenizer=tiny_tokenizer(50))
    task = Task.text(model, texts=list(sentences(3, 0, 14)), reference=list(sentences(8, 1, 14)))
    circuits = Circuits(PlanContext(Runner(model, task)), "mean")
    silent = np.array([n.startswith("a0.h1->") or n.endswith("->a0.h1<q>") for n in circuits.edges])
    for found in (attribution(circuits), integrated_attribution(circuits, steps=2), saliency(circuits)):
        assert silent.any()
        assert (found.scores[silent] == 0).all()
        assert (found.scores[~silent] > 0).mean() > 0.9


def test_saliency_is_gradient_times_input():
    circuits = circuits_of("neox", torch.float64)
    task, model = circuits.workbench.task, circuits.model
    wanted = naive.scores(task, model, torch.zeros_like(fills_of(circuits)), at=[{}])
    assert_same(saliency(circuits).signed, circuits.edges.flat(wanted.numpy()), 1e-9)


def test_losses_without_a_gradient_are_refused():
    circuits = circuits_of("llama", torch.float32)
    with pytest.raises(TaskError, match="own run is zero"):
        attribution(circuits, loss="kl")
    with pytest.raises(TaskError, match="own run is zero"):
        integrated_attribution(circuits, loss="kl", steps=1, rule="right")
    with pytest.raises(TaskError, match="'inputs'"):
        integrated_attribution(circuits, along="input")
    with pytest.raises(TaskError, match="steps=0"):
        integrated_attribution(circuits, steps=0)
    model = circuits.model
    task = Task.text(
        model, texts=list(sentences(3, 0, 14)), reference=list(sentences(8, 1, 14)), metric=metric_of("accuracy")
    )
    counted = Circuits(PlanContext(Runner(model, task)), "mean")
    with pytest.raises(TaskError, match="'accuracy' has no gradient"):
        attribution(counted)
    assert integrated_attribution(counted, loss="kl", steps=2).scores.max() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_steps_along_masks_are_gradients_of_soft_masks_with_equal_shares(kind):
    for frozen in (False, True) if kind == "gpt2" else (False,):
        circuits = circuits_of(kind, torch.float64, "counterfactual" if kind == "gpt2" else "mean", frozen)
        for rule, shares in (("midpoint", (1 / 6, 0.5, 5 / 6)), ("ends", (0, 0.5, 1))):
            wanted = np.mean([mask_gradient(circuits, share) for share in shares], axis=0)
            found = integrated_attribution(circuits, along="masks", steps=3, rule=rule, check=False)
            assert_same(found.signed, wanted, 1e-9)
            small = integrated_attribution(circuits, along="masks", steps=3, rule=rule, check=False, memory=SMALL)
            assert_same(small.signed, wanted, 1e-9)


def test_scores_along_masks_add_up_to_the_cost_of_cutting_every_edge():
    circuits = circuits_of("llama", torch.float64)
    none = items_loss(circuits, everything(circuits).logits(np.zeros((1, len(circuits.edges)), dtype=bool))[0])
    whole = items_loss(circuits, everything(circuits).logits(np.ones((1, len(circuits.edges)), dtype=bool))[0])
    found = integrated_attribution(circuits, along="masks", steps=200)
    assert found.signed is not None
    assert found.completeness["edges"] == pytest.approx((found.signed.sum(), float(none - whole)), abs=1e-9)
    assert found.signed.sum() == pytest.approx(float(none - whole), rel=1e-3)
