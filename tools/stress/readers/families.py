"""Families of models: the file is read, held against what was measured, and losses are placed on its curve."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from assay.measure.compute import compute as computing
from assay.measure.compute.family import load_endpoints, load_family
from assay.stats.bootstrap import Resamples
from tools.stress import mutate
from tools.stress.reader import FileReader, Seed

DOCUMENTS, TOKENS = 6, 100


def endpoints() -> list[dict]:
    """Four sizes at four budgets, whose losses fall with compute."""
    found = []
    for parameters in (10_000, 30_000, 100_000, 300_000):
        for tokens in (10**6, 10**7, 10**8, 10**9):
            flops = 6.0 * parameters * tokens
            loss = 2 + 50 * flops**-0.1
            documents = {f"d{i}": [loss * TOKENS * (1 + 0.01 * i), TOKENS] for i in range(DOCUMENTS)}
            found.append({"model": f"n{parameters}", "parameters": parameters, "tokens": tokens, "flops": flops}
                         | {"documents": documents})  # fmt: skip
    return found


def seeds(folder: Path) -> list[Seed]:
    computing.LAW_DRAWS = 1  # a hundred fits of the law beside the curve take seconds
    members = [{**one, "documents": {"test": one["documents"]}} for one in endpoints()[:4]]
    return [
        Seed("family.json", json.dumps({"name": "planted", "members": endpoints()}).encode()),
        Seed("endpoints.json", json.dumps(members).encode()),
    ]


def read(path: Path) -> None:
    if path.name == "endpoints.json":
        load_endpoints(path, "n10000", 10_000)
        return
    name, found = load_family(path)
    names, counts = [f"d{i}" for i in range(DOCUMENTS)], np.full(DOCUMENTS, float(TOKENS))
    levels = {"model": 4.0, "explained": 4.5, "floor": 5.5}
    columns = {what: np.linspace(level, level * 1.05, DOCUMENTS) * TOKENS for what, level in levels.items()}
    loss = computing.LossSums(names, counts, **columns)
    computing.compute(name, found, loss, Resamples(DOCUMENTS, draws=20)).to_json()


FAMILIES = FileReader(seeds, read, mutate.as_json)
