"""The scrubbed run, against the recursion in plain hooks; and what it says of a network whose variables are planted."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from assay.explanations import Hypothesis
from assay.explanations.hypothesis.scrub import LEFT, SHARED, Scrub
from assay.explanations.hypothesis.values import Codes, values_of
from assay.intervene.components import complement, expand
from assay.intervene.plan import EditRun
from assay.measure.workbench import Workbench
from assay.planted.worlds import world
from assay.score.score import score
from assay.stats.keyed import generator
from tests.naive import hooks
from tests.naive.batched_scrubbing import Scrubber
from tests.naive.scrubbing import scrubbed

VARIABLES = {"u": "number(1)", "v": "number(3)", "total": "u + v", "answer": "total"}
PLACES = {"u": ["a0.h1"], "v": ["a0.h2"], "total": ["m1"]}
RIGHT = Hypothesis(VARIABLES, PLACES)
STRENGTHS = (LEFT, "mean", SHARED, "resample_joint", "resample_independent")


@cache
def workbench() -> Workbench:
    planted = world("planted:sums_0")
    return Workbench(planted.model, planted.task(48, seed=1))


@cache
def network() -> Any:
    return world("planted:sums_0").network


def next_one(codes: Codes, rows: np.ndarray, random: object = None) -> np.ndarray:
    """The next row that agrees, in order, in place of one at random."""
    out = []
    for row in rows:
        same = np.flatnonzero(codes.of == codes.of[row])
        out.append(same[(np.searchsorted(same, row) + 1) % len(same)])
    return np.array(out)


@pytest.mark.parametrize("strength", ["left", "mean", "resample_joint"])
@pytest.mark.parametrize("treeify", [True, False])
@pytest.mark.parametrize("places", [PLACES, {"u": ["a0.h1"], "total": ["m1"]}, {"total": ["m0"], "v": ["a0.h2"]}])
def test_it_is_the_recursion(monkeypatch: pytest.MonkeyPatch, strength: str, treeify: bool, places: dict[str, Any]):
    monkeypatch.setattr(Codes, "other", next_one)
    bench = workbench()

    claim = Hypothesis(VARIABLES, places, treeify=treeify)
    values = values_of(bench, claim.high_level)
    tokens = bench.task.tokens
    names = [
        str(site)
        for site in complement(expand([p for some in places.values() for p in some], bench.model), bench.model)
    ]

    def agreeing(variables: Any, row: int) -> int:
        codes = values.codes([v for v in variables if v != "layout"], layout="layout" in variables)
        return int(next_one(codes, np.array([row]))[0])

    def rest(row: int) -> dict[str, Tensor]:
        if strength == "mean":
            sites = expand(names, bench.model)
            return {str(site): bench.statistics.mean(site) for site in sites}
        return hooks.values(network(), tokens[row : row + 1], names)

    graph = claim.graph(bench)
    wanted = torch.cat(
        [
            scrubbed(
                network(), tokens, row, "answer", graph.reads, graph.loose, places, agreeing,
                None if strength == LEFT else rest, strength.startswith("resample"), treeify,
            )
            for row in range(len(tokens))
        ]
    )  # fmt: skip
    with torch.no_grad():
        got = bench.runner.logits(claim.plan(bench, strength), np.arange(len(tokens)))
    torch.testing.assert_close(got, wanted, atol=3e-4, rtol=1e-4)


@pytest.mark.parametrize("strength", ["resample_joint", "resample_independent"])
@pytest.mark.parametrize("places", [PLACES, {"u": ["a0.h1"], "v": ["a0.h2"], "total": ["m0"]}])
def test_it_is_the_plain_scrubber_that_runs_batches(strength: str, places: dict[str, Any]):
    """With the data of the fast one; what the speed of hypotheses is held against (speed/hypotheses.py)."""
    bench = workbench()
    claim = Hypothesis(VARIABLES, places)
    graph = claim.graph(bench)
    draws = Scrub(bench, graph, strength)
    named = expand([place for some in places.values() for place in some], bench.model)
    plain = Scrubber(
        network(),
        bench.task.tokens[:, :-1],
        places,
        graph.reads,
        graph.loose,
        [str(site) for site in complement(named, bench.model)],
        lambda names, data, path: draws.agreeing(tuple(names), True, data, path),
        joint=strength == "resample_joint",
        batch=16,
    )
    with torch.no_grad():
        wanted = plain.log_probs(graph.answer)
        got = bench.runner.logits(claim.plan(bench, strength), np.arange(len(bench.task)))[:, -2].log_softmax(-1)
    torch.testing.assert_close(got, wanted, atol=3e-4, rtol=1e-4)


def kl(claim: Hypothesis, strength: str) -> tuple[float, float]:
    """Nats of the scrubbed run and of its floor."""
    bench = workbench()
    draws = range(3)
    found = score(
        bench,
        {
            "explained": [claim.plan(bench, strength, draw) for draw in draws],
            "floor": [claim.floor(bench, strength, draw) for draw in draws],
        },
    )
    total = found.count.sum()
    return float(found["explained"].kl.sum() / total), float(found["floor"].kl.sum() / total)


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("treeify", [True, False])
def test_the_planted_hypothesis_leaves_nothing(strength: str, treeify: bool):
    explained, floor = kl(Hypothesis(VARIABLES, PLACES, treeify=treeify), strength)
    assert explained < 0.01
    assert floor > 5


WRONG = {
    "swapped places": ({"u": ["a0.h2"], "v": ["a0.h1"], "total": ["m1"]}, VARIABLES),
    "a wrong intermediate": (PLACES, {**VARIABLES, "total": "u + 2 * v"}),
    "an idle part": ({"u": ["a0.h0"], "v": ["a0.h2"], "total": ["m1"]}, VARIABLES),
    "a coarser variable": (PLACES, {**VARIABLES, "u": "number(1) % 2", "v": "number(3) % 2"}),
}


@pytest.mark.parametrize("name", list(WRONG))
@pytest.mark.parametrize("strength", STRENGTHS)
def test_a_wrong_hypothesis_does_not(name: str, strength: str):
    places, variables = WRONG[name]
    explained, floor = kl(Hypothesis(variables, places), strength)
    if (name, strength) == ("an idle part", LEFT):
        assert explained < 0.01  # the head that carries u is left, and hides that the claim is wrong
    else:
        assert 1 - explained / floor < 0.6


def test_a_part_that_carries_nothing_stands_where_it_did_only_if_it_is_left():
    """m1 adds the two up; said of nothing, it is taken from other rows."""
    claim = Hypothesis({"u": "number(1)", "v": "number(3)", "answer": "u + v"}, {"u": ["a0.h1"], "v": ["a0.h2"]})
    assert kl(claim, LEFT)[0] < 0.01
    assert kl(claim, "resample_joint")[0] > 5


def test_another_row_that_agrees_is_drawn_wherever_there_is_one():
    codes = Codes(np.array([0, 1, 0, 2, 1, 0]))
    random = generator(0, "test")
    drawn = np.array([codes.other(np.arange(6), random) for _ in range(200)])
    assert (codes.of[drawn] == codes.of).all()
    assert (drawn[:, [0, 1, 2, 4, 5]] != np.array([0, 1, 2, 4, 5])).all()
    assert (drawn[:, 3] == 3).all()
    assert codes.others(np.arange(6)).tolist() == [2, 1, 2, 0, 1, 2]
    assert set(drawn[:, 0]) == {2, 5}


@pytest.mark.parametrize("strength", ["mean", "resample_joint", "resample_independent"])
@pytest.mark.parametrize("where", ["m1", "m1@-1"])
def test_what_forms_the_answer_is_computed(strength: str, where: str):
    variables = {"u": "number(1)", "v": "number(3)", "answer": "u + v"}
    claim = Hypothesis(variables, {"u": ["a0.h1"], "v": ["a0.h2"], "answer": [where]})
    explained, floor = kl(claim, strength)
    assert explained < 0.01
    assert floor > 5


@pytest.mark.parametrize("strength", ["mean", "resample_independent"])
def test_a_run_up_to_a_stream_takes_the_part_right_before_it_from_the_rest(strength: str):
    claim = Hypothesis(VARIABLES, {"u": ["a0.h1"], "v": ["a0.h2"], "total": ["r1"]})
    plan = claim.plan(workbench(), strength)
    (before,) = [run for run in plan.runs if run.name.startswith("scrubbed < total")]
    assert {str(edit.site) for edit in before.edits} == {"a0.h0", "a0.h1", "a0.h2", "a0.h3", "m0"}


def test_one_row_for_all_runs_is_one_and_one_for_each_run_is_not():
    """Nothing is loose: in every run of a plan each scored row reads the tokens of the same other row."""
    bench = workbench()
    for strength, one in ((SHARED, True), ("resample_joint", False)):
        plan = Hypothesis(VARIABLES, PLACES).plan(bench, strength)
        rows = [run.at for run in plan.runs if isinstance(run, EditRun) and run.at is not None]
        assert len(rows) == 2
        assert np.array_equal(*rows) == one
    assert len(np.unique(rows[0])) > 10


def test_any_row_that_agrees_is_drawn_itself_too():
    codes, random = Codes(np.array([0, 1, 0, 2, 1, 0])), np.random.default_rng(0)
    drawn = np.stack([codes.any(np.arange(6), random) for _ in range(200)])
    assert [set(column) for column in drawn.T] == [{0, 2, 5}, {1, 4}, {0, 2, 5}, {3}, {1, 4}, {0, 2, 5}]
