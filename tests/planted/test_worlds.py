"""Every world has a name, a model, a task and a truth, and is opened by its name alone."""

from __future__ import annotations

import pytest

import assay
from assay.errors import ModelError
from assay.intervene.fill.spec import ABLATIONS
from assay.planted import worlds
from assay.planted.world import Truth
from assay.planted.worlds import world
from assay.stats.estimate import Undefined
from assay.testing import check_world


@pytest.mark.parametrize("name", [name for name in worlds.WORLDS if name not in ("sums_1", "sums_2")])
def test_every_world_keeps_the_protocol(name: str) -> None:
    check_world(name)
    found = world(name)
    assert (found.name, found.model.name) == (name, f"planted:{name}")
    assert assay.load(f"planted:{name}").fingerprint == found.model.fingerprint
    assert (found.model.config.layers, found.model.config.heads) == worlds.shape(name)
    assert len(found.task(n=5, seed=2).documents) == 5
    assert found.task(n=5).aligned
    for ablation in ABLATIONS:
        truth = found.truth(ablation)
        if isinstance(truth, Undefined):
            assert f"planted:{name}" in truth.reason
            assert repr(ablation) in truth.reason
            continue
        assert set(truth.nodes) <= set(found.model.components)
    assert isinstance(found.truth("noise"), Undefined)
    assert isinstance(found.truth("resample_joint"), Truth)


def test_a_world_is_opened_once() -> None:
    assert world("reversal") is world("reversal")


def test_a_truths_nodes_are_those_that_its_edges_come_from() -> None:
    truth = world("induction").truth("resample_joint")
    assert isinstance(truth, Truth)
    assert truth.nodes == ("a0.h0", "a1.h0")


def test_a_name_that_no_world_has() -> None:
    for opened in (world, assay.load):
        with pytest.raises(ModelError, match=r"unknown model 'planted:reversa'; did you mean 'planted:reversal'"):
            opened("planted:reversa")
