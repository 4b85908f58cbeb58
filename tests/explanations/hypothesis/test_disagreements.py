"""Swaps, scrubbing and plain ablation side by side, on a network whose variables are planted."""

from __future__ import annotations

import numpy as np
import pytest

from assay.explanations import Hypothesis, Keep
from assay.explanations.hypothesis.block import hypothesis_block
from assay.explanations.hypothesis.disagreements import kept_plan, side_by_side
from assay.explanations.hypothesis.hypothesis import PERTURBED
from assay.explanations.hypothesis.interchange import draw_swaps
from assay.record.pieces import TablePiece
from assay.score.score import score
from tests.explanations.hypothesis.test_scrub import PLACES, RIGHT, VARIABLES, workbench

ROWS = np.arange(48)
HALF = Hypothesis({**VARIABLES, "u": "number(1) % 3"}, PLACES)  # right where the digit is below 3


def test_the_right_claim_passes_both_on_every_row():
    found = side_by_side(workbench(), RIGHT.graph(workbench()), True, PERTURBED, ROWS)
    assert found.names == ("u", "v")
    assert found.right.all()
    assert found.holds.all()
    assert found.recovered.value == pytest.approx(1.0, abs=1e-3)


def test_swaps_are_right_where_the_half_right_claim_says_what_the_network_computes():
    bench, graph = workbench(), HALF.graph(workbench())
    found = side_by_side(bench, graph, True, PERTURBED, ROWS)
    true = RIGHT.graph(bench).values.rows
    swaps = draw_swaps(graph, ("u", "v"), bench.seed, 1)
    added = [true[u]["u"] + true[v]["v"] for u, v in zip(swaps.sources["u"][0], swaps.sources["v"][0], strict=True)]  # type: ignore[operator]
    known = {row["answer"] for row in graph.values.rows} | set(swaps.answers[0])  # of which the likeliest is taken
    assert [a for a, sum_ in zip(found.given, added, strict=True) if sum_ in known] == [a for a in added if a in known]
    assert list(found.wanted) == swaps.answers[0]
    assert found.right.tolist() == [one == other for one, other in zip(added, swaps.answers[0], strict=True)]
    assert 0 < found.right.sum() < 48
    assert 0 < found.holds.sum() < 48


def test_places_kept_are_a_keep_claim():
    bench = workbench()
    keep = Keep(["a0.h1", "a0.h2", "m1"])
    found = score(bench, {"places": kept_plan(bench, RIGHT.graph(bench)), "keep": keep.plan(bench, "mean")}, rows=ROWS)
    assert found.mean_kl("places") == pytest.approx(found.mean_kl("keep"), abs=1e-9)
    both = side_by_side(bench, RIGHT.graph(bench), True, PERTURBED, ROWS)
    floor = score(bench, {"floor": keep.floor(bench, "mean")}, rows=ROWS).mean_kl("floor")
    assert both.kept.value == pytest.approx(1 - found.mean_kl("keep") / floor, abs=1e-6)


def test_the_block_lists_the_worst_examples_of_each_disagreement():
    bench = workbench()
    found = side_by_side(bench, HALF.graph(bench), True, PERTURBED, ROWS)
    pieces = hypothesis_block(bench, HALF.graph(bench), True, ROWS, PERTURBED).pieces
    (table,) = [one for one in pieces if isinstance(one, TablePiece) and one.title == "Side by side"]
    kinds = [row[0] for row in table.rows]
    assert kinds[:2] == ["the scrubbed run, R_D", "all places kept (plain ablation), R_D"]
    assert kinds[2:] == ["swap right, scrubbed not"] * 3 + ["scrubbed well, swap missed"] * 3
    worst = found.scrubbed[found.right & ~found.holds].max()
    assert str(table.rows[2][1]).endswith(f"scrubbed {worst:.3g} nats")
