"""Circuit files as they are written: our compact form, and a name for each edge as EAP-IG and MIB have it."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from assay.errors import ClaimError, nearest
from assay.explanations.circuit.files import FORMAT, NUMBERS, VERSION, Resolved, ends, shape_of
from assay.model.edge_sets import EdgeSet
from assay.model.transformer import Model

INVERTED = "a circuit that is everything but other edges is not written; write those edges"


def write_circuit(
    path: str | Path,
    model: Model,
    circuit: EdgeSet | Bool[np.ndarray, "edges"],
    *,
    form: str = "assay",
    scores: np.ndarray | None = None,
    method: str | None = None,
    more: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a circuit of a model.

    Args:
        circuit: its edges, as a set or a mask over all edges.
        form: "assay": compact, with the model's fingerprint; "eap-ig": a name for each edge, as peers read it (edges to
            a group's keys or values are written for each of its heads).
        scores: one for every edge.
        method: the search that found it: a name of `assay find circuit --method`.
        more: further fields, for readers (compact form only).

    Raises:
        ClaimError: for what the form cannot hold.
    """
    edges = circuit if isinstance(circuit, EdgeSet) else EdgeSet.whole(np.asarray(circuit, dtype=bool))
    if edges.inverted:
        raise ClaimError(INVERTED)
    for what, found in (("mask", len(edges.kept)), ("scores", None if scores is None else len(scores))):
        if found not in (None, len(model.edges)):
            raise ClaimError(f"{what} of {found} edges cannot be written as a circuit of {len(model.edges)} edges")
    if form == "eap-ig":
        text = json.dumps(_names(model, edges, scores), ensure_ascii=False)
    elif form == "assay":
        text = json.dumps({**_numbers(model, edges, scores, method), **(more or {})}, ensure_ascii=False, indent=1)
    else:
        raise ClaimError(f"a circuit cannot be written as {form!r}" + nearest(form, ("assay", "eap-ig")))
    Path(path).write_text(text + "\n", encoding="utf-8")
    return Path(path)


MIB_TASKS = ("ioi", "mcqa", "arithmetic-addition", "arithmetic-subtraction", "arc-easy", "arc-challenge")
MIB_MODELS = ("gpt2", "qwen2.5", "gemma2", "llama3", "interpbench")


def submission(folder: str | Path, model: Model, circuit: Resolved, task: str, name: str) -> Path:
    """Writes edge scores as MIB's circuit track takes them; see `Circuit.submit`."""
    for what, given, valid in (("task", task, MIB_TASKS), ("model", name, MIB_MODELS)):
        if given not in valid:
            raise ClaimError(f"MIB has no {what} {given!r}" + nearest(given, valid))
    if circuit.scores is None:
        raise ClaimError(
            "MIB takes a score for every edge, and this circuit has none; give one of a search, such as the file "
            "circuit.json of `assay find circuit`"
        )
    place = Path(folder) / f"{task}_{name}"
    place.mkdir(parents=True, exist_ok=True)
    return write_circuit(place / "importances.json", model, circuit.edges, form="eap-ig", scores=circuit.scores)


def _numbers(model: Model, edges: EdgeSet, scores: np.ndarray | None, method: str | None) -> dict[str, Any]:
    kept: dict[str, Any] = {"numbers": [np.flatnonzero(column).tolist() for column in edges.kept.T]}
    if edges.count > NUMBERS:
        kept = {"bits": _packed(np.packbits(edges.kept.reshape(-1)).tobytes())}
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": {"name": model.name, "fingerprint": model.fingerprint, **shape_of(model)},
        "total": len(model.edges),
        "kept": edges.count,
        "positions": list(edges.positions),
        "edges": kept,
        "scores": None if scores is None else _packed(np.asarray(scores, dtype="<f4").tobytes()),
        "method": method,
    }


def _names(model: Model, edges: EdgeSet, scores: np.ndarray | None) -> dict[str, Any]:
    if edges.by_position:
        raise ClaimError("the form of EAP-IG has no positions; write the circuit in the form 'assay'")
    shape, every, mask = model.config, model.edges, edges.anywhere
    share = shape.heads // shape.kv_heads
    out: dict[str, Any] = {}
    touched = {"logits"} if mask.any() else set()
    for reader, offset in zip(every.readers, every.offsets, strict=False):
        names = [reader.name]
        if share > 1 and reader.part in ("k", "v"):
            heads = range(reader.index * share, (reader.index + 1) * share)
            names = [f"a{reader.layer}.h{head}<{reader.part}>" for head in heads]
        for place in range(reader.writers):
            number, writer = int(offset) + place, every.writers[place]
            for name in names:
                score = mask[number] if scores is None else scores[number]  # readers elsewhere need one
                out[f"{writer}->{name}"] = {"score": float(score), "in_graph": bool(mask[number])}
                touched |= {writer, ends(name)[0]} if mask[number] else set()
    cfg = {"n_layers": shape.layers, "n_heads": shape.heads, "parallel_attn_mlp": shape.parallel}
    nodes = {name: {"in_graph": name in touched} for name in (*every.writers, "logits")}
    return {"cfg": {**cfg, "d_model": shape.d_model}, "nodes": nodes, "edges": out}


def _packed(raw: bytes) -> str:
    return base64.b64encode(zlib.compress(raw, 9)).decode("ascii")
