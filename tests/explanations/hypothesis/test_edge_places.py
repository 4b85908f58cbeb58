"""Edges as places of a variable: what one part reads of another."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from assay.errors import ClaimError
from assay.explanations import Circuit, Hypothesis
from assay.explanations.claims.file import load_claim
from assay.explanations.hypothesis.block import hypothesis_block
from assay.explanations.hypothesis.interchange import Swapper, draw_swaps, interchange
from assay.explanations.hypothesis.scrub import LEFT
from assay.measure.workbench import Workbench
from assay.model.meter import metered
from assay.score.score import score
from tests.explanations.hypothesis.test_claim_block import written
from tests.explanations.hypothesis.test_scrub import workbench

RESTS = (LEFT, "mean", "resample_joint", "resample_independent")
VARIABLES = {"u": "number(1)", "v": "number(3)", "answer": "u + v"}


@cache
def routes() -> tuple[dict[str, list[str]], Workbench]:
    """Of the sums that are planted: the heads' edges into the MLP that adds, and its own to the output."""
    return {"u": ["a0.h1->m1"], "v": ["a0.h2->m1"], "answer": ["m1->logits"]}, workbench()


def values(claim: Hypothesis, bench: Workbench) -> dict[tuple[str, ...], dict[str, float]]:
    found = interchange(bench, claim.graph(bench), RESTS, 0)
    return {one.names: {rest: one.value(rest).value or 0.0 for rest in RESTS} for one in found}


def test_edges_into_the_part_that_adds_carry_both_digits():
    places, bench = routes()
    for name, found in values(Hypothesis(VARIABLES, places), bench).items():
        assert found[LEFT] > 0.9, name
        assert found["resample_independent"] > 0.9, name
    wrong = values(Hypothesis(VARIABLES, {**places, "u": ["a0.h0->m1"]}), bench)
    assert max(wrong["u",].values()) < 0.3
    beside = values(Hypothesis(VARIABLES, {**places, "u": ["a0.h1->logits"]}), bench)
    assert max(beside["u",].values()) < 0.3


def test_every_edge_of_a_part_is_the_part():
    """With the rest left, swapping all that a head writes is swapping the head."""
    bench = workbench()
    names = [name for name in bench.model.edges if name.startswith("a0.h1->")]  # type: ignore[union-attr]
    edges, head = (Hypothesis(VARIABLES, {"u": some}).graph(bench) for some in (names, ["a0.h1"]))
    swaps = draw_swaps(head, ("u",), 0)
    one, other = (bench.runner.logits(Swapper(bench, g, LEFT).swap(swaps, 0), np.arange(48)) for g in (edges, head))
    torch.testing.assert_close(one, other, atol=3e-4, rtol=1e-4)


@pytest.mark.parametrize("rest", RESTS)
def test_scrubbed_the_planted_edges_leave_little(rest: str):
    places, bench = routes()
    claim = Hypothesis(VARIABLES, places)
    wrong = Hypothesis(VARIABLES, {**places, "u": ["a0.h2->m1"], "v": ["a0.h1->m1"]})
    found = score(bench, {0: claim.plan(bench, rest), 1: claim.floor(bench, rest), 2: wrong.plan(bench, rest)})
    right, floor, exchanged = (float(found[key].kl.sum()) for key in range(3))
    assert (
        right < (0.25 if rest == "mean" else 0.02) * floor
    )  # the adder reads more than the two, and misses its own values
    assert exchanged > 0.3 * floor


def test_unswapped_the_named_edges_are_the_circuit():
    places, bench = routes()
    scrub = Swapper(bench, Hypothesis(VARIABLES, places).graph(bench), "mean")
    got = bench.runner.logits(scrub.edge_plan("kept", {}), np.arange(48))
    names = [f"{writer}->{reader}" for writer in ("input",) for reader in ("a0.h1<q>", "a0.h1<k>", "a0.h1<v>")]
    names += [name.replace("a0.h1", "a0.h2") for name in names]
    circuit = Circuit([*names, *(edge for some in places.values() for edge in some)])
    wanted = bench.runner.logits(circuit.plan(bench.for_claim(), "mean"), np.arange(48))
    torch.testing.assert_close(got, wanted, atol=3e-4, rtol=1e-4)


def test_there_and_back_and_measured(tmp_path: Path):
    places, bench = routes()
    claim = Hypothesis(VARIABLES, places)
    path = tmp_path / "claim.yaml"
    path.write_text(claim.to_yaml("planted:sums_0", {"kind": "planted"}))
    file = load_claim(path)
    found = file.explanation.build()
    assert isinstance(found, Hypothesis)
    assert found.fields() == claim.fields()
    file.explanation.check_model(file, bench.model)
    record = bench.measure(claim, budget="headline", ablation=["resample_joint", "resample_independent"]).record
    assert record.interchange is not None
    assert (record.interchange.accuracy.value or 0) > 0.9
    assert record.headline.recovered.value is not None
    assert record.headline.recovered.value > 0.9
    with metered(share=20_000.0):
        block = hypothesis_block(bench.for_claim(), claim.graph(bench), True, np.arange(48), "resample_independent")
    assert {getattr(piece, "title", "") for piece in block.pieces} >= {"How hard the rest is ablated", "Side by side"}


@pytest.mark.parametrize(
    ("places", "sentence"),
    [
        ({"u": ["a0.h1->m1", "a0.h2"]}, r"'u': 'a0.h2' is no edge, and others here are"),
        ({"u": ["a0.h1->m1@2"]}, r"'a0.h1->m1@2': an edge carries a variable everywhere"),
        ({"u": ["input->m1"]}, r"'input' is always left as it is"),
        ({"u": ["a0.h1->m1"], "v": ["a0.h1->logits"]}, r"'a0.h1->logits' overlaps 'a0.h1' of 'u'"),
        ({"u": ["a0.h1->m1", "a0.h1->m1"]}, r"'a0.h1->m1' is named a second time"),
    ],
)
def test_what_edges_cannot_say_is_one_sentence_with_its_line(tmp_path: Path, places: dict[str, Any], sentence: str):
    with pytest.raises(ClaimError, match=rf"claim.yaml:\d+: .*{sentence}"):
        load_claim(written(tmp_path, places=places, variables=VARIABLES))


def test_an_edge_that_is_not_there_and_a_computed_variable_are_refused():
    variables = {"u": "number(1)", "v": "number(3)", "w": "u * 1", "answer": "w + v"}
    with pytest.raises(ClaimError, match=r"it depends on 'u', which has places too"):
        Hypothesis(variables, {"u": ["a0.h1->m1"], "w": ["m1->logits"]})
    claim = Hypothesis(VARIABLES, {"u": ["a0.h1->m7"]})
    with pytest.raises(ClaimError, match=r"the variable 'u': .*m7"):
        claim.graph(workbench())
