"""What coarser claims predict of the same swaps, and the checks that look at it."""

from __future__ import annotations

import numpy as np
import pytest

from assay.errors import TaskError
from assay.explanations import Hypothesis
from assay.explanations.hypothesis.block import alone
from assay.explanations.hypothesis.interchange import draw_swaps, interchange
from assay.explanations.hypothesis.scrub import LEFT
from assay.explanations.hypothesis.vacuity import SILENT, coarser_answers
from assay.measure.checks.checks import run_checks
from assay.measure.checks.evidence import Evidence
from assay.record.about import Check
from assay.record.interchange import Interchange
from assay.report import swaps as report
from tests.explanations.hypothesis.test_samplers import rare, sums
from tests.explanations.hypothesis.test_scrub import PLACES, RIGHT, VARIABLES, workbench

REST = "resample_independent"


def test_a_coarser_claim_answers_as_if_what_it_does_not_tell_apart_were_not_swapped():
    bench = workbench()
    graph = RIGHT.graph(bench)
    swaps = draw_swaps(graph, ("u", "v"), 0)
    found = coarser_answers(graph.values, dict(swaps.sources), swaps.answers)
    rows = graph.values.rows
    seen = list(dict.fromkeys(row["u"] for row in rows))
    assert [name for name, _ in found] == ["u: 5 → 3 values", "u: 5 → 1 values", "v: 5 → 3 values", "v: 5 → 1 values"]
    for draw in range(2):
        for row, base in enumerate(rows):
            u, v = (rows[swaps.sources[name][draw, row]][name] for name in ("u", "v"))
            assert found["u: 5 → 1 values", True][draw][row] == base["u"] + v  # type: ignore[operator]
            pair = seen.index(u) // 2 == seen.index(base["u"]) // 2
            assert found["u: 5 → 3 values", False][draw][row] == (base["u"] if pair else u) + v  # type: ignore[operator]


def test_what_the_network_goes_with_is_counted():
    bench = workbench()
    by = {one.names: one for one in interchange(bench, RIGHT.graph(bench), (LEFT, REST), 0)}
    for rest in (LEFT, REST):
        merged = by[("u",)].coarser[rest][1]
        assert (merged.merged, merged.claim, merged.rival) == (True, 1.0, 0.0)
        assert merged.differs == pytest.approx(by[("u",)].changed)
        assert merged.raw.value == pytest.approx(1 - merged.differs)
    idle = Hypothesis(VARIABLES, {"u": ["a0.h0"], "v": ["a0.h2"], "total": ["m1"]})
    (none, _) = (
        {one.names: one for one in interchange(bench, idle.graph(bench), (LEFT,), 0)}[("u",)].coarser[LEFT][1],
        0,
    )
    assert (none.claim, none.rival) == (0.0, 1.0)


def test_a_combination_of_which_the_model_says_nothing_is_never_answered(monkeypatch: pytest.MonkeyPatch):
    bench = workbench()
    graph = RIGHT.graph(bench)
    swaps = draw_swaps(graph, ("u", "v"), 0)

    def fails(self: object, row: int, sources: object) -> object:
        raise TaskError("no")

    monkeypatch.setattr(type(graph.values), "answer", fails)
    found = coarser_answers(graph.values, dict(swaps.sources), swaps.answers)
    assert all(one is SILENT for one in found["u: 5 → 1 values", True][0])


def checks(claim: Hypothesis) -> tuple[dict[str, Check], Interchange]:
    record = workbench().measure(claim, only=("headline", "checks")).record
    assert record.interchange is not None
    return {check.name: check for check in record.checks}, record.interchange


def test_a_claim_whose_swaps_tell_it_from_what_is_coarser_is_not_vacuous():
    found, swapped = checks(RIGHT)
    assert found["vacuous"].state != "fired"
    assert "u: 5 → 1 values predicts another answer in 92%, of which 0% go as it says" in found["vacuous"].evidence
    shown = report.coarser(swapped)
    assert [row[:4] for row in shown[:2]] == [
        ("u: 5 → 3 values", "16 %", "100 %", "0 %"),
        ("u: 5 → 1 values", "92 %", "100 %", "0 %"),
    ]
    assert "tell fewer values apart" in report.sees(swapped)


def test_a_variable_that_changes_no_answer_is_vacuous():
    found, swapped = checks(Hypothesis({**VARIABLES, "total": "v + min(u, 0)"}, PLACES))
    assert found["vacuous"].state == "fired"
    assert "u: 5 → 1 values predicts another answer in 0%" in found["vacuous"].evidence
    assert len(report.coarser(swapped)) == 6


@pytest.mark.parametrize(
    ("claim", "coarser", "state"), [(0.3, 0.3, "fired"), (0.3, 0.4, "fired"), (0.4, 0.3, "unknown")]
)
def test_a_claim_with_which_the_network_goes_no_more_often_than_with_a_coarser_one_is_vacuous(
    claim: float, coarser: float, state: str
):
    _, swapped = checks(RIGHT)
    one = swapped.rows[0].coarser[1].model_copy(update={"claim": claim, "coarser": coarser})
    row = swapped.rows[0].model_copy(update={"coarser": (one,)})
    rows = (row, *swapped.rows[1:])
    evidence = Evidence(ablation="", recovered={}, swapped=swapped.model_copy(update={"rows": rows}))
    (found,) = [check for check in run_checks(evidence) if check.name == "vacuous"]
    assert found.state == state
    assert f"of which {coarser:.0%} go as it says and {claim:.0%} as the claim says" in found.evidence


def test_values_that_no_other_row_has_are_a_match_with_itself():
    bench = rare()
    few = bench.task.subset(np.asarray(bench.task.document)[[0, 1, 2, 3, 39]])
    claim = Hypothesis(VARIABLES, PLACES)
    there = type(bench)(bench.model, few)
    shares = alone(claim.graph(there))
    assert shares["u"] >= 0.2
    (found,) = [
        one for one in there.measure(claim, only=("headline", "checks")).record.checks if one.name == "self-match"
    ]
    assert found.state == "fired"
    assert "of rows agree with no other on" in found.evidence
    with_more = Hypothesis(VARIABLES, PLACES, matches=sums)
    assert alone(with_more.graph(there))["u"] == 0
