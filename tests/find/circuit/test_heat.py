"""The heat map of patching on a planted network: what matters lies where it was put."""

from __future__ import annotations

import numpy as np
import pytest

from assay.find.circuit.heat import heat
from assay.methods.patching import component_effects
from tests.methods.test_edge_methods import ABLATION, workbench


def test_what_matters_lies_where_it_was_put():
    found, _ = heat(workbench(), ABLATION)
    assert found is not None
    values = np.array(found.values)
    assert values.shape == (len(workbench().model.components), 7)  # the answer that follows is not read
    # the left cue stands at column 1, and is fetched to column 6, where the answer is said
    head = list(found.rows).index("a0.h0")
    assert values[head].argmax() == 6
    assert values[head, 6] == pytest.approx(component_effects(workbench(), ABLATION)["a0.h0"], rel=1e-3)
    assert values[list(found.rows).index("input"), 1] > 0.01
    low, high = np.array(found.low), np.array(found.high)
    assert ((low >= 0) & (low <= values) & (values <= high)).all()
    assert (high - low).max() > 0.001  # documents differ
