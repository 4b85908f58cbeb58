"""The search for places finds the planted one, and says of another that it is none."""

from __future__ import annotations

import pytest

from assay.errors import ClaimError
from assay.explanations import Hypothesis
from assay.find.hypothesis.search import PlaceSearch
from assay.measure.controls.random_weights import randomised
from assay.stats.keyed import generator
from tests.explanations.hypothesis.test_scrub import PLACES, VARIABLES, workbench

OTHERS = Hypothesis(VARIABLES, {name: places for name, places in PLACES.items() if name != "u"})


def test_the_planted_place_moves_the_answer_and_no_other_does():
    search = PlaceSearch(workbench(), OTHERS, "u")
    found = {one.name: one.shift.value or 0.0 for one in search.rank(["a0.h0", "a0.h1", "a0.h2", "a0.h3"])}
    assert next(iter(found)) == "a0.h1"
    assert found["a0.h1"] > 1
    assert max(found[name] for name in ("a0.h0", "a0.h3")) < 0.1 * found["a0.h1"]
    planted, other = search.together(["a0.h1"]), search.together(["a0.h0"])
    assert (planted.plain.value, planted.perturbed.value) == (pytest.approx(1.0), pytest.approx(1.0))
    assert (other.plain.value or 0) < 0.2


def test_sources_agree_with_their_base_where_that_is_asked_for():
    search = PlaceSearch(workbench(), OTHERS, "u", agreeing=("v",))
    rows, (sources,) = search.values.rows, search.swaps.sources["u"]
    assert all(row["v"] == rows[other]["v"] for row, other in zip(rows, sources, strict=True))


def test_what_is_no_variable_is_refused_with_the_nearest():
    with pytest.raises(ClaimError, match="no variable 'totl' can be searched for; did you mean 'total'"):
        PlaceSearch(workbench(), OTHERS, "totl")


def test_a_search_is_ahead_of_a_twin_by_what_it_turns_more_often():
    """And of a variable whose values were put on other rows, within rows that agree on another one."""
    bench = workbench()
    claim = Hypothesis(VARIABLES, {"v": ["a0.h2"], "total": ["m1"]})
    search = PlaceSearch(bench, claim, "u")
    twin = PlaceSearch(type(bench)(randomised(bench.model, "drawn", 0), bench.task), claim, "u")
    less = search.ahead(["a0.h1"], twin, ["a0.h1"])
    shares = [one.together(["a0.h1"]).plain.value or 0.0 for one in (search, twin)]
    assert less.value == pytest.approx(shares[0] - shares[1])
    assert (less.low or 0) > 0.5
    values = search.values.permuted("u", generator(0, "test"), ("v",))
    pairs = [sorted((row["u"], row["v"]) for row in one.rows) for one in (values, search.values)]
    assert pairs[0] == pairs[1]
    assert [row["u"] for row in values.rows] != [row["u"] for row in search.values.rows]
    permuted = PlaceSearch(bench, claim, "u", values=values)
    assert (permuted.together(["a0.h1"]).plain.value or 0) < 0.6
