"""Simple scores of edges against their definitions, written out edge by edge."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from assay.errors import ComponentError
from assay.intervene.circuits.engine import Circuits
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.runner import Runner
from assay.methods.activation_norm import activation_norm
from assay.methods.edge_methods import edge_scores
from assay.methods.information_flow import information_flow
from assay.methods.orders import first_layers, random_scores
from assay.methods.registry import METHODS
from assay.methods.weight_norm import weight_norm
from assay.model.load import load
from assay.task.task import Task
from tests.intervene.naive_cases import bench_of, sentences
from tests.model.tiny import build, tiny, tiny_tokenizer
from tests.naive import edge_gradients as naive


@cache
def circuits_of(kind: str, ablation: str = "resample_joint") -> Circuits:
    return Circuits(bench_of(kind, torch.float64), ablation)


def ends(edge: str) -> tuple[str, str]:
    writer, reader = edge.split("->")
    return writer, reader


def streams(circuits: Circuits) -> dict[str, torch.Tensor]:
    """What each reader reads in the model's own run, from the parts that were written."""
    model, task = circuits.model, circuits.workbench.task
    _, own = naive.forward(model, task.tokens)
    out = {}
    for reader in circuits.edges.readers:
        after = reader.part == "mlp" and not model.config.parallel
        biases = sum(model.attention_bias(layer) for layer in range(reader.layer + after))
        out[reader.name] = sum(own[: reader.writers]) + biases
    return out


def counted(circuits: Circuits, reader: str) -> torch.Tensor:
    """[rows, pos] which places count for a reader: real tokens, or those that predict a scored one."""
    task = circuits.workbench.task
    if reader != "logits":
        return task.real
    return torch.cat([task.scored[:, 1:], torch.zeros_like(task.scored[:, :1])], 1)


def test_first_layers_are_prefixes_of_the_ranking():
    edges = tiny("gpt2").edges
    order = [edges[int(i)] for i in first_layers(edges).best_first()]
    depth = lambda name: -1 if name == "input" else int(name[1])  # noqa: E731
    layer = [max(depth(w), -1 if r == "logits" else depth(r)) for w, r in map(ends, order)]
    assert layer == sorted(layer)
    assert order[0] == "input->logits"
    assert order.index("m0->logits") < min(i for i, name in enumerate(order) if "->a1" in name)


def test_random_scores_are_keyed():
    edges = tiny("gpt2").edges
    one = random_scores(edges, seed=1)
    np.testing.assert_array_equal(one.scores, random_scores(edges, seed=1).scores)
    assert (one.scores != random_scores(edges, seed=2).scores).any()
    assert (one.scores != random_scores(edges, seed=1, draw=1).scores).any()
    assert sorted(one.scores) == list(range(len(edges)))


@pytest.mark.parametrize("kind", ["gpt2", "qwen3", "parallel"])
def test_activation_norms_are_root_mean_squares_of_what_is_carried(kind):
    circuits = circuits_of(kind, "mean")
    model, seen, edges = circuits.model, streams(circuits), circuits.edges
    deltas = circuits.batch(np.arange(len(circuits.workbench.task.tokens))).deltas()
    sizes, read = activation_norm(circuits, of="written").scores, activation_norm(circuits, of="read").scores
    with torch.no_grad():
        for number in range(0, len(edges), 3):
            (place,), (writer,) = edges.ends(np.array([number]))
            reader = edges.readers[place]
            at = counted(circuits, reader.name)
            real = circuits.workbench.task.real
            wanted = deltas[writer][real].square().sum(-1).mean().sqrt()
            assert sizes[number] == pytest.approx(float(wanted), rel=1e-9)
            weights = model.weights.layers[min(reader.layer, model.config.layers - 1)]
            norm = {"mlp": weights.norm2, "logits": model.weights.final_norm}.get(reader.part, weights.norm1)
            y, x = seen[reader.name][at], deltas[writer][at]
            y, x = (y - y.mean(-1, keepdim=True), x - x.mean(-1, keepdim=True)) if norm.centred else (y, x)
            x = x / (y.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight
            if reader.part == "logits":
                got = x @ model.W_U
            elif reader.part == "mlp":
                got = x @ weights.up.weight.T
                got = got if weights.gate is None else torch.cat([got, x @ weights.gate.weight.T], -1)
            else:
                got = x @ model.weights.layers[reader.layer].W_in(reader.part)[reader.index]
            assert read[number] == pytest.approx(float(got.square().sum(-1).mean().sqrt()), rel=1e-9)


@pytest.mark.parametrize("kind", ["gpt2", "qwen3"])
def test_information_flow_routes_at_a_threshold_are_those_found_by_walking_down(kind):
    circuits = circuits_of(kind)
    edges, seen = circuits.edges, streams(circuits)
    with torch.no_grad():
        _, own = naive.forward(circuits.model, circuits.workbench.task.tokens)
    share = {}
    for reader in edges.readers:
        at = counted(circuits, reader.name)
        y = seen[reader.name][at]
        near = torch.stack([(y.abs().sum(-1) - (y - v[at]).abs().sum(-1)).clamp(min=0) for v in own[: reader.writers]])
        for writer, mean in zip(edges.writers, (near / near.sum(0)).nan_to_num().mean(1), strict=False):
            share[f"{writer}->{reader.name}"] = float(mean)
    scores = information_flow(circuits).scores
    assert 0 <= scores.min() < scores.max() <= 1
    for threshold in (0.01, 0.05, 0.1, 0.3):
        routes, wanted, front = set(), set(), ["logits"]
        while front:
            reader = front.pop()
            for name in (n for n in edges if ends(n)[1] == reader and share[n] >= threshold and n not in wanted):
                wanted.add(name)
                node = edges.node_of[:, edges.writers.index(ends(name)[0])]
                front += [edges.readers[i].name for i in np.flatnonzero(node)]
        routes = {name for name, value in zip(edges, scores, strict=True) if value >= threshold}
        assert routes == wanted
        assert threshold > 0.2 or wanted


@pytest.mark.parametrize(("kind", "through"), [("gpt2", "output"), ("qwen3", "output"), ("qwen3", "circuit")])
def test_weight_norms_are_norms_of_virtual_weights(kind, through):
    model = circuits_of(kind).model
    found = weight_norm(model, through=through, relative=True).scores
    plain = weight_norm(model, through=through).scores
    share, edges = model.config.heads // model.config.kv_heads, model.edges
    whole = through == "circuit"
    for number in range(0, len(edges), 2):
        (place,), (writer,) = edges.ends(np.array([number]))
        name, reader = edges.writers[writer], edges.readers[place]
        layer = 0 if name == "input" else int(name[1])
        if name == "input":
            W = model.W_E / len(model.W_E) ** 0.5
            if model.weights.positions is not None:
                W = torch.cat([W, model.weights.positions / len(model.weights.positions) ** 0.5])
        elif name[0] == "m":
            W = model.weights.layers[layer].down.weight.T
        else:
            head = int(name.split("h")[1])
            W = model.W_O(layer)[head]
            W = model.W_V(layer)[head // share] @ W if whole else W
        layer = min(reader.layer, model.config.layers - 1)
        weights, norm = model.weights.layers[layer], model.weights.layers[layer].norm1
        heads = range(reader.index * share, (reader.index + 1) * share)
        if reader.part == "logits":
            norm, R = model.weights.final_norm, model.W_U
        elif reader.part == "mlp":
            norm, R = weights.norm2, torch.cat([m.weight.T for m in (weights.up, weights.gate) if m is not None], 1)
        elif reader.part == "q":
            R = model.W_Q(layer)[reader.index]
            R = R @ model.W_K(layer)[reader.index // share].T if whole else R
        elif reader.part == "k":
            R = model.W_K(layer)[reader.index]
            R = torch.cat([R @ model.W_Q(layer)[h].T for h in heads], 1) if whole else R
        else:
            R = model.W_V(layer)[reader.index]
            R = torch.cat([R @ model.W_O(layer)[h] for h in heads], 1) if whole else R
        W = W - W.mean(-1, keepdim=True) if norm.centred else W
        R = norm.weight[:, None] * R
        assert plain[number] == pytest.approx(float((W @ R).norm()), rel=1e-9)
        R = R - R.mean(0) if norm.centred else R
    assert (found <= 1 + 1e-9).all()
    assert (found > 0).all()


def test_a_head_that_writes_nothing_is_last_in_every_score_that_looks():
    network = build("gpt2")
    with torch.no_grad():
        network.transformer.h[0].attn.c_proj.weight[8:16] = 0  # head 1
    model = load(network, tokenizer=tiny_tokenizer(50))
    task = Task.text(model, texts=list(sentences(3, 0, 14)), reference=list(sentences(8, 1, 14)))
    circuits = Circuits(PlanContext(Runner(model, task)), "mean")
    silent = np.array([name.startswith("a0.h1->") for name in circuits.edges])
    for name in (name for name, method in METHODS.items() if method.needs in ("passes", "weights")):
        found = edge_scores(name, circuits.workbench, circuits.ablation)
        assert (found.scores[silent] == 0).all(), name
        assert (found.scores[~silent] > 0).mean() > 0.5, name
        assert (found.passes > 0) == (METHODS[name].needs == "passes"), name
    with pytest.raises(ComponentError, match="'attribution'"):
        edge_scores("atribution", circuits.workbench, circuits.ablation)
    with pytest.raises(ComponentError, match="'read'"):
        activation_norm(circuits, of="reed")
    with pytest.raises(ComponentError, match="'output'"):
        weight_norm(model, through="outputs")
