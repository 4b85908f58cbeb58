"""Hypotheses in claim files: there and back, and each mistake in one sentence with file and line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from assay.errors import ClaimError
from assay.explanations import Hypothesis
from assay.explanations.claims.file import load_claim
from assay.explanations.hypothesis.places import Place
from tests.explanations.hypothesis.test_scrub import PLACES, RIGHT, VARIABLES, workbench

CLAIM = {
    "model": "planted:sums_0",
    "task": {"kind": "planted"},
    "explanation": {"kind": "hypothesis", "variables": VARIABLES, "places": PLACES},
}


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "claim.yaml"
    path.write_text(yaml.safe_dump({**CLAIM, "explanation": {**CLAIM["explanation"], **changes}}, sort_keys=False))
    return path


def test_there_and_back_is_the_same(tmp_path: Path):
    for claim in (RIGHT, Hypothesis(VARIABLES, PLACES, treeify=False)):
        path = tmp_path / "claim.yaml"
        path.write_text(claim.to_yaml("planted:sums_0", {"kind": "planted"}))
        found = load_claim(path).explanation.build()
        assert isinstance(found, Hypothesis)
        assert found.fields() == claim.fields()
        assert found.sentence("m") == claim.sentence("m")


def test_what_no_file_can_hold_is_named():
    python = Hypothesis({"u": "number(1)", "twice": lambda u: 2 * u}, {"u": ["a0.h1"]})
    with pytest.raises(ClaimError, match=r"the variable 'twice' of this hypothesis is a Python function"):
        python.to_yaml()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"places": {"w": ["a0.h1"]}}, r"claim.yaml:\d+: 'w' is no variable"),
        (
            {"places": {"u": ["a0.h9"]}},
            r"claim.yaml:\d+: the variable 'u': 'a0.h9' is not in planted:sums_0: its layers",
        ),
        ({"places": {"u": ["L0H1"]}}, r"claim.yaml:\d+: the variable 'u': 'L0H1'.*a0.h1"),
        ({"places": {"u": []}}, r"claim.yaml:\d+: "),
        ({"variables": {"u": "numbr(1)", "answer": "u"}}, r"claim.yaml:7: the variable 'u': .*did you mean 'number'"),
        ({"variables": {"u": "answer", "answer": "u"}}, r"claim.yaml:\d+: the variable 'u' depends on itself"),
        ({"answer": "sum"}, r"claim.yaml:\d+: the answer is 'sum', which is no variable"),
        ({"treefy": True}, r"claim.yaml:\d+: unknown field 'treefy'.*did you mean 'treeify'"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_line(tmp_path: Path, changes: dict[str, Any], sentence: str):
    with pytest.raises(ClaimError, match=sentence):
        load_claim(written(tmp_path, **changes))


@pytest.mark.parametrize(
    ("places", "sentence"),
    [
        ({"u": ["a0.h1"], "v": ["a0.h1@2"]}, r"the variable 'v': 'a0.h1@2' overlaps 'a0.h1' of 'u'"),
        ({"u": ["m0"], "v": ["m0.n3"]}, r"the variable 'v': 'm0.n3' overlaps 'm0' of 'u'"),
        ({"answer": ["m1"]}, "only the answer 'answer' has places; give some of a variable that it depends on"),
        ({"u": ["a7.h1"]}, r"the variable 'u': 'a7.h1': layer 7 does not exist"),
        ({"u": ["logits"]}, r"the variable 'u': 'logits' is not a component"),
    ],
)
def test_a_place_that_cannot_be_is_named_with_its_variable(places: dict[str, Any], sentence: str):
    with pytest.raises(ClaimError, match=sentence):
        Hypothesis(VARIABLES, places).scope(workbench().model)


def test_a_hypothesis_without_places_says_nothing():
    with pytest.raises(ClaimError, match="names no places"):
        Hypothesis(VARIABLES, {})
    with pytest.raises(ClaimError, match=r"the variable 'u' takes a list of at least one place, not 'a0.h1'"):
        Hypothesis(VARIABLES, {"u": "a0.h1"})
    assert Hypothesis(VARIABLES, {"u": [Place("a0.h1")]}).place_names == ["a0.h1"]
