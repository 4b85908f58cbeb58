"""Assay's own kinds, and one from outside, keep what a kind promises; kinds that break a promise each are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import assay
from assay.explanations.answers import Neighbours
from assay.explanations.bits import ClaimBits
from assay.intervene.output import OwnTarget
from assay.planted import worlds
from assay.record.interchange import Agreed, Interchange, SwappedRow
from assay.record.pieces import Pieces
from assay.stats.estimate import Estimate
from assay.testing import check_kind
from tests.explanations.dictionary.made import folder

pytestmark = pytest.mark.usefixtures("plugins")

OWN: list[dict[str, Any]] = [
    {"kind": "remove", "components": ["a0.h0", "a0.h1"]},
    {"kind": "keep", "components": ["a0.h0@-1", "m0"]},
    {"kind": "constant", "components": ["m0"], "value": "zero"},
    {"kind": "program", "components": {"a0.h1": "previous_token", "m0": {"program": "ngram", "n": 1}}},
    {"kind": "circuit", "edges": ["input->a0.h1<v>", "a0.h1->m0", "m0->logits"]},
    {
        "kind": "subspace",
        "components": {"a0.h1": {"pca": 2}, "m0": {"random": 3, "seed": 1}, "r1": {"unembed": [5, 7]}},
    },
    {"kind": "hypothesis", "variables": {"last": "token(-1)", "next": "last"}, "places": {"last": ["a0.h1"]}},
    {"kind": "dictionary", "components": {"r1": {"folder": folder(64), "without": [3]}}},
    {"kind": "scaled", "components": ["a0.h1", "m0"], "factor": 0.5},
]


def test_a_kind_with_a_target_of_its_own_keeps_every_promise():
    check_kind({"kind": "shifted", "by": 1, "says": 1}, "planted:echo", worlds.world("echo").task(8))


@pytest.mark.parametrize("block", OWN, ids=lambda block: block["kind"])
def test_kinds_that_keep_every_promise(block):
    check_kind(block)


def refused(claim: Any, model: Any = "zoo:novel-1l") -> str:
    with pytest.raises(AssertionError) as said:
        check_kind(claim, model)
    return str(said.value)


def _group(factor: float, count: int = 1, possible: int = 5) -> Any:
    import scaled

    def neighbours(self, workbench, ablation, most):
        one = scaled.Scaled(self.components, factor)
        items = [(f"{i}", lambda aside: one.plan(aside, ablation)) for i in range(count)]
        yield Neighbours("a group", "others", items, possible)

    return neighbours


def _random(self, workbench, ablation, draw=0):
    self.factor += 0.1
    return type(self).__mro__[1].plan(self, workbench, ablation, draw)


def _shy(self, workbench, ablation, rows, sides):
    if len(rows) > 1:
        raise ValueError("too many rows")
    return Pieces(block="scaled", pieces=())


def _target(given: Any) -> Any:
    """Gives a target whose distribution is `given` of a tensor of its shape."""

    def target(self, workbench):
        vocab = workbench.model.config.vocab
        return OwnTarget("nothing", lambda tokens, rows: given(torch.zeros(*tokens.shape, vocab)))

    return target


def _swaps(**given: Any) -> Any:
    """Gives swaps of one variable, all of which agree."""
    agreed = Agreed(raw=Estimate(1.0, 0.9, 1.0, 8), accuracy=Estimate(1.0, 0.9, 1.0, 8))
    row = SwappedRow(variables=("u",), swaps=8, changed=0.5, majority=0.2, by_rest={"left": agreed})
    right = {"accuracy": agreed.accuracy, "plain": agreed.accuracy, "variables": ("u",), "perturbed": "left"}
    return lambda *_: Interchange(**{**right, "rows": (row,), **given})


def _vandal(self, workbench, ablation, draw=0):
    with torch.no_grad():
        workbench.model.W_E.add_(0.01)
    return type(self).__mro__[1].plan(self, workbench, ablation, draw)


@pytest.mark.parametrize(
    ("members", "promise"),
    [
        (
            {"claim_bits": lambda *_: 12.5, "sentence": lambda *_: 3},
            "\n- 'claim_bits' answers: 'claim_bits' of",
        ),
        (
            {"claim_bits": lambda *_: 12.5, "sentence": lambda *_: 3},
            "the kind 'scaled' breaks 2 promises:\n- 'sent",
        ),
        (
            {"target": lambda *_: "the answers"},
            "'target' of the kind 'scaled' (abc:Wrong) gives 'the",
        ),
        ({"target": _target(lambda zeros: zeros[..., 0])}, "wanted: [1, "),
        ({"target": _target(lambda zeros: zeros / 0)}, "gives log-probabilities that are not a number"),
        ({"target": _target(torch.randn_like)}, "the same seed gives the same runs: ['explained', "),
        ({"sentence": lambda *_: "two\nlines"}, "'sentence' is a line of text: it is 'two\\nlines'"),
        (
            {"scope": lambda self, model: [*assay.Remove(["m0"]).scope(model)] * 2},
            "names parts of the model, each",
        ),
        ({"claim_bits": lambda *_: ClaimBits(-1.0, "no")}, "'claim_bits' is a length, and says how it was counted"),
        ({"alone": lambda self, model: {"a0": assay.Remove(["a0.h0"]).scope(model)}}, "'alone' is about parts of its"),
        (
            {
                "assignment": lambda self, model: dict.fromkeys(self.scope(model)),
                "like": lambda self, assignment: type(self)(["a0.h0"], self.factor),
            },
            "'like' its own parts a claim is the same: it is about other parts",
        ),
        ({"plan": _random}, "the same seed gives the same runs"),
        (
            {"plan": lambda self, at, ablation, draw=0: at.plan(at.ablate(self.scope(at.model), ablation, draw))},
            "its run is the same under every ablation, as 'once' says: mean and zero give other runs",
        ),
        ({"unedited": lambda self, at, ablation: self.plan(at, ablation)}, "'unedited' is the model itself: it is"),
        (
            {"neighbours": "self"},
            "'neighbours' are explanations of something else: each of 'a group' runs as",
        ),
        ({"neighbours": "many"}, "'neighbours' are explanations of something else: 'a group' has 4, and at most 3"),
        ({"neighbours": "more"}, "of 'a group' there are 3, and 2 are possible"),
        ({"interchange": lambda *_: 0.5}, "gives 0.5 (float); wanted: Interchange or None"),
        ({"interchange": _swaps(variables=("v",))}, "says why there is none: none of its rows is of ('v',)"),
        ({"interchange": _swaps(perturbed="mean")}, "the row of ('u',) has nothing for 'mean'"),
        ({"interchange": _swaps(accuracy=Estimate(0.5, 0.4, 0.6, 8))}, "it says 0.5, its row 1.0"),
        ({"block": _shy}, "its record is read again and drawn: ValueError: too many rows"),
    ],
)
def test_a_kind_that_breaks_a_promise_is_refused(members, promise):
    import scaled

    groups = {"self": _group(0.5), "many": _group(0.1, 4), "more": _group(0.1, 3, 2)}
    given = {name: groups.get(value, value) if isinstance(value, str) else value for name, value in members.items()}
    assert promise in refused(type("Wrong", (scaled.Scaled,), given)(["m0"], 0.5))


def test_a_kind_that_changes_the_model_is_refused():
    import scaled

    said = refused(type("Wrong", (scaled.Scaled,), {"plan": _vandal})(["m0"], 0.5), assay.load("zoo:novel-1l"))
    assert "it leaves the model as it was: the model gives other scores" in said


BLOCK = """\
from typing import Any
from pydantic import ConfigDict, Field
import scaled

class made(scaled.ScaledFields):
    kind: str = "wrong"
    {}
    def build(self):
        return Wrong(self.components, self.factor)

class Wrong(scaled.Scaled):
    kind = "wrong"
"""


@pytest.mark.parametrize(
    ("member", "promise"),
    [
        ("", None),
        ("factor: float = Field(0.1, exclude=True)", "written as a claim file and read again it is the same claim"),
        ("model_config = ConfigDict(extra='ignore')", "a field of its block that it does not know is refused"),
        ("level = property(lambda self: 'how')", "its block is read, and builds the explanation that it says"),
        ("names = property(lambda self: ['m0'])", "'names' of the block of the kind 'wrong' gives ['m0'] (list)"),
    ],
)
def test_a_block_that_breaks_a_promise_is_refused(install, member, promise):
    install("wrong", "kinds", "wrong", BLOCK.format(member))
    block = {"kind": "wrong", "components": ["m0"], "factor": 0.5}
    if promise is None:
        check_kind(block)
    else:
        assert promise in refused(block)
