"""Circuits through the engine equal `tests/naive/edges.py`, which runs one node after another on the library model."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from assay.errors import ComponentError
from assay.explanations import Keep, Remove
from assay.intervene.circuits.engine import CircuitBatch, Circuits
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.spec import ABLATIONS, FITTED
from assay.intervene.plan import Plan
from assay.intervene.runner import Runner
from assay.model.load import load
from assay.task.task import Task
from tests.intervene.naive_cases import (
    DEEPER,
    KINDS,
    assert_close,
    bench_of,
    make,
    naive_fill,
    prompt_task,
    text_task,
    tolerance_of,
)
from tests.naive import edges as naive

ROWS = np.array([0, 2, 3])  # the middle one is shorter
SINGLE, DOUBLE = torch.float32, torch.float64


@cache
def circuits_of(kind: str, dtype: torch.dtype, ablation: str, frozen: bool = False, draw: int = 0) -> Circuits:
    workbench = bench_of(kind, dtype, ablation == "counterfactual")
    if frozen:
        model, _ = make(kind, dtype)
        workbench = PlanContext(Runner(model, text_task(model)), workbench.seed, frozen_norm=True)
    return Circuits(workbench, ablation, draw)


@cache
def batch_of(kind: str, dtype: torch.dtype, ablation: str, frozen: bool = False, draw: int = 0) -> CircuitBatch:
    return circuits_of(kind, dtype, ablation, frozen, draw).batch(ROWS)


@cache
def fills_of(kind: str, dtype: torch.dtype, ablation: str, draw: int = 0) -> dict[str, Tensor]:
    names = tuple(make(kind, dtype)[0].components)
    fills = naive_fill(kind, dtype, names, ablation, draw)
    return {name: value[torch.from_numpy(ROWS)] if value.ndim == 3 else value for name, value in fills.items()}


def plainly(
    kind: str,
    dtype: torch.dtype,
    ablation: str,
    mask: np.ndarray | Tensor,
    *,
    frozen: bool = False,
    draw: int = 0,
) -> Tensor:
    """Logits of the scored items of one circuit; the mask [edges] or [edges, pos] is turned into names of edges."""
    model, network = make(kind, dtype)
    workbench = bench_of(kind, dtype, ablation == "counterfactual")
    live: Mapping[str, Any] = dict(zip(model.edges, torch.as_tensor(mask), strict=True))
    tokens = workbench.task.tokens[torch.from_numpy(ROWS)]
    out = naive.run(network, tokens, live, fills_of(kind, dtype, ablation, draw), frozen=frozen)
    return workbench.task.gather(out, workbench.task.items(ROWS))


def agree(kind: str, dtype: torch.dtype, ablation: str, masks: np.ndarray, got: Tensor | None = None, **more: Any):
    """The engine's logits of these circuits, after each was compared with the plain run."""
    batch = batch_of(kind, dtype, ablation, **more)
    with torch.no_grad():
        got = batch.logits(masks) if got is None else got
    tolerance = tolerance_of(kind, dtype, rounded=ablation in ("mean", "mean_position"))
    assert len(got) == len(masks)
    for one, mask in zip(got, masks, strict=True):
        assert_close(one, plainly(kind, dtype, ablation, mask, **more), tolerance)
    return got


def random_masks(kind: str, *key: object, densities: tuple[float, ...] = (0.02, 0.3, 0.9), pos: int = 0) -> np.ndarray:
    edges = make(kind, SINGLE)[0].edges
    rng = np.random.default_rng([len(kind), *(sum(str(k).encode()) for k in key)])
    shape = (len(edges), pos) if pos else (len(edges),)
    return np.stack([rng.random(shape) < density for density in densities])


CASES = [
    (ablation, kind, dtype)
    for ablation in ABLATIONS
    for kind, dtype in [*((kind, SINGLE) for kind in KINDS), ("gpt2", DOUBLE)]
    if ablation not in FITTED or (kind in ("gpt2", "qwen3") and dtype == SINGLE)  # gradient steps take time
]


@pytest.mark.parametrize(("ablation", "kind", "dtype"), CASES)
def test_circuits_at_every_density_equal_plain_hooks(ablation, kind, dtype):
    masks = random_masks(kind, ablation, dtype)
    beside = masks[2].copy()
    beside[np.flatnonzero(make(kind, dtype)[0].edges.pruned(masks[2]))[-1]] = False  # one edge, to the logits
    got = agree(kind, dtype, ablation, np.stack([*masks, beside]))
    assert not torch.allclose(got[2], got[3], atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ablation", ["zero", "resample_independent", "counterfactual"])
def test_circuits_with_positions_equal_plain_hooks(kind, ablation):
    pos = batch_of(kind, DOUBLE, ablation).tokens.shape[1]
    masks = random_masks(kind, ablation, "positions", pos=pos)
    masks = np.stack([*masks, np.repeat(random_masks(kind, ablation)[1][:, None], pos, 1)])
    got = agree(kind, DOUBLE, ablation, masks)
    with torch.no_grad():
        same = batch_of(kind, DOUBLE, ablation).logits(random_masks(kind, ablation))
    assert_close(got[3], same[1], 1e-10)


@pytest.mark.parametrize("kind", DEEPER)
@pytest.mark.parametrize("ablation", ["mean", "resample_joint"])
def test_three_layers_biases_and_layers_without_mlp_equal_plain_hooks(kind, ablation):
    agree(kind, DOUBLE, ablation, random_masks(kind, ablation, densities=(0.05, 0.3, 0.9)))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_edge_equals_plain_hooks(kind):
    """One edge of every sort of writer, sort of reader and pair of layers is cut from the model, or is the only way."""
    edges = make(kind, DOUBLE)[0].edges
    sorts: dict[tuple, list[int]] = {}
    for number, (reader, writer) in enumerate(zip(*edges.ends(np.arange(len(edges))), strict=True)):
        to, source = edges.readers[reader], edges.writers[writer]
        sorts.setdefault((source[0], source[1:2], to.part, to.layer), []).append(number)
    rng = np.random.default_rng(3)
    chosen = [int(rng.choice(numbers)) for numbers in sorts.values()]
    masks = np.ones((len(sorts), len(edges)), dtype=bool)
    masks[np.arange(len(sorts)), chosen] = False
    batch = batch_of(kind, DOUBLE, "resample_independent")
    with torch.no_grad():
        whole, none = batch.logits(np.stack([masks[0] | True, masks[0] & False]))
        for one in agree(kind, DOUBLE, "resample_independent", masks):
            assert not torch.allclose(one, whole, atol=1e-6)
        for number in chosen:  # and it alone leads from `input` to `logits`, run alone
            path = np.zeros((1, len(edges)), dtype=bool)
            reader, writer = (int(end[0]) for end in edges.ends(np.array([number])))
            if writer:
                path[0, edges.offsets[rng.choice(np.flatnonzero(edges.node_of[:, writer]))]] = True
            path[0, number] = True
            if reader < len(edges.readers) - 1:
                path[0, edges.offsets[-2] + rng.choice(np.flatnonzero(edges.node_of[reader]))] = True
            (one,) = agree(kind, DOUBLE, "resample_independent", path, batch.logits(path))
            assert not torch.allclose(one, none, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ablation", ["zero", "resample_joint"])
def test_norms_frozen_at_the_clean_runs_scales_equal_plain_hooks(kind, ablation):
    masks = random_masks(kind, "frozen")
    last = np.zeros_like(masks[:1])
    last[0, batch_of(kind, DOUBLE, ablation).edges.offsets[-2] :] = True  # nodes that read fills alone are read
    agree(kind, DOUBLE, ablation, last, frozen=True)
    got = agree(kind, DOUBLE, ablation, np.concatenate([masks, last]), frozen=True)
    with torch.no_grad():
        free = batch_of(kind, DOUBLE, ablation).logits(np.concatenate([masks, last]))
    for one, other in zip(got[1:], free[1:], strict=True):
        assert not torch.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("kind", [*KINDS, *DEEPER])
def test_all_edges_are_the_model_and_no_edges_are_fills_alone(kind):
    model, network = make(kind, SINGLE)
    workbench, every = bench_of(kind, SINGLE), np.arange(5)
    both = np.stack([np.ones(len(model.edges), dtype=bool), np.zeros(len(model.edges), dtype=bool)])
    for ablation in ("mean", "resample_independent"):
        circuits = circuits_of(kind, SINGLE, ablation)
        with torch.no_grad():
            got = circuits.batch(every).logits(both)
            wanted = network(workbench.task.tokens).logits, workbench.runner.logits(circuits.plan, every)
        for one, whole in zip(got, wanted, strict=True):
            assert_close(one, workbench.task.gather(whole, workbench.task.items(every)), 1e-5)


@pytest.mark.parametrize("kind", [*KINDS, "deep"])
@pytest.mark.parametrize("ablation", ["mean_position", "resample_joint", "noise"])
def test_a_node_without_out_edges_is_ablated_and_kept_nodes_are_keep(kind, ablation):
    workbench, edges = bench_of(kind, DOUBLE), make(kind, DOUBLE)[0].edges
    items = workbench.task.items(ROWS)
    _, writer = edges.ends(np.arange(len(edges)))
    nodes = edges.writers[1:]
    kept = [nodes[:3], nodes[2:-1], nodes[-2:], ()]
    masks = [writer != place for place in range(1, len(edges.writers))] + [edges.node_edges(k) for k in kept]
    plans = [Remove([name]).plan(workbench, ablation) for name in nodes]
    plans += [Keep(k).plan(workbench, ablation) for k in kept]
    with torch.no_grad():
        got = batch_of(kind, DOUBLE, ablation).logits(np.stack(masks))
        for one, plan in zip(got, plans, strict=True):
            assert_close(one, workbench.task.gather(workbench.runner.logits(plan, ROWS), items), 1e-10)


@pytest.mark.parametrize(
    ("kind", "ablation"),
    [(kind, a) for kind in KINDS for a in ("resample_joint", "counterfactual")] + [("deep", "resample_joint")],
)
def test_pruning_changes_nothing_where_the_fill_is_one_run(kind, ablation):
    edges = make(kind, DOUBLE)[0].edges
    masks = random_masks(kind, ablation, densities=(0.03, 0.06, 0.12, 0.3))
    pruned = edges.pruned(masks)
    assert (pruned <= masks).all()
    assert (pruned != masks).any()
    batch = batch_of(kind, DOUBLE, ablation)
    with torch.no_grad():
        assert_close(batch.logits(pruned), batch.logits(masks), 1e-10)
    other = batch_of(kind, DOUBLE, "mean")
    with torch.no_grad():  # and with a fill that is none, a node that is reached by fills alone differs from its own
        assert not torch.allclose(other.logits(pruned), other.logits(masks), atol=1e-3)


@pytest.mark.parametrize("kind", ["gpt2", "qwen3", "parallel"])
def test_shares_between_own_value_and_fill_equal_plain_hooks(kind):
    batch = batch_of(kind, DOUBLE, "resample_independent")
    pos = batch.tokens.shape[1]
    generator = torch.Generator().manual_seed(1)
    for size in ((2, len(batch.edges)), (2, len(batch.edges), pos)):
        shares = torch.rand(size, generator=generator, dtype=DOUBLE) * 1.5 - 0.25
        for one, share in zip(batch.logits(shares), shares, strict=True):
            assert_close(one, plainly(kind, DOUBLE, "resample_independent", share), tolerance_of(kind, DOUBLE))
    hard = random_masks(kind, "soft")
    assert_close(batch.logits(torch.from_numpy(hard).to(DOUBLE)), batch.logits(hard), 1e-10)
    hard = random_masks(kind, "soft", pos=pos)
    assert_close(batch.logits(torch.from_numpy(hard).to(DOUBLE)), batch.logits(hard), 1e-10)


@pytest.mark.parametrize(("kind", "frozen"), [("gpt2", False), ("gpt2", True), ("scaled", False)])
def test_gradients_of_shares_are_finite_differences_of_plain_hooks(kind, frozen):
    batch = batch_of(kind, DOUBLE, "resample_independent", frozen=frozen)
    generator = torch.Generator().manual_seed(2)
    shares = torch.rand(2, len(batch.edges), generator=generator, dtype=DOUBLE).requires_grad_()
    weights = torch.randn(batch.logits(shares.detach()).shape[1:], generator=generator, dtype=DOUBLE)
    (gradient,) = torch.autograd.grad((batch.logits(shares) * weights).sum(), shares)
    assert bool(torch.isfinite(gradient).all())
    for variant, edge in np.random.default_rng(4).integers(0, [2, len(batch.edges)], (6, 2)):
        ends = []
        for step in (1e-5, -1e-5):
            moved = shares[variant].detach().clone()
            moved[edge] += step
            ends.append((plainly(kind, DOUBLE, "resample_independent", moved, frozen=frozen) * weights).sum())
        assert float(gradient[variant, edge]) == pytest.approx(float(ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("kind", ["gpt2", "qwen3", "parallel"])
def test_gradients_at_positions_are_finite_differences(kind):
    batch = batch_of(kind, DOUBLE, "zero")
    generator = torch.Generator().manual_seed(3)
    size = (1, len(batch.edges), batch.tokens.shape[1])
    shares = torch.rand(size, generator=generator, dtype=DOUBLE).requires_grad_()
    direction = torch.randn(size, generator=generator, dtype=DOUBLE)
    (gradient,) = torch.autograd.grad(batch.logits(shares).square().sum(), shares)
    with torch.no_grad():
        ends = [batch.logits(shares + step * direction).square().sum() for step in (1e-6, -1e-6)]
    assert float((gradient * direction).sum()) == pytest.approx(float(ends[0] - ends[1]) / 2e-6, rel=1e-5)


def steps(kind: str, start: bool, pos: int, seed: int) -> list[np.ndarray]:
    """Masks [edges, pos] that a search might visit one after another, four for every node of a few.

    The node is cut off, then what it reads changes unseen, then something else changes, then it is read again.
    """
    edges = make(kind, DOUBLE)[0].edges
    rng = np.random.default_rng(seed)
    reader, writer = edges.ends(np.arange(len(edges)))
    mask = np.full((len(edges), pos), start)
    out = []
    mlps = [place for place, name in enumerate(edges.writers) if name.startswith("m")]
    for turn in range(4):
        # nodes in the middle, which can be reached and can be read
        node = int(rng.choice(mlps[:-1]) if mlps and turn % 2 else rng.integers(1, len(edges.writers) * 2 // 3))
        for places, share in (
            (np.flatnonzero(writer == node), 0.0),
            (np.flatnonzero(edges.node_of[reader, node]), 0.5),
            (rng.choice(len(edges), 3, replace=False), 0.5),
            (np.flatnonzero((writer == node) | (writer > node) & (reader == len(edges.readers) - 1)), 0.8),
        ):
            mask = mask.copy()
            mask[places] = rng.random((len(places), 1 if rng.random() < 0.5 else pos)) < share
            out.append(mask)
    return out


@pytest.mark.parametrize("ablation", ["zero", "resample_joint", "mean_position"])
@pytest.mark.parametrize("start", [True, False], ids=["from the model", "from no edges"])
@pytest.mark.parametrize("kind", ["deep", "scaled", "parallel"])
@pytest.mark.parametrize("positions", [False, True], ids=["whole", "positions"])
def test_a_state_changed_step_by_step_is_the_final_circuit(kind, start, ablation, positions):
    batch = batch_of(kind, DOUBLE, ablation)
    state = deepcopy(batch.clean if start else batch.empty)
    pos = batch.tokens.shape[1] if positions else 1
    seed = sum(f"{kind}{start}{ablation}{positions}".encode())
    visited = steps(kind, start, pos, seed)
    stale = 0
    with torch.no_grad():
        for step, (mask, other) in enumerate(zip(visited, [*visited[1:], visited[0]], strict=True)):
            masks = np.stack([other, mask])  # the second of two candidates is taken
            masks = masks if positions and step % 5 < 4 else masks.any(-1)  # with positions, then without, and back
            got = batch.vary(state, batch.matrix(masks))
            assert_close(got.logits, batch.logits(masks), 1e-10)
            got.into(state, 1)
            stale += bool(state.stale.any())
            again = batch.vary(state, batch.matrix(masks[1:]))
            assert_close(again.logits, got.logits[1:], 1e-10)
    assert stale, "the walk never left anything out"
    final = masks[1:]
    agree(kind, DOUBLE, ablation, final, again.logits)


@pytest.mark.parametrize("kind", ["llama", "parallel"])
def test_only_what_matters_is_computed(kind):
    """Cutting edges to the logits costs nothing; edges that nothing leads on from cost nothing either."""
    circuits = circuits_of(kind, SINGLE, "zero")
    workbench, edges, batch = circuits.workbench, circuits.edges, circuits.batch(ROWS)
    _ = batch.clean, batch.empty
    last = np.ones((2, len(edges)), dtype=bool)
    last[0, -1] = last[1, -3:] = False
    loose = np.zeros((1, len(edges)), dtype=bool)
    loose[0, : edges.offsets[-2]] = True
    before = workbench.runner.forwards
    with torch.no_grad():
        batch.logits(last)
        batch.logits(loose)
        assert workbench.runner.forwards == before
        first = np.ones((1, len(edges)), dtype=bool)
        first[0, 0] = False
        batch.logits(first)
    assert before < workbench.runner.forwards <= before + len(ROWS)


def test_differences_are_clean_outputs_less_fills():
    for kind in ("gpt2", "qwen3"):
        batch = batch_of(kind, DOUBLE, "resample_joint")
        clean = batch.model.forward(batch.tokens)
        fill = batch.fills.streams[len(batch.edges.writers)]
        logits = batch.model.weights.unembedding(batch.model.weights.final_norm(fill + batch.deltas().sum(0)))
        assert batch.deltas().shape[0] == len(batch.edges.writers)
        assert_close(logits, clean, 1e-10)


def test_draws_differ_and_rows_do_not_depend_on_their_neighbours():
    masks = random_masks("llama", "draws")
    agree("llama", SINGLE, "resample_independent", masks, draw=1)
    circuits = circuits_of("llama", DOUBLE, "resample_independent")
    with torch.no_grad():
        whole, alone = circuits.batch(ROWS), circuits.batch(ROWS[1:2])
        ours = whole.logits(masks)[:, whole.items.where[0] == 1]
        assert_close(alone.logits(masks), ours, 1e-10)
        other = batch_of("llama", DOUBLE, "resample_independent", draw=1).logits(masks)
    assert not torch.allclose(other[0], whole.logits(masks)[0], atol=1e-3)


def test_scored_items_of_prompts_are_their_answers():
    circuits = circuits_of("qwen3", SINGLE, "counterfactual")
    rows = np.arange(len(circuits.workbench.task.tokens))
    with torch.no_grad():
        assert circuits.batch(rows).logits(random_masks("qwen3", "items")).shape == (3, len(rows), 50)


def test_what_has_no_edges_is_said():
    module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    task = Task.classify(module, torch.randn(20, 4), torch.arange(20) % 3)
    with pytest.raises(ComponentError, match="has no edges; circuits need a transformer"):
        Circuits(PlanContext(Runner(load(module), task)), "zero")
    model, _ = make("gpt2", SINGLE)
    with pytest.raises(ComponentError, match="'refit' does not apply to circuits"):
        Circuits(PlanContext(Runner(model, prompt_task(model)), refit=True), "zero")
    assert isinstance(circuits_of("gpt2", SINGLE, "zero").plan, Plan)
