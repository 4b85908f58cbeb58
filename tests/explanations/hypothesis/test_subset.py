"""The largest set of inputs that agree: planted halves, exhaustion on small tables, and certified bounds."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from assay.explanations import Hypothesis
from assay.explanations.hypothesis.block import hypothesis_block
from assay.explanations.hypothesis.hypothesis import PERTURBED
from assay.explanations.hypothesis.subset import agreeing, by_chance, largest, rows_of
from assay.model.meter import metered
from assay.record.pieces import Pieces, Sentence, TablePiece
from tests.explanations.hypothesis.test_scrub import PLACES, VARIABLES, workbench


def exhausted(agree: np.ndarray) -> int:
    ok = agree & agree.T
    able = np.flatnonzero(agree.diagonal())
    for size in range(len(able), 0, -1):
        for some in combinations(able, size):
            if ok[np.ix_(some, some)].all():
                return size
    return 0


@pytest.mark.parametrize("seed", range(8))
def test_it_is_the_largest(seed: int):
    random = np.random.default_rng(seed)
    agree = random.random((11, 11)) < random.uniform(0.3, 0.95)
    found = largest(agree)
    assert found.low == found.high == len(found.members) == exhausted(agree)
    some = list(found.members)
    assert (agree & agree.T)[np.ix_(some, some)].all()


def test_what_agrees_with_nothing_is_empty_and_all_is_all():
    assert largest(np.zeros((4, 4), dtype=bool)).high == 0
    assert largest(np.ones((40, 40), dtype=bool)).low == 40


def test_bounds_hold_the_planted_set_among_many():
    random = np.random.default_rng(0)
    agree = random.random((200, 200)) < 0.3
    agree[:90, :90] = True
    np.fill_diagonal(agree, True)
    found = largest(agree)
    assert found.low >= 90
    assert found.low <= found.high <= 110
    chance = by_chance(agree, 0)
    assert max(one.high for one in chance) < 60


def test_a_hypothesis_that_is_right_for_half_of_the_inputs_has_that_half():
    """u is said to be the digit modulo 3: right where it is under 3."""
    bench = workbench()
    claim = Hypothesis({**VARIABLES, "u": "number(1) % 3"}, PLACES)
    graph, rows = claim.graph(bench), rows_of(48, 48, 0)
    exact = Hypothesis(VARIABLES, PLACES).graph(bench).values.rows
    half = [int(row) for row in rows if exact[row]["u"] < 3]  # type: ignore[operator]
    assert 10 < len(half) < len(rows)
    agree = agreeing(bench, graph, ("u",), rows, PERTURBED)
    found = largest(agree)
    assert found.low == found.high == len(half)
    assert rows[list(found.members)].tolist() == half
    whole = agreeing(bench, Hypothesis(VARIABLES, PLACES).graph(bench), ("u",), rows[:12], PERTURBED)
    assert whole.all()


def test_the_report_says_where_a_hypothesis_is_exact_and_why_it_was_not_looked_for():
    """Of the claim that is right for half of the inputs that half, above a permuted variable; of the right one all."""
    bench = workbench()
    half, right = Hypothesis({**VARIABLES, "u": "number(1) % 3"}, PLACES), Hypothesis(VARIABLES, PLACES)

    def block(claim: Hypothesis) -> Pieces:
        return hypothesis_block(bench, claim.graph(bench), claim.treeify, rows_of(8, 48, 0), PERTURBED)

    def exact(claim: Hypothesis) -> dict[str, tuple[str, ...]]:
        tables = [piece for piece in block(claim).pieces if isinstance(piece, TablePiece)]
        assert tables[0].rows[-1][0] == "the worst constants that it could take (shared adversarial)"
        (table,) = [one for one in tables if one.title == "Where it is exact"]
        return {str(row[0]): tuple(map(str, row[1:])) for row in table.rows}

    found = exact(half)["u"]
    rows = Hypothesis(VARIABLES, PLACES).graph(bench).values.rows
    assert found[0] == f"{sum(row['u'] < 3 for row in rows)} of 48"  # type: ignore[operator]
    assert int(found[2].split()[0]) < int(found[0].split()[0])
    assert exact(right)["u"][0] == "48 of 48"
    with metered(share=1.0):
        (said,) = [p.text for p in block(right).pieces if isinstance(p, Sentence) and "exact" in p.text]
    assert "--thorough looks for it" in said
