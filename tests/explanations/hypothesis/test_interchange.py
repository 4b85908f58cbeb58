"""Interchange accuracy: exact where variables are planted, none where they are not; what only perturbation shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from assay.errors import ClaimError, TaskError
from assay.explanations import Hypothesis
from assay.explanations.hypothesis.interchange import Agreement, Answers, draw_swaps, interchange, share, unswapped
from assay.explanations.hypothesis.scrub import LEFT
from assay.explanations.hypothesis.values import TaskValues, coded
from assay.intervene.edits.donor_runs import Donors
from assay.measure.workbench import Workbench
from assay.model.load import load
from assay.model.meter import metered
from assay.report import swaps
from assay.score.score import score
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Undefined
from assay.task.task import Task
from tests.explanations.hypothesis.test_scrub import PLACES, RIGHT, VARIABLES, workbench

RESTS = (LEFT, "resample_joint", "mean")


def swapped(claim: Hypothesis) -> dict[tuple[str, ...], Agreement]:
    return {one.names: one for one in interchange(workbench(), claim.graph(workbench()), RESTS, 0)}


def test_planted_variables_are_exact_under_every_strength():
    found = swapped(RIGHT)
    assert set(found) == {("u",), ("v",), ("total",), ("u", "v")}
    for one in found.values():
        assert one.changed >= 0.5
        assert one.swaps == 2 * len(workbench().task)
        for rest in RESTS:
            assert one.value(rest).value == pytest.approx(1.0)


def test_what_is_swapped_in_is_run_once_for_all_swaps(monkeypatch: pytest.MonkeyPatch):
    """Every swap is a run, and all of them take from one run of all rows, where that fits."""

    def found() -> tuple[list[Agreement], float]:
        bench = Workbench(workbench().model, workbench().task)
        graph = Hypothesis(VARIABLES, {"u": ["a0.h1"], "v": ["a0.h2"], "total": ["r2@-1"]}).graph(bench)
        every = np.arange(len(bench.task))
        bench.runner.clean("scored", every)
        with metered() as meter:
            agreed = interchange(bench, graph, (LEFT, "resample_joint"), 0)
        return agreed, meter.tokens / bench.task.tokens.numel()

    shared, passes = found()
    swaps = 2 * 2 * len(shared)  # draws, strengths
    assert passes <= swaps + 1
    monkeypatch.setattr(Donors, "room", 0)
    alone, more = found()
    assert more > passes + 10
    assert [one.raw for one in alone] == [one.raw for one in shared]


def test_a_model_without_mlps_has_none_to_take():
    model = load("zoo:novel-attn2-rep")
    bench = Workbench(model, Task.repeat(model, n=8, length=4))
    assert set(bench.model.config.d_mlp) == {None}
    claim = Hypothesis({"last": "token(-1)", "answer": "last"}, {"last": ["a0.h0", "r1@-1"]})
    found = score(bench, {"plan": claim.plan(bench, "resample_independent")})
    assert found["plan"].kl.sum() > 0


def test_a_wrong_part_and_a_wrong_variable_are_no_better_than_a_constant_answer():
    other = swapped(Hypothesis(VARIABLES, {**PLACES, "u": ["a0.h2"], "v": ["a0.h1"]}))
    wrong = swapped(Hypothesis({**VARIABLES, "total": "u + 2 * v"}, PLACES))
    for rest in RESTS:
        assert (other["u",].value(rest).value or 0) < 0.2
        assert (wrong["v",].value(rest).value or 0) < 0.4
        assert other["total",].value(rest).value == pytest.approx(1.0)


def test_only_perturbation_shows_that_a_part_was_left_out():
    """m1 adds the two up, and no place is given of the sum."""
    variables = {"u": "number(1)", "v": "number(3)", "answer": "u + v"}
    found = swapped(Hypothesis(variables, {"u": ["a0.h1"], "v": ["a0.h2"]}))
    for one in found.values():
        assert one.value(LEFT).value == pytest.approx(1.0)
        assert (one.value("resample_joint").value or 0) < 0.2


def test_a_share_of_all_has_an_open_question_left():
    resamples = Resamples(20)
    every = share(resamples, np.full(20, 3.0), np.full(20, 3.0))
    assert (every.value, every.high, every.method) == (1.0, 1.0, "exact")
    assert every.low == pytest.approx(0.025 ** (1 / 20))  # (Clopper and Pearson 1934) for 20 of 20
    none = share(resamples, np.zeros(20), np.full(20, 3.0))
    assert none.high == pytest.approx(1 - 0.025 ** (1 / 20))
    some = share(resamples, np.arange(20) % 2 * 3.0, np.full(20, 3.0))
    assert some.value == 0.5
    assert some.method == "jackknife_t"


def test_the_majority_is_taken_off():
    found = swapped(RIGHT)["u",]
    raw, value = found.raw[LEFT].value, found.value(LEFT).value
    assert raw is not None
    assert value is not None
    assert value == pytest.approx((raw - found.majority) / (1 - found.majority))
    assert 0.1 < found.majority < 0.4


def test_swaps_are_what_the_high_level_model_says():
    graph = RIGHT.graph(workbench())
    drawn = draw_swaps(graph, ("u",), 0)
    rows = graph.values.rows
    for draw, answers in enumerate(drawn.answers):
        for row, answer in enumerate(answers):
            assert answer == rows[drawn.sources["u"][draw, row]]["u"] + rows[row]["v"]  # type: ignore[operator]
            assert drawn.changed[draw, row] == (answer != rows[row]["answer"])
    again = draw_swaps(graph, ("u",), 0)
    assert np.array_equal(again.sources["u"], drawn.sources["u"])
    assert not np.array_equal(draw_swaps(graph, ("u",), 1).sources["u"], drawn.sources["u"])


def test_an_answer_that_no_token_is_counts_as_missed_and_none_at_all_is_said():
    task: Any = workbench().task
    assert Answers(task, [3, 400]).ids[400] == -1
    with pytest.raises(TaskError, match=r"2 are no token that the task has: 'yes', 'no'"):
        Answers(task, ["yes", "no"])


def test_places_elsewhere_do_not_overlap_in_any_column():
    """A head in one column beside a whole one: neither is put on the other."""
    claim = Hypothesis(VARIABLES, {"u": ["a0.h1@3"], "v": ["a0.h2"]})
    others = claim.elsewhere(workbench().model, 40, 0)
    assert not isinstance(others, Undefined)
    assert len(others) == 11  # of four heads two in order, but for its own
    assert {group.name: group.possible for group in claim.neighbours(workbench(), "mean", 3)} == {
        "permuted variable": 10**9,
        "other places": 11,
    }
    for other in others:
        assert len(other.scope(workbench().model)) == 2
    several = Hypothesis(VARIABLES, {"u": ["a0.h1@3", "a0.h2@3"], "v": ["a0.h0"], "total": ["m1"]})
    assert list(several.neighbours(workbench(), "mean", 3))[1].possible == 4 * 3 - 1  # one whole; of three two
    found = several.elsewhere(workbench().model, 40, 0)
    assert not isinstance(found, Undefined)
    assert len(found) == 11


def test_how_often_values_can_be_put_on_other_inputs():
    codes = TaskValues(RIGHT.high_level, ({"u": 1}, {"u": 1}, {"u": 2}, {"u": 3}), np.zeros(4, dtype=np.int64))
    object.__setattr__(codes, "_codes", {"u": coded([1, 1, 2, 3]), "v": coded([5, 5, 5, 5])})
    assert codes.orders(("u",)) == 11
    assert codes.orders(("u", "u")) == 143
    assert codes.orders(("v",)) == 0


def test_how_often_the_network_answers_as_the_hypothesis_does_unswapped():
    assert unswapped(workbench(), RIGHT.graph(workbench())).value == 1.0
    wrong = Hypothesis({**VARIABLES, "total": "u + 2 * v"}, PLACES)
    found = unswapped(workbench(), wrong.graph(workbench()))
    values = [row["v"] == 0 for row in wrong.graph(workbench()).values.rows]
    assert found.value == pytest.approx(np.mean(values))


def test_places_of_what_the_answer_does_not_read_are_refused():
    with pytest.raises(ClaimError, match="the variable 'u' has places, and the answer 'w' does not depend on it"):
        Hypothesis({"u": "number(1)", "w": "number(3)"}, {"u": ["a0.h1"]})
    with pytest.raises(ClaimError, match="places are given of 'uu', which is no variable; did you mean 'u'"):
        Hypothesis({"u": "number(1)", "w": "u"}, {"uu": ["a0.h1"]})


def test_places_of_the_answer_are_left_to_compute_it():
    """m1 adds the two up: said to form the answer, it is not resampled; an idle MLP in its place does not help."""
    variables = {"u": "number(1)", "v": "number(3)", "answer": "u + v"}
    places = {"u": ["a0.h1"], "v": ["a0.h2"]}
    found = swapped(Hypothesis(variables, {**places, "answer": ["m1"]}))
    assert set(found) == {("u",), ("v",), ("u", "v")}
    for one in found.values():
        for rest in RESTS:
            assert one.value(rest).value == pytest.approx(1.0)
    for one in swapped(Hypothesis(variables, {**places, "answer": ["m1@0"]})).values():
        assert (one.value("resample_joint").value or 0) < 0.2


def test_swaps_of_which_the_high_level_model_says_nothing_are_drawn_again():
    """It answers where the source's digit is the base's other one; of 48 rows that few are."""
    bench = workbench()

    def answer(u: int, v: int) -> int | None:
        return u + v if abs(u - v) <= 1 else None

    graph = Hypothesis({"u": "number(1)", "v": "number(3)", "answer": answer}, {"u": ["a0.h1"]}).graph(bench)
    swaps = draw_swaps(graph, ("u",), 0)
    rows = graph.values.rows
    for which in range(2):
        for base, source in enumerate(swaps.sources["u"][which]):
            u, v = rows[int(source)]["u"], rows[base]["v"]
            assert swaps.answers[which][base] == answer(u, v)  # type: ignore[arg-type]
            assert swaps.answers[which][base] is not None
    assert swaps.changed[0].mean() > 0.9


@pytest.mark.parametrize("rest", ["resample_joint", "resample_independent"])
def test_what_a_computed_variable_reads_of_the_rest_is_held(rest: str):
    """The total is computed of what is swapped in and of v, which nobody is said to carry."""
    bench = workbench()
    claim = Hypothesis(VARIABLES, {"u": ["a0.h1"], "total": ["m1"]})
    found = {one.names: one.value(rest).value for one in interchange(bench, claim.graph(bench), (rest,), 0)}
    assert found["u",] == found["total",] == 1.0


def test_thorough_swaps_at_the_worst_constants_too():
    """Places that carry the variables and add them up mind the rest less than those that leave the adding to it."""
    bench = workbench()
    variables = {"u": "number(1)", "v": "number(3)", "answer": "u + v"}
    lacking = Hypothesis(variables, {"u": ["a0.h1"], "v": ["a0.h2"]})
    for claim, low, high in ((RIGHT, 0.6, 1.0), (lacking, -1.0, 0.3)):
        quick, all_of_it = (bench.measure(claim, budget=b, only=("headline",)).record for b in ("headline", "thorough"))
        assert quick.interchange is not None
        assert all_of_it.interchange is not None
        for row, before in zip(all_of_it.interchange.rows, quick.interchange.rows, strict=True):
            assert {**row.by_rest, "shared_adversarial": None} == {**before.by_rest, "shared_adversarial": None}
            assert "shared_adversarial" not in before.by_rest
        worst = min(row.by_rest["shared_adversarial"].accuracy.value or 0.0 for row in all_of_it.interchange.rows)
        assert low <= worst <= high
        assert all_of_it.interchange.accuracy == quick.interchange.accuracy
        assert swaps.columns(all_of_it.interchange)[-1] == "the rest at its worst constants"
        assert claim.harder(bench.for_claim(), all_of_it.interchange) is all_of_it.interchange
