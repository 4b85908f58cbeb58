"""Small sets of places that screen off, in networks whose answer depends on exactly two heads."""

from __future__ import annotations

import numpy as np
import pytest

from assay.errors import ClaimError, ComponentError
from assay.find.screening.blanket import BlanketSearch, smallest
from assay.find.screening.determined import PARTS, STREAM, determined
from assay.intervene.screened import upstream
from tests.find.screening.gates import BOTH, bench


@pytest.mark.parametrize("kind", ["and", "xor"])
def test_two_heads_determine_all_and_all_others_nothing(kind: str):
    workbench = bench(kind)
    others = [name for name in upstream(workbench.model, "r1") if name not in BOTH]
    sets = {"both": BOTH, "left": BOTH[:1], "right": BOTH[1:], "others": others, "none": ()}
    found = determined(workbench, sets, "r1")
    assert float(found["both"].share) == pytest.approx(1, abs=1e-6)
    assert found["both"].nines.text.startswith(">7.")
    assert found["both"].nines.floor == PARTS
    for name in ("others", "none"):
        assert float(found[name].share) == pytest.approx(0, abs=1e-4)
        assert found[name].nines.shown == "0"
    for name in ("left", "right"):  # the other head is on in half of all rows, and AND of one that is on is the other
        value = float(found[name].share)
        assert 0.2 < value < 0.6 if kind == "and" else value < 0.2


def test_what_reads_the_heads_determines_all_at_a_later_cut():
    found = determined(bench("and"), {"m1": ["m1"], "both": BOTH, "stream": ["r2"]}, "r2")
    assert float(found["m1"].share) == pytest.approx(1, abs=1e-6)
    assert float(found["both"].share) == pytest.approx(0, abs=1e-3)  # the MLP that reads them is of another row
    assert float(found["stream"].share) == pytest.approx(1, abs=1e-6)
    assert found["stream"].nines.floor == STREAM
    assert found["m1"].nines.floor == PARTS


def test_intervals_cover_what_many_rows_give():
    many = float(determined(bench("and", 9, 500), {"left": BOTH[:1]}, "r1")["left"].share)
    found = [determined(bench("and", seed), {"left": BOTH[:1]}, "r1")["left"].share for seed in range(6)]
    assert sum(one.low < many < one.high for one in found if one.low is not None and one.high is not None) >= 5


def test_growing_finds_an_and_and_only_shrinking_an_xor():
    for kind, grown in (("and", 2), ("xor", 5)):
        search = BlanketSearch(bench(kind), "r1", draws=2)
        one, other = smallest(search.grow(), 0.999), smallest(search.shrink(), 0.999)
        assert one is not None
        assert other is not None
        assert (len(one.places), one.how) == (grown, "grown")
        assert (other.places, other.how) == (BOTH, "shrunk")
        kept = determined(bench(kind, 1), {"found": other.places}, "r1")["found"]  # on other rows
        assert float(kept.share) == pytest.approx(1, abs=1e-6)


def test_sets_and_passes_are_counted():
    workbench = bench("and", 2)
    before = workbench.runner.forwards
    search = BlanketSearch(workbench, "r1")
    path = search.shrink(until=0.9)
    count = len(search.candidates)
    assert [len(one.places) for one in path] == [*range(count, 0, -1)]
    # nothing, everything, and at each step one candidate less
    assert search.tried == 2 + sum(range(2, count + 1))
    assert search.passes == pytest.approx((workbench.runner.forwards - before) / len(workbench.task.tokens))
    assert search.passes < 2 * search.tried + 10  # donors are run once


def test_only_given_rows_and_candidates_are_searched():
    rows = np.arange(8)
    search = BlanketSearch(bench("and"), "r1", ["a0.h0", "a0.h2", "a0.h1@6"], rows=rows)
    found = smallest(search.grow(), 0.999)
    assert found is not None
    assert found.places == ("a0.h0", "a0.h1@6")  # the answer is given in the last column
    assert smallest(search.grow(), 1.1) is None
    assert all(len(some) == 2 for some in search.random(2, 5))
    assert search.random(2, 5) == search.random(2, 5)


def test_what_cannot_be_searched_is_one_sentence():
    with pytest.raises(ClaimError, match="no places are given that could screen off at 'r1'"):
        BlanketSearch(bench("and"), "r1", [])
    with pytest.raises(ComponentError, match="'m1' does not lie before the cut 'r1'"):
        BlanketSearch(bench("and"), "r1", ["m1"]).grow()
    with pytest.raises(ClaimError, match="0 draws of donors score nothing"):
        determined(bench("and"), {"both": BOTH}, "r1", draws=0)
