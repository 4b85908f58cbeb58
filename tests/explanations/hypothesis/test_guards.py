"""Guards: places that do nothing, distinctions that cost nothing, rivals, the worst data, inputs that separate."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from assay.explanations import Hypothesis
from assay.explanations.hypothesis.block import hypothesis_block
from assay.explanations.hypothesis.graph import HighLevelModel
from assay.explanations.hypothesis.guards import rivals_counted, worst_swaps
from assay.explanations.hypothesis.hypothesis import PERTURBED
from assay.explanations.hypothesis.interchange import draw_swaps
from assay.explanations.hypothesis.places import Place
from assay.explanations.hypothesis.predictions import (
    COMMON,
    LABEL,
    NEAREST,
    differing_swaps,
    nearest_rows,
    predictions,
    separates,
    separating,
)
from assay.explanations.hypothesis.scrub import LEFT
from assay.intervene.plan import EditRun, Mix
from assay.measure.checks.merges import merges
from assay.model.meter import metered
from assay.model.transformer import Model
from assay.planted.worlds import world
from assay.record.pieces import Sentence, TablePiece
from assay.score.ids import SystemId
from assay.score.score import score
from assay.stats.counted import counted
from assay.stats.estimate import Estimate, Undefined
from tests.explanations.hypothesis.test_scrub import PLACES, RIGHT, VARIABLES, kl, workbench

ALL = np.arange(48)
HALF = Hypothesis({**VARIABLES, "u": "number(1) % 3"}, PLACES)  # right where the digit is below 3
IDLE = Hypothesis(
    {"w": "number(1)", "u": "number(1)", "v": "number(3)", "total": "u + v + 0 * w", "answer": "total"},
    {"w": ["a0.h0"], **PLACES},
)


def test_a_place_that_carries_nothing_is_frivolous_and_all_others_are_used():
    uses = IDLE.uses(workbench(), PERTURBED, ALL)
    assert {use.part: use.verdict(0.01, uses.scale, 0.0) for use in uses.uses} == {
        "a0.h0": "frivolous",
        "a0.h1": "used",
        "a0.h2": "used",
        "m1": "used",
    }


def test_a_place_is_left_to_the_rest_as_in_a_claim_that_does_not_name_it():
    """Of one of two places that carry one variable: the scrubbed run is that of the claim without it."""
    bench = workbench()
    both = Hypothesis(VARIABLES, {"u": ["a0.h0", "a0.h1"], "v": ["a0.h2"], "total": ["m1"]})
    uses = {use.part: use.left_out for use in both.uses(bench, PERTURBED, ALL).uses}
    found = score(bench, {0: RIGHT.plan(bench, PERTURBED)}, rows=ALL, targets={0: both.plan(bench, PERTURBED)}).mean_kl(
        0
    )
    assert uses["a0.h0"] == pytest.approx(found, abs=1e-9)


def test_values_that_matter_cost_something_to_merge_and_those_of_an_idle_part_do_not():
    bench, draws = workbench(), range(2)
    explained, floor = SystemId("explained", PERTURBED), SystemId("floor", PERTURBED)
    scored = score(
        bench,
        {
            explained: [IDLE.plan(bench, PERTURBED, draw) for draw in draws],
            floor: [IDLE.floor(bench, PERTURBED, draw) for draw in draws],
        },
    )
    resamples = bench.task.resamples(np.flatnonzero(scored.count), 0)
    found = merges(bench, IDLE, scored, resamples, explained=explained, floor=floor, ablation=PERTURBED)
    cost = {name: one.value or 0.0 for name, one in found.items()}
    assert set(cost) == {
        *(f"{name}: 5 → {count} values" for name in "wuv" for count in (3, 1)),
        "total: 9 → 5 values",
        "total: 9 → 1 values",
    }
    assert all((value < 0.01) == name.startswith("w:") for name, value in cost.items())
    with metered(share=4.0 * 48 * bench.task.tokens.shape[1], most=math.inf):  # some documents of each
        fewer = merges(bench, IDLE, scored, resamples, explained=explained, floor=floor, ablation=PERTURBED)
    assert all(8 <= (fewer[name].n or 0) < 48 == one.n for name, one in found.items())
    assert all(((one.value or 0.0) < 0.01) == name.startswith("w:") for name, one in fewer.items())


def test_rivals_are_counted_within_the_interval_or_above():
    own = Estimate(0.8, 0.7, 0.9, 30)
    within, share = counted(own, [0.1, 0.69, 0.7, 0.95])
    assert within == 2
    assert (share.value, share.low, share.high) == pytest.approx((0.5, 0.0676, 0.9324), abs=1e-4)
    assert counted(Estimate.undefined("no swaps"), [0.1])[1].reason == "no swaps"


def test_no_other_places_do_as_well_as_the_planted_ones_and_all_do_as_well_as_idle_ones():
    bench = workbench()
    right = rivals_counted(bench, RIGHT.graph(bench), PERTURBED, ALL)
    assert not isinstance(right, Undefined)
    assert (right.own.value, right.within, len(right.found)) == (1.0, 0, 7)
    assert all("a0.h1" not in name.split(";")[0] and "a0.h2" not in name.split(";")[1] for name, _ in right.found)
    unclaimed = Hypothesis(VARIABLES, {"u": ["a0.h1"], "v": ["a0.h2"]})  # nobody adds the two up
    idle = rivals_counted(bench, unclaimed.graph(bench), PERTURBED, ALL)
    assert not isinstance(idle, Undefined)
    assert idle.within == len(idle.found)
    mlps = rivals_counted(bench, Hypothesis(VARIABLES, {"total": ["m1"]}).graph(bench), PERTURBED, ALL)
    assert isinstance(mlps, Undefined)
    assert "a layer has one" in mlps.reason


def test_the_worst_data_are_the_worst_of_all_that_may_be_drawn():
    """Of one variable: every row that agrees, by hand."""
    bench = workbench()
    claim = Hypothesis({"u": "number(1) % 3", "v": "number(3)", "answer": "u + v"}, {"u": ["a0.h1"]})
    graph = claim.graph(bench)
    found = worst_swaps(bench, graph, LEFT, True, ALL, rounds=80)
    assert np.all(found.worst >= found.drawn)
    codes = graph.values.codes(("u",), layout=True)
    for row in (0, 7, 20):
        allowed = [other for other in np.flatnonzero(codes.of == codes.of[row]) if other != row]
        sites = ["a0.h1"]
        values = [_swapped(bench, row, int(other), sites) for other in allowed]
        assert found.worst[row] == pytest.approx(max(values), rel=1e-3, abs=1e-6)
        (taken,) = found.taken.values()
        assert found.worst[row] == pytest.approx(_swapped(bench, row, int(taken[row]), sites), rel=1e-3, abs=1e-6)


def _swapped(bench: object, row: int, other: int, sites: list[str]) -> float:
    """KL of a row in which parts take what they are in another, with plain hooks."""
    from tests.explanations.hypothesis.test_scrub import network
    from tests.naive import hooks

    task = workbench().task
    tokens = task.tokens
    given = hooks.values(network(), tokens[other : other + 1], sites)
    clean, edited = (hooks.run(network(), tokens[row : row + 1], edits).double() for edits in ({}, given))
    items = task.items(np.array([row]))
    p, q = (task.gather(one, items).log_softmax(-1) for one in (clean, edited))
    return float((p.exp() * (p - q)).sum(-1).mean())


def test_the_right_claim_has_no_bad_data_and_the_half_right_one_has():
    bench = workbench()
    right, half = (worst_swaps(bench, one.graph(bench), PERTURBED, True, ALL) for one in (RIGHT, HALF))
    assert right.worst.max() < 0.05
    assert half.worst.mean() > 1.5 * half.drawn.mean() > 1.5 * kl(RIGHT, PERTURBED)[0]


def test_the_block_has_both_where_there_is_room_and_says_so_where_there_is_none():
    bench = workbench()

    def block(share: float) -> list[TablePiece | Sentence]:
        with metered(share=share):
            pieces = hypothesis_block(bench, HALF.graph(bench), True, ALL, PERTURBED).pieces
        return [piece for piece in pieces if isinstance(piece, TablePiece | Sentence)]

    titles = [piece.title for piece in block(math.inf) if isinstance(piece, TablePiece)]
    assert titles == [
        "How hard the rest is ablated",
        "Side by side",
        "Where it is exact",
        "Rivals counted",
        "The worst data",
    ]
    assert "--thorough asks" in block(1.0)[-1].text  # type: ignore[operator]


def test_inputs_that_separate_two_hypotheses_are_those_on_which_they_differ():
    task = world("planted:sums_0").task(64, seed=3)
    right, other = RIGHT.high_level, HALF.high_level
    rows = separates(right, other, task)
    digits = [int(task.tokenizer.decode([token])) for token in task.tokens[:, 1].tolist()]
    assert rows.tolist() == [digit >= 3 for digit in digits]
    found = list(separating(right, [other], (world("planted:sums_0").task(16, seed=k) for k in range(50)), 30))
    assert sum(map(len, found)) >= 30
    assert sum(map(len, found[:-1])) < 30
    assert all(separates(right, other, part).all() for part in found)


def test_swaps_on_which_two_alignments_differ():
    bench = workbench()
    right = RIGHT.graph(bench)
    exchanged = Hypothesis(VARIABLES, {"u": ["a0.h2"], "v": ["a0.h1"], "total": ["m1"]}).graph(bench)
    rows, swaps = right.values.rows, draw_swaps(right, ("u",), 0)
    for draw in range(2):
        sources = swaps.sources["u"][draw]
        found = differing_swaps(right, exchanged, swaps, draw)
        wanted = [rows[s]["u"] + rows[b]["v"] != rows[b]["u"] + rows[s]["v"] for b, s in zip(ALL, sources, strict=True)]  # type: ignore[operator]
        assert found.tolist() == wanted
        assert not differing_swaps(right, right, swaps, draw).any()
    both = draw_swaps(right, ("u", "v"), 0)
    exchanged_sums = [
        rows[v]["u"] + rows[u]["v"] for u, v in zip(both.sources["u"][0], both.sources["v"][0], strict=True)
    ]  # type: ignore[operator]
    assert differing_swaps(right, exchanged, both).tolist() == [
        a != b for a, b in zip(exchanged_sums, both.answers[0], strict=True)
    ]


def test_the_right_model_predicts_the_network_and_the_half_right_one_where_it_is_right():
    bench = workbench()
    found = {
        one.predictor: one.agreement.value
        for one in predictions(bench, {"right": RIGHT.high_level, "half": HALF.high_level})
    }
    rows = RIGHT.graph(bench).values.rows
    assert found["right"] == found[LABEL] == 1.0
    assert found["half"] == pytest.approx(np.mean([row["u"] < 3 for row in rows]))  # type: ignore[operator]
    assert found[COMMON] < 0.5
    assert found[NEAREST] < 1.0


def test_the_nearest_row_has_the_most_tokens_in_common_from_the_end():
    task = world("planted:sums_0").task(12, seed=5)
    assert nearest_rows(task, task).tolist() == [
        int(np.flatnonzero((task.tokens == row).all(1).numpy())[0]) for row in task.tokens
    ]


def test_a_high_level_model_alone_can_be_told_from_another():
    task = world("planted:sums_0").task(8, seed=1)
    first = HighLevelModel.of({"u": "number(1)"})
    assert not separates(first, first, task).any()


def test_random_subspaces_are_controls_of_a_claim_about_subspaces_and_their_size_is_told():
    bench = workbench()
    assert isinstance(bench.model, Model)
    basis = torch.linalg.qr(torch.randn(bench.model.config.d_model, 5, generator=torch.Generator().manual_seed(0)))[0]
    places = {"u": [Place("r1@1", basis[:, :2])], "v": [Place("r1@1", basis[:, 2:])]}
    claim = Hypothesis({"u": "number(1)", "v": "number(3)", "answer": "u + v"}, places)
    groups = {group.name: group for group in claim.neighbours(bench, PERTURBED, 3)}
    plans = [plan for _, plan in groups["random subspaces"].plans(bench)]
    assert len(plans) == 3
    bases = []
    for plan in plans:
        assert isinstance(plan.final, EditRun)
        (outer,) = [edit.source for edit in plan.final.edits if isinstance(edit.source, Mix)]
        inner = outer.outside  # the first one's, into whose outside the second is mixed
        assert isinstance(inner, Mix)
        both = torch.cat([one for one in (inner.basis, outer.basis) if isinstance(one, torch.Tensor)], 1)
        torch.testing.assert_close(both.T @ both, torch.eye(5), atol=1e-5, rtol=0)
        bases.append(both)
    assert not torch.allclose(bases[0], bases[1])
    pieces = hypothesis_block(bench, claim.graph(bench), True, ALL, PERTURBED).pieces
    (table,) = [one for one in pieces if isinstance(one, TablePiece) and one.title == "Maps"]
    width = bench.model.config.d_model
    assert [row[3:] for row in table.rows] == [(k, k * (width - k), 16 * k * (width - k)) for k in (2, 3)]
