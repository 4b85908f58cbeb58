"""Circuit files of both forms, read and held against a model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from assay.explanations.circuit.files import parse
from assay.explanations.circuit.writing import write_circuit
from assay.model.edge_sets import EdgeSet
from tools.stress import mutate
from tools.stress.models import zoo
from tools.stress.reader import FileReader, Seed


def seeds(folder: Path) -> list[Seed]:
    model, rng = zoo(), np.random.default_rng(0)
    few, many = rng.random(len(model.edges)) < 0.02, rng.random((len(model.edges), 2)) < 0.3
    scores = rng.normal(size=len(model.edges)).astype(np.float32)
    write_circuit(folder / "few.json", model, few, scores=scores, method="attribution")
    write_circuit(folder / "bits.json", model, EdgeSet(many, (None, -1)))
    write_circuit(folder / "eap.json", model, few, form="eap-ig", scores=scores)
    names = ("few.json", "bits.json", "eap.json")
    return [Seed(name, (folder / name).read_bytes()) for name in names] + [_small(folder)]


def _small(folder: Path) -> Seed:
    """EAP-IG's form with four edges, whose mutations fall on names and flags; it is of no model."""
    nodes = {name: {"in_graph": True} for name in ("input", "a0.h1", "m0", "logits")}
    edges = ("input->a0.h1<q>", "a0.h1->m0", "m0->logits", "input->logits")
    data = {"cfg": {"n_layers": 1, "n_heads": 2}, "nodes": nodes}
    return Seed(
        "small.json", json.dumps(data | {"edges": {e: {"in_graph": True, "score": 0.5} for e in edges}}).encode()
    )


def read(path: Path) -> None:
    found = parse(path)
    assert found.kept > 0
    str((found.size, found.method))
    if path.name != "small.json":
        found.resolve(zoo())


CIRCUITS = FileReader(seeds, read, mutate.as_json)
