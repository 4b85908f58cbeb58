"""Rankings of edges, circuits of given sizes from them, and searches that take another's order."""

from __future__ import annotations

import numpy as np
import pytest

from assay.errors import ComponentError
from assay.methods.edge_scores import EdgeScores, seeded
from assay.methods.edge_sizes import log_sizes, sized_circuits
from assay.methods.orders import first_layers, random_scores
from tests.model.tiny import tiny

EDGES = tiny("llama").edges


def of(scores: list[float], **more) -> EdgeScores:
    return EdgeScores(np.array(scores, dtype=np.float64), "given", {}, 0.0, **more)


def test_ties_are_broken_by_the_declared_order():
    scores = of([1, 2, 1, 2, 1])
    assert scores.best_first().tolist() == [1, 3, 0, 2, 4]
    assert scores.worst_first().tolist() == [4, 2, 0, 3, 1]
    assert scores.top(3).tolist() == [True, True, False, True, False]


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(ComponentError, match="1 of 2 edges"):
        of([1, np.nan])


def test_ranks_ignore_units():
    np.testing.assert_allclose(of([1, 2, 1, 2, 1]).ranks(), [0.25, 0.875, 0.25, 0.875, 0.25])


def test_a_search_is_seeded_by_another_methods_order():
    by = EdgeScores(np.array([3.0, 1.0, 2.0]), "first", {"a": 1}, 4.0)
    seen = []

    def search(order: np.ndarray) -> EdgeScores:
        seen.append(order.tolist())
        return EdgeScores(order.astype(np.float64), "second", {}, 10.0)

    found = seeded(search, by)
    assert seen == [[1, 2, 0]]
    assert found.method == "second, seeded by first"
    assert found.passes == 14
    assert found.settings["seeded_by"] == {"method": "first", "settings": {"a": 1}, "passes": 4.0}


@pytest.mark.parametrize("fill_up", [False, True])
@pytest.mark.parametrize("draw", range(3))
def test_circuits_of_one_ranking_are_pruned_nested_and_of_the_size_they_say(draw, fill_up):
    scores = random_scores(EDGES, draw=draw)
    found = sized_circuits(EDGES, scores, fill_up=fill_up)
    assert len(found.asked) >= 15
    assert found.asked[0] == 1
    assert found.asked[-1] == len(EDGES) == found.realised[-1]
    np.testing.assert_array_equal(found.realised, found.masks.sum(1))
    np.testing.assert_array_equal(EDGES.pruned(found.masks), found.masks)
    assert (found.masks[:-1] <= found.masks[1:]).all()
    for mask, taken in zip(found.masks, found.taken.tolist(), strict=True):
        assert (mask <= scores.top(taken)).all()
        np.testing.assert_array_equal(EDGES.pruned(scores.top(taken)), mask)


def test_a_size_that_is_filled_up_is_reached_with_as_few_edges_as_can_be():
    scores = random_scores(EDGES)
    sizes = np.array([3, 10, 30])
    plain, found = sized_circuits(EDGES, scores, sizes), sized_circuits(EDGES, scores, sizes, fill_up=True)
    assert (plain.realised < sizes).any()
    for size, taken, realised in zip(sizes, found.taken.tolist(), found.realised, strict=True):
        assert realised >= size
        assert EDGES.pruned(scores.top(taken - 1)).sum() < size


def test_the_first_edge_of_the_first_layers_is_a_circuit():
    found = sized_circuits(EDGES, first_layers(EDGES), np.array([1]))
    assert EDGES.names(found.masks[0]) == ["input->logits"]


def test_sizes_are_spaced_in_the_logarithm_and_checked():
    sizes = log_sizes(32_491)
    assert len(sizes) >= 20
    assert (sizes[0], sizes[-1]) == (1, 32_491)
    big = sizes[8:].astype(float)
    assert np.ptp(np.diff(np.log(big))) < 0.1
    with pytest.raises(ComponentError, match="of 10000 edges"):
        sized_circuits(EDGES, random_scores(EDGES), np.array([1, 10_000]))
    with pytest.raises(ComponentError, match="3 edges"):
        sized_circuits(EDGES, of([1, 2, 3]))
