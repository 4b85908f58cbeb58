"""The circuit engine agrees with the truth of planted programs: their circuits suffice, and needed edges are needed."""

from __future__ import annotations

import numpy as np
import pytest

from assay.intervene.circuits.engine import Circuits
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.runner import Runner
from assay.planted.program_truth import ABLATIONS
from assay.planted.worlds import world
from tests.planted.test_compiled_world import NAMES


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("name", NAMES)
def test_engine_finds_planted_edges_true(name: str, ablation: str) -> None:
    case, found, rows = world(name), world(name).truth(ablation), np.arange(12)
    edges = case.model.edges
    batch = Circuits(PlanContext(Runner(case.model, case.task(n=12, seed=3))), ablation).batch(rows)
    sufficient = [np.ones(len(edges), dtype=bool), edges.mask(found.edges), *map(edges.mask, found.circuits)]
    less_one = ~np.eye(len(edges), dtype=bool)
    probabilities = batch.logits(np.concatenate([np.stack(sufficient), less_one])).softmax(-1)
    change = (probabilities - probabilities[:1]).abs().amax((1, 2)).numpy()
    assert change[: len(sufficient)].max() < 1e-3
    assert edges.names(change[len(sufficient) :] > 0.01) == found.labelled("needed")
