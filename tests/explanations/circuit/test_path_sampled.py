"""Random circuits: every edge lies on a path, sizes and layers are those of the given circuit, draws are keyed."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from assay.errors import ComponentError
from assay.explanations.circuit.path_sampled import different, layer_profile, misplaced, path_sampled
from assay.model.edges import Edges
from assay.model.weights import Shape

SHAPES = {
    "plain": {},
    "grouped": {"kv_heads": 2},
    "parallel": {"parallel": True},
    "attention only": {"d_mlp": (None, None, None)},
}


@cache
def edges_of(name: str) -> Edges:
    given = {"layers": 3, "d_model": 16, "heads": 4, "kv_heads": 4, "d_head": 4, "d_mlp": (8, 8, 8), "vocab": 9,
             "context": 8, "parallel": False, "norm": "layer", **SHAPES[name]}  # fmt: skip
    return Edges(Shape(**given))


def circuit(edges: Edges, count: int, seed: int = 0) -> np.ndarray:
    """The first so many edges of a random order, pruned."""
    mask = np.zeros(len(edges), dtype=bool)
    mask[np.random.default_rng(seed).permutation(len(edges))[:count]] = True
    return edges.pruned(mask)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_every_edge_is_live_and_layers_are_those_of_the_circuit(name, share):
    edges = edges_of(name)
    like = circuit(edges, int(share * len(edges)))
    assert like.sum() > 5
    drawn = path_sampled(edges, like, 12, seed=3)
    np.testing.assert_array_equal(edges.pruned(drawn), drawn)
    assert (np.abs(drawn.sum(1) - like.sum()) <= 0.02 * like.sum()).all()
    np.testing.assert_array_equal(layer_profile(edges, drawn).sum(1), drawn.sum(1))
    assert misplaced(edges, like, drawn).max() <= 0.05
    assert len(np.unique(drawn, axis=0)) == (12 if share < 1 else 1)


def test_what_dangles_does_not_count():
    edges = edges_of("plain")
    like = circuit(edges, 40)
    loose = like.copy()
    others = np.flatnonzero(~like)
    idle = [e for e in others if not edges.pruned(like | (np.arange(len(edges)) == e))[e]]
    loose[idle[0]] = True
    assert edges.pruned(loose).sum() == like.sum() < loose.sum()
    np.testing.assert_array_equal(path_sampled(edges, loose, 3, seed=1), path_sampled(edges, like, 3, seed=1))


def test_the_smallest_circuits_are_the_only_ones():
    edges = edges_of("plain")
    one = edges.mask(["input->logits"])
    np.testing.assert_array_equal(path_sampled(edges, one, 4), np.stack([one] * 4))
    two = edges.mask(["input->a1.h2<v>", "a1.h2->logits"])
    drawn = path_sampled(edges, two, 40, seed=2)
    names = {tuple(edges.names(mask)) for mask in drawn}
    assert all(
        (len(n) == 2 and n[0].startswith("input->a1.h")) or n == ("input->m1", "m1->logits") for n in names
    )  # layer 1 reads, logits read: nothing else has this profile
    assert len(names) > 8


def test_draws_are_keyed_one_by_one():
    edges = edges_of("plain")
    like = circuit(edges, 60)
    many = path_sampled(edges, like, 6, seed=5)
    np.testing.assert_array_equal(path_sampled(edges, like, 2, seed=5), many[:2])
    assert not np.array_equal(path_sampled(edges, like, 6, seed=6), many)


def test_a_uniform_draw_has_hardly_a_path_where_these_have_one():
    edges = edges_of("plain")
    like = edges.pruned(edges.mask(["input->a0.h1<v>", "a0.h1->m1", "m1->a2.h0<k>", "a2.h0->logits", "input->m1"]))
    count = int(like.sum())
    uniform = np.zeros((200, len(edges)), dtype=bool)
    for i, row in enumerate(uniform):
        row[np.random.default_rng(i).permutation(len(edges))[:count]] = True
    assert edges.pruned(uniform).any(1).mean() < 0.2
    assert edges.pruned(path_sampled(edges, like, 20)).sum(1).min() == count


def test_positions_are_dealt_out_among_the_edges_of_a_layer():
    edges = edges_of("plain")
    whole = circuit(edges, 60)
    like = np.zeros((len(edges), 5), dtype=bool)
    like[np.flatnonzero(whole), np.arange(whole.sum()) % 5] = True
    drawn = path_sampled(edges, like, 3, seed=1)
    assert drawn.shape == (3, len(edges), 5)
    assert (drawn.any(2).sum(1) == whole.sum()).all()
    layers = np.array([reader.layer for reader in edges.readers])[edges.ends(np.arange(len(edges)))[0]]
    for layer in range(4):
        np.testing.assert_array_equal(drawn[:, layers == layer].sum((1, 2)), [like[layers == layer].sum()] * 3)


def test_a_mask_of_another_model_is_refused():
    with pytest.raises(ComponentError, match="a circuit of 7 edges was given; this model has"):
        path_sampled(edges_of("plain"), np.ones(7, dtype=bool), 1)


def test_controls_all_differ_and_none_is_the_circuit_itself():
    edges = edges_of("plain")
    assert len(different(edges, edges.mask(["input->logits"]), 50)) == 0  # there is but one path of one edge
    like = path_sampled(edges, edges.mask(["input->logits"]) | edges.mask(["input->m0", "m0->logits"]), 1)[0]
    found = different(edges, like, 30, seed=2)
    assert len({mask.tobytes() for mask in found}) == len(found) > 0
    assert not (found == edges.pruned(like)).all(1).any()
    np.testing.assert_array_equal(different(edges, like, 2, seed=2), found[:2])
