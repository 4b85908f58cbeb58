"""A world of known features: rates, families and what comes together are as they are said, and the right dictionary is
found to be right."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from assay.planted.feature_world import CHILD, FAMILY, FeatureWorld, recovered_features

WORLD = FeatureWorld(features=256, d=32, active=6.0)
VALUES, AMOUNTS = WORLD.draw(20_000, 0)
ON = (AMOUNTS > 0).numpy()


def test_values_are_what_the_features_say():
    assert torch.allclose(VALUES, AMOUNTS @ WORLD.directions, atol=1e-5)
    assert torch.allclose(WORLD.directions.norm(dim=-1), torch.ones(256))
    again = WORLD.draw(20_000, 0)
    assert torch.equal(again[0], VALUES)
    assert not torch.equal(WORLD.draw(20_000, 1)[0], VALUES)


def test_rates_and_families():
    assert ON.sum(1).mean() == pytest.approx(6.0, rel=0.05)
    families = ON.reshape(len(ON), -1, FAMILY)
    root, children = families[:, :, 0], families[:, :, 1:].sum(2)
    assert np.allclose(root.mean(0), WORLD.rate, atol=0.015)
    assert children.max() == 1
    assert not children[~root].any()
    assert children[root].mean() == pytest.approx(CHILD, abs=0.02)
    assert WORLD.within(8) is None
    assert WORLD.within(11) == 8


def test_some_come_together():
    root = ON.reshape(len(ON), -1, FAMILY)[:, :, 0].astype(float)
    often = np.argsort(-WORLD.rate)[:12]

    def largest(on: np.ndarray) -> float:
        apart = np.corrcoef(on[:, often].T) - np.eye(12)
        return float(np.abs(apart).max())

    alone = FeatureWorld(features=256, d=32, active=6.0, together=0.0).draw(20_000, 0)[1]
    assert largest(root) > 0.1
    assert largest((alone > 0).numpy().reshape(20_000, -1, FAMILY)[:, :, 0].astype(float)) < 0.05


def test_the_right_dictionary_is_found_to_be_right():
    order = torch.randperm(256, generator=torch.Generator().manual_seed(0))
    found = recovered_features(WORLD, 3 * WORLD.directions[order], AMOUNTS)
    assert (found.share, found.roots, found.often) == (1.0, 1.0, 1.0)
    assert found.matched[order.numpy()].tolist() == list(range(256))
    half = recovered_features(WORLD, WORLD.directions[::2], AMOUNTS)
    assert half.share == 0.5
    wrong = torch.randn(256, 32, generator=torch.Generator().manual_seed(1))
    assert recovered_features(WORLD, wrong, AMOUNTS).share < 0.02
    assert recovered_features(WORLD, -WORLD.directions, AMOUNTS).share < 0.02
