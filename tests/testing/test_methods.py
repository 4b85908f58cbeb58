"""Assay's own searches, and one from outside, keep what a search promises; those that break a promise are refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from assay.methods.edge_scores import EdgeScores
from assay.methods.registry import EDGE_METHODS
from assay.testing import check_method


@pytest.mark.parametrize("name", EDGE_METHODS)
def test_searches_that_keep_every_promise(name):
    check_method(name)


def test_a_search_from_outside_by_its_name_and_by_itself(plugins):
    import scaled

    check_method("newest")
    check_method(scaled.newest)


def scores(circuits, **changed) -> EdgeScores:
    found = EdgeScores(np.zeros(len(circuits.edges)), "mine", {}, 0.0)
    for name, value in changed.items():  # past the checks of types that tests run under
        object.__setattr__(found, name, value)
    return found


counted = itertools.count()


def counting(circuits, rows, seed):
    return scores(circuits, scores=np.full(len(circuits.edges), float(next(counted))))


def changing(circuits, rows, seed):
    circuits.model.W_U.mul_(1.01)
    return scores(circuits)


@pytest.mark.parametrize(
    ("function", "promise"),
    [
        (lambda circuits, rows, seed: None, "it gives a finite score for every edge: the function gives None; wanted"),
        (lambda circuits, rows, seed: scores(circuits, scores=np.zeros(3)), "every edge: 3 scores for"),
        (lambda circuits: scores(circuits), "it gives a finite score for every edge: TypeError:"),
        (counting, "the same seed gives the same scores: they differ when it is run again"),
        (lambda circuits, rows, seed: scores(circuits, scores=np.zeros(len(circuits.edges) - 3 * (rows is not None))),
         "it searches on the rows that it is given"),
        (lambda circuits, rows, seed: scores(circuits, settings={"edges": circuits}), "what the record keeps of it is"),
        (lambda circuits, rows, seed: scores(circuits, passes=-1.0), "keeps of it is plain data: it took -1.0 passes"),
        (lambda circuits, rows, seed: scores(circuits, signed=np.zeros(2)), "'signed' has a number for every edge"),
        (changing, "it leaves the model as it was"),
    ],
)  # fmt: skip
def test_a_search_that_breaks_a_promise_is_refused(function, promise):
    with pytest.raises(AssertionError) as said:
        check_method(function)
    assert promise in str(said.value)
