"""Circuits and edge scores of EAP-IG, MIB and auto-circuit: what they keep, and what they are refused for."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from assay.errors import ClaimError
from assay.explanations import Circuit
from assay.explanations.circuit.files import parse
from assay.explanations.circuit.writing import write_circuit
from tests.model.tiny import tiny


def all_scores(model, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=len(model.edges)).astype(np.float32)


def best(values: np.ndarray, keep: int) -> set[int]:
    return set(np.argsort(-np.abs(values), kind="stable")[:keep].tolist())


def kept(circuit: Circuit, model) -> set[int]:
    """Its edges, whether or not they lead anywhere."""
    assert circuit.file is not None
    return set(np.flatnonzero(circuit.file.resolve(model).edges.anywhere).tolist())


def matrix_file(path: Path, data: dict) -> None:
    """The .pt form of an EAP-IG dictionary: every writer against every reader, in the order of its own nodes."""
    writers = [name for name in data["nodes"] if name != "logits"]
    layers, heads = data["cfg"]["n_layers"], data["cfg"]["n_heads"]
    readers = []
    for layer in range(layers):
        readers += [f"a{layer}.h{head}<{part}>" for part in "qkv" for head in range(heads)] + [f"m{layer}"]
    readers.append("logits")
    scores, inside = torch.zeros(len(writers), len(readers)), torch.zeros(len(writers), len(readers), dtype=torch.bool)
    for name, edge in data["edges"].items():
        writer, reader = name.split("->")
        place = writers.index(writer), readers.index(reader)
        scores[place], inside[place] = edge["score"], edge["in_graph"]
    nodes = torch.tensor([data["nodes"][name]["in_graph"] for name in writers])
    torch.save(
        {"cfg": data["cfg"], "src_nodes": writers, "dst_nodes": readers, "edges_scores": scores,
         "edges_in_graph": inside, "nodes_in_graph": nodes},
        path,
    )  # fmt: skip


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox"])
def test_files_and_graphs_of_eap_ig_are_the_same_circuit(tmp_path: Path, family: str):
    model = tiny(family)
    mask, values = np.random.default_rng(0).random(len(model.edges)) < 0.4, all_scores(model)
    mask[model.edges.number("input->logits")[0]] = True
    path = write_circuit(tmp_path / "graph.json", model, mask, form="eap-ig", scores=values)
    data = json.loads(path.read_text())
    matrix_file(tmp_path / "graph.pt", data)
    graph = SimpleNamespace(
        cfg=data["cfg"],
        nodes={name: SimpleNamespace(**node) for name, node in data["nodes"].items()},
        edges={name: SimpleNamespace(**edge) for name, edge in data["edges"].items()},
        to_json=None,
    )
    for source in (path, tmp_path / "graph.pt", graph, data):
        assert kept(Circuit.read(source), model) == set(np.flatnonzero(mask).tolist())
        np.testing.assert_allclose(Circuit.read(source).resolve(model).scores, values, rtol=1e-6)


@pytest.mark.parametrize("form", ["eap-ig", "assay"])
def test_the_best_edges_are_kept_whatever_the_file_keeps(tmp_path: Path, form: str):
    model = tiny("gpt2")
    values, none = all_scores(model), np.zeros(len(model.edges), dtype=bool)
    none[0] = form == "assay"  # a compact file keeps something
    path = write_circuit(tmp_path / "c.json", model, none, form=form, scores=values)
    for keep in (1, 7, len(values)):
        assert parse(path, keep).kept == keep
        assert kept(Circuit.read(path, keep), model) == best(values, keep)


def prune_scores(model, values: np.ndarray, positions: int = 0) -> dict[str, torch.Tensor]:
    """auto-circuit's dictionary for one value an edge, or one an edge and position."""
    shape = model.config
    writers = list(model.edges.writers)
    out: dict[str, torch.Tensor] = {}
    lead = (positions,) if positions else ()
    for layer in range(shape.layers):
        first = 1 + layer * (shape.heads + 1)
        for part in "qkv":
            out[f"blocks.{layer}.hook_{part}_input"] = torch.zeros(*lead, shape.heads, first)
        out[f"blocks.{layer}.hook_mlp_in"] = torch.zeros(*lead, first + shape.heads)
    out[f"blocks.{shape.layers - 1}.hook_resid_post"] = torch.zeros(*lead, len(writers))
    for number, name in enumerate(model.edges):
        writer, reader = name.split("->")
        source = writers.index(writer)
        if reader == "logits":
            out[f"blocks.{shape.layers - 1}.hook_resid_post"][..., source] = torch.tensor(values[number])
        elif reader.startswith("m"):
            out[f"blocks.{reader[1:]}.hook_mlp_in"][..., source] = torch.tensor(values[number])
        else:
            layer, head, part = reader[1:].replace(".h", " ").replace("<", " ").replace(">", "").split()
            out[f"blocks.{layer}.hook_{part}_input"][..., int(head), source] = torch.tensor(values[number])
    return out


def test_scores_of_auto_circuit_are_those_of_the_edges_that_they_name():
    model = tiny("gpt2")
    values = all_scores(model)
    scores = prune_scores(model, values)
    found = Circuit.read(scores, keep=9)
    assert kept(found, model) == best(values, 9)
    np.testing.assert_array_equal(found.file.resolve(model).scores, values)
    as_mask = {key: value.abs() > 1 for key, value in scores.items()}
    assert kept(Circuit.read(as_mask), model) == set(np.flatnonzero(np.abs(values) > 1).tolist())


def test_scores_of_auto_circuit_by_position_keep_edges_there():
    model = tiny("gpt2")
    values = np.random.default_rng(3).normal(size=(len(model.edges), 4)).astype(np.float32)
    found = Circuit.read(prune_scores(model, values, positions=4), keep=20).file.resolve(model).edges
    columns = [found.positions.index(position) for position in range(4)]
    order = np.argsort(-np.abs(values), axis=None)[:20]
    assert set(zip(*np.nonzero(found.kept[:, columns]), strict=True)) == set(
        zip(*np.unravel_index(order, values.shape), strict=True)
    )


def test_edge_names_with_scores_or_flags_are_circuits(tmp_path: Path):
    model = tiny("gpt2")
    values = {"input->m0": 0.5, "m0->logits": torch.tensor(-2.0), "a0.h1->logits": np.float32(0.1)}
    assert [model.edges[i] for i in sorted(kept(Circuit.read(values, keep=2), model))] == ["input->m0", "m0->logits"]
    assert kept(Circuit.read({"input->logits": True, "input->m0": False}), model) == {
        model.edges.number("input->logits")[0]
    }
    (tmp_path / "scores.json").write_text(json.dumps({"input->m0": 0.5, "m0->logits": 2}))
    assert len(kept(Circuit.read(tmp_path / "scores.json", keep=2), model)) == 2


def test_what_is_no_circuit_is_refused_in_one_sentence(tmp_path: Path):
    model = tiny("gpt2")
    scores = prune_scores(model, all_scores(model))
    torn = {**scores, "blocks.0.hook_mlp_in": torch.zeros(2, 3)}
    torch.save({"cfg": {}, "src_nodes": []}, tmp_path / "some.pt")
    (tmp_path / "torn.pt").write_bytes(b"torn")
    for source, keep, message in (
        (
            scores,
            None,
            "'<dict>' is empty: none of its .* edges is in the graph; 'keep' says how many of the best",
        ),
        (scores, 10**6, "1,000,000 edges are to be kept of the circuit file '<dict>', and it scores "),
        ({"input->m0": True}, 1, "1 edges are to be kept of the circuit file '<dict>', and it scores none"),
        (torn, 3, r"scores of the shape \(2, 3\) for 'blocks.0.hook_mlp_in', which do not fit the others"),
        (
            {"blocks.0.hook_mlp_in": torch.zeros(3)},
            1,
            "scores no heads; those of auto-circuit are of a model patch",
        ),
        (
            {"m0": 1.0},
            1,
            "has the key 'm0', which is neither an edge such as 'a0.h1->m1' nor a reader of auto",
        ),
        ({}, 1, "is an empty dictionary"),
        (3, None, "<int> is a int; a circuit is a file, a graph of EAP-IG or a dictionary"),
        (tmp_path / "some.pt", None, "has no 'dst_nodes', as .pt files of EAP-IG have"),
        (tmp_path / "torn.pt", None, "cannot be read as a .pt file of plain tensors"),
        ({"input->m0": float("nan")}, 1, "gives the edge 'input->m0' the score nan, not a number"),
    ):
        with pytest.raises(ClaimError, match=message) as refusal:
            Circuit.read(source, keep)
        assert "\n" not in str(refusal.value)
    with pytest.raises(ClaimError, match=r"is not one of .*: 'a9.h0->logits'"):
        Circuit.read({"a9.h0->logits": True}).mask(model)


def test_a_submission_to_mib_scores_every_edge_and_is_read_back(tmp_path: Path):
    for family in ("gpt2", "llama"):  # grouped heads too: each has an edge of its own there
        model = tiny(family)
        values = np.abs(all_scores(model))
        write_circuit(tmp_path / "found.json", model, values > 1, scores=values)
        circuit = Circuit.read(tmp_path / "found.json")
        path = circuit.submit(tmp_path / family, model, task="ioi", name="gpt2")
        assert path == tmp_path / family / "ioi_gpt2" / "importances.json"
        data = json.loads(path.read_text())
        shape = model.config
        assert sum("<" in name for name in data["edges"]) == sum(
            3 * shape.heads * (1 + layer * (shape.heads + 1)) for layer in range(shape.layers)
        )
        assert all(set(edge) == {"score", "in_graph"} for edge in data["edges"].values())
        assert {"n_layers", "n_heads", "d_model", "parallel_attn_mlp"} <= set(data["cfg"])
        np.testing.assert_allclose(Circuit.read(path).resolve(model).scores, values, rtol=1e-6)
    with pytest.raises(ClaimError, match="MIB has no task 'iio'; did you mean 'ioi'"):
        circuit.submit(tmp_path, model, task="iio", name="gpt2")
    with pytest.raises(ClaimError, match="MIB has no model 'gpt-2'; did you mean 'gpt2'"):
        circuit.submit(tmp_path, model, task="ioi", name="gpt-2")
    with pytest.raises(ClaimError, match="MIB takes a score for every edge, and this circuit has none"):
        Circuit(["input->logits"]).submit(tmp_path, model, task="ioi", name="gpt2")


def test_a_circuit_without_scores_is_written_as_its_edges_against_the_others(tmp_path: Path):
    model = tiny("gpt2")
    Circuit(["input->m0", "m0->logits"]).write(tmp_path / "c.json", model, form="eap-ig")
    assert kept(Circuit.read(tmp_path / "c.json", keep=2), model) == kept(Circuit.read(tmp_path / "c.json"), model)
