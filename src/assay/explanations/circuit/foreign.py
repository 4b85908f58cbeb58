"""Circuits and edge scores of other tools, as the dictionary that EAP-IG writes to JSON (`partial`: it need not name
every edge): its graphs in memory and in .pt files, auto-circuit's dictionaries of scores, plain ones of edge names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from assay.errors import ClaimError, nearest
from assay.store import inputs

Data = dict[str, Any]
_HOOK = re.compile(r"blocks\.(\d+)\.hook_(?:(q|k|v)_input|(mlp_in)|(resid_post))")  # auto-circuit's readers
_FIELDS = ("cfg", "src_nodes", "dst_nodes", "edges_scores", "edges_in_graph")  # of EAP-IG's .pt files


def dictionary(source: Any, name: str) -> Data:
    """A circuit in memory.

    Args:
        source: a graph of EAP-IG; its dictionary, or one of ours; a dictionary of edge names and scores (or whether an
            edge is kept); one of auto-circuit, of module names and tensors.

    Raises:
        ClaimError: for what is none of these.
    """
    if not isinstance(source, Mapping):
        if all(hasattr(source, field) for field in ("cfg", "nodes", "edges")) and hasattr(source, "to_json"):
            return _graph(source)
        raise ClaimError(f"{name} is a {type(source).__name__}; a circuit is a file, a graph of EAP-IG or a dictionary")
    if not source:
        raise ClaimError(f"{name} is an empty dictionary; a circuit keeps at least one edge")
    if "edges" in source or "format" in source:
        return dict(source)
    if all(_HOOK.fullmatch(str(key)) for key in source):
        return _prune_scores(source, name)
    if all("->" in str(key) for key in source):
        edges = {str(key): _edge(value.item() if hasattr(value, "item") else value) for key, value in source.items()}
        return {"nodes": {}, "edges": edges, "partial": True}
    odd = next(key for key in source if "->" not in str(key) and not _HOOK.fullmatch(str(key)))
    raise ClaimError(
        f"{name} has the key {odd!r}, which is neither an edge such as 'a0.h1->m1' nor a reader of auto-circuit's such "
        "as 'blocks.1.hook_q_input'"
    )


def _edge(value: Any) -> Data:
    return {"in_graph": value} if isinstance(value, bool) else {"score": value, "in_graph": False}


def _graph(graph: Any) -> Data:
    return {
        "cfg": dict(graph.cfg),
        "nodes": {name: {"in_graph": bool(node.in_graph)} for name, node in graph.nodes.items()},
        "edges": {
            name: {"score": float(edge.score), "in_graph": bool(edge.in_graph)} for name, edge in graph.edges.items()
        },
    }


def _prune_scores(scores: Mapping[str, Any], name: str) -> Data:
    """auto-circuit's scores: of each reader, [heads, writers] or [writers], after positions where it has any.

    The writers are the embedding, and of each layer its heads and its MLP.
    """
    arrays = {
        key: np.asarray(value.detach().cpu() if hasattr(value, "detach") else value) for key, value in scores.items()
    }
    readers = {key: _HOOK.fullmatch(key) for key in arrays}
    layers = 1 + max(int(found[1]) for found in readers.values() if found)
    queries = next((array for key, array in arrays.items() if "_input" in key), None)
    if queries is None or queries.ndim not in (2, 3):
        raise ClaimError(f"{name} scores no heads; those of auto-circuit are of a model patched with separate_qkv=True")
    heads, positions = queries.shape[-2], queries.ndim == 3
    mlps = any(found and found[3] for found in readers.values())
    writers = ["input"]
    for layer in range(layers):
        writers += [*(f"a{layer}.h{head}" for head in range(heads)), *([f"m{layer}"] if mlps else [])]
    edges: dict[str, Data] = {}
    for key, found in readers.items():
        assert found is not None
        array, per_head = arrays[key], found[2] is not None
        if array.ndim != 1 + per_head + positions or array.shape[-1] > len(writers):
            raise ClaimError(f"{name} has scores of the shape {array.shape} for {key!r}, which do not fit the others")
        for place in np.ndindex(*array.shape):
            part = f"a{found[1]}.h{place[-2]}<{found[2]}>" if per_head else f"m{found[1]}" if found[3] else "logits"
            where = f"@{place[0]}" if positions else ""
            edges[f"{writers[place[-1]]}->{part}{where}"] = _edge(array[place].item())
    return {"cfg": {"n_layers": layers, "n_heads": heads}, "nodes": {}, "edges": edges, "partial": True}


def graph_file(path: str | Path, most: int) -> Data:
    """The graph in a .pt file of EAP-IG or MIB, read without running anything that is in it.

    Raises:
        ClaimError: for a file that is none.
    """
    import torch

    name = inputs.shown(path)
    with inputs.open_input(path, "the circuit file", ClaimError, most=most, like=[".pt"]) as file:
        try:
            data: Any = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as problem:  # broken bytes end in any error at all
            said = " ".join(str(problem).split())[:200]
            raise ClaimError(f"the circuit file {name} cannot be read as a .pt file of plain tensors: {said}") from None
    missing = [field for field in _FIELDS if not isinstance(data, dict) or field not in data]
    if missing:
        there = nearest(missing[0], data) if isinstance(data, dict) else ""
        raise ClaimError(f"the circuit file {name} has no {missing[0]!r}, as .pt files of EAP-IG have{there}")
    if data.get("neurons_in_graph") is not None:
        raise ClaimError(f"the circuit file {name} selects neurons; circuits here are of whole nodes")
    return {"cfg": dict(data["cfg"]), "nodes": {}, "edges": dict(_matrix(data, name))}


def _matrix(data: Data, name: str) -> Iterator[tuple[str, Data]]:
    """The edges of a matrix [writers, readers]; pairs that are no edge have a place in it too."""
    writers, readers = list(data["src_nodes"]), list(data["dst_nodes"])
    scores, kept = (np.asarray(data[field]) for field in _FIELDS[3:])
    if scores.shape != (len(writers), len(readers)) or kept.shape != scores.shape or kept.dtype != bool:
        raise ClaimError(
            f"the circuit file {name} has scores of shape {scores.shape} and edges of shape {kept.shape} for "
            f"{len(writers)} writers and {len(readers)} readers"
        )
    parallel = bool(dict(data["cfg"]).get("parallel_attn_mlp", False))

    def order(node: str) -> tuple[int, int]:
        found = re.match(r"([am])(\d{1,9})", node)
        if node in ("input", "logits") or found is None:
            return (-1, 0) if node == "input" else (10**9, 0)
        return int(found[2]), int(found[1] == "m" and not parallel)

    for i, writer in enumerate(writers):
        for j, reader in enumerate(readers):
            if order(writer) < order(reader):
                yield f"{writer}->{reader}", {"score": float(scores[i, j]), "in_graph": bool(kept[i, j])}
            elif kept[i, j]:
                raise ClaimError(f"the circuit file {name} keeps {writer!r} -> {reader!r}, which runs backwards")
