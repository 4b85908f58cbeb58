"""A head's pattern and its queries as places of a variable: where it looks, and by what."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from assay.errors import ClaimError
from assay.explanations import Hypothesis
from assay.explanations.claims.file import load_claim
from assay.explanations.hypothesis.interchange import Swapper, draw_swaps, interchange
from assay.explanations.hypothesis.places import Place, alignment
from assay.explanations.hypothesis.scrub import LEFT
from assay.measure.workbench import Workbench
from assay.model.transformer import Model
from assay.planted.worlds import world
from assay.score.score import score

REST = "resample_independent"
AT = 8  # the column that predicts the scored token


@cache
def bench() -> Workbench:
    """Induction: six letters, and three of them in the same order, of which the last is scored."""
    planted = world("planted:induction")
    task = planted.task(60, seed=1)
    scored = task.scored.clone()
    scored[:, :-1] = False
    return Workbench(planted.model, replace(task, scored=scored))


def said(example: Any) -> tuple[str, ...]:
    return example.tokens[1:7]


VARIABLES: dict[str, Any] = {
    "letters": said,
    "where": lambda example: example.ids[1:7].index(example.ids[AT]) + 1,
    "answer": lambda letters, where: letters[where] if where < 6 else None,
}


def claim(place: str) -> Hypothesis:
    return Hypothesis(VARIABLES, {"where": [place], "answer": ["a1.h0"]} if "h0" not in place else {"where": [place]})


def accuracies(made: Hypothesis) -> dict[str, float]:
    (found,) = interchange(bench(), made.graph(bench()), (LEFT, REST), 0)
    return {rest: found.value(rest).value or 0.0 for rest in (LEFT, REST)}


@pytest.mark.parametrize("place", [f"a1.h0.pattern@{AT}", "a1.h0.pattern"])
def test_the_pattern_of_an_induction_head_carries_where_the_letter_stood(place: str):
    found = accuracies(claim(place))
    assert found[LEFT] == pytest.approx(1.0)
    assert found[REST] == pytest.approx(1.0)
    assert max(accuracies(claim(f"a1.h1.pattern@{AT}")).values()) < 0.3


def test_its_queries_carry_which_letter_is_asked_for():
    variables: dict[str, Any] = {
        "letters": said,
        "asked": lambda example: example.tokens[AT],
        "answer": lambda letters, asked: dict(pairwise(letters)).get(asked),
    }
    for place, right in ((f"a1.h0.q@{AT}", True), (f"a1.h1.q@{AT}", False)):
        made = Hypothesis(variables, {"asked": [place]})
        graph = made.graph(bench())
        swaps = draw_swaps(graph, ("asked",), 0)
        (found,) = interchange(bench(), graph, (LEFT,), 0)
        assert (found.value(LEFT).value == pytest.approx(1.0)) == right
        assert swaps.changed.mean() > 0.4


def test_the_head_goes_on_from_the_pattern_with_values_of_its_own():
    """By hand: the pattern of the source's row times the base's values."""
    graph = claim(f"a1.h0.pattern@{AT}").graph(bench())
    swaps = draw_swaps(graph, ("where",), 0)
    model, tokens = bench().model, bench().task.tokens
    assert isinstance(model, Model)
    got = bench().runner.logits(Swapper(bench(), graph, LEFT).swap(swaps, 0), np.arange(60))
    seen: dict[str, torch.Tensor] = {}
    model.forward(tokens, {("pattern", 1): lambda value: seen.update(clean=value.clone())})

    def put(value: torch.Tensor) -> torch.Tensor:
        out = value.clone()
        out[:, 0, AT] = seen["clean"][torch.from_numpy(swaps.sources["where"][0]), 0, AT]
        return out

    torch.testing.assert_close(got, model.forward(tokens, {("pattern", 1): put}), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("rest", [LEFT, "mean", REST])
def test_scrubbed_the_pattern_comes_from_rows_that_look_at_the_same_place(rest: str):
    made = claim(f"a1.h0.pattern@{AT}")
    found = score(bench(), {"explained": made.plan(bench(), rest), "floor": made.floor(bench(), rest)})
    explained, floor = (float(found[name].kl.sum() / found.count.sum()) for name in ("explained", "floor"))
    assert explained < (0.01 if rest != "mean" else 20)
    assert floor > 2


def test_in_a_claim_file_and_among_rivals(tmp_path: Path):
    made = Hypothesis({"u": "previous(8)", "answer": "u * 1"}, {"u": ["a1.h0.pattern@8"]})
    path = tmp_path / "claim.yaml"
    path.write_text(made.to_yaml("planted:induction", {"kind": "planted"}))
    found = load_claim(path).explanation.build()
    assert isinstance(found, Hypothesis)
    assert found.fields() == made.fields()
    others = made.elsewhere(bench().model, 5, 0, 0.25)
    assert isinstance(others, list)
    assert [one.place_names for one in others] == [["a1.h1.pattern@8"]]


@pytest.mark.parametrize(
    ("places", "sentence"),
    [
        (
            {"u": ["a1.h0.pattern", "a1.h0"]},
            r"the variable 'u': 'a1.h0' overlaps 'a1.h0.pattern' of 'u'; leave one out",
        ),
        (
            {"u": ["a1.h9.pattern"]},
            r"the variable 'u': 'a1.h9.pattern': head 9 does not exist; layer 1 has heads 0 to 1",
        ),
        ({"u": ["a1.h0.z"]}, r"'a1.h0.z' is not a component that can be ablated"),
        ({"u": [Place("a1.h0.pattern", torch.eye(10)[:, :1])]}, r"'a1.h0.pattern' is a place as a whole alone"),
    ],
)
def test_what_is_no_place_is_one_sentence(places: dict[str, Any], sentence: str):
    with pytest.raises(ClaimError, match=sentence):
        alignment(places, Hypothesis({"u": "previous(8)", "answer": "u"}, {"u": ["m0"]}).high_level, bench().model)
