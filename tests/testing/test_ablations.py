"""Assay's own ablations, and one from outside, keep what an ablation promises; those that break one are refused."""

from __future__ import annotations

import pytest

from assay.intervene.fill.spec import ABLATIONS
from assay.testing import check_ablation

pytestmark = pytest.mark.usefixtures("plugins")


@pytest.mark.parametrize("name", [*(one for one in ABLATIONS if one not in ("counterfactual", "optimal")), "half_mean"])
def test_ablations_that_keep_every_promise(name):
    check_ablation(name)


BEGIN = """\
import torch
from assay.intervene.plan import Call, From, Own, Value
from assay.intervene.fill.spec import Ablation

"""


@pytest.mark.parametrize(
    ("given", "promise"),
    [
        ("made = 5", "it is an ablation under its own name: the plug-in 'odd' of assay.ablations gives 5 (int)"),
        ("made = Ablation('even', lambda *_: Value(torch.zeros(())))", "is an ablation that calls itself 'even'"),
        ("made = Ablation('odd', lambda *_: 0.0)", "'source' of the ablation 'odd' for 'a0.h0' gives 0.0 (float)"),
        ("made = Ablation('odd', lambda *_: Own())", "gives Own() (Own); wanted: Value or From or Call"),
        ("made = Ablation('odd', lambda w, site, draw: Call(lambda batch: batch.read(site), (site,)))", "reads a0.h0;"),
        ("made = Ablation('odd', lambda *_: From('scored'))", "takes values from From(run='scored'"),
        ("made = Ablation('odd', lambda *_: From('counterfactual'))", "ablation 'odd' needs them"),
        ("made = Ablation('odd', lambda *_: Value(torch.tensor(float('nan'))))", "the loss is no number"),
        ("made = Ablation('odd', lambda *_: Value(torch.randn(())))", "the same seed gives the same values: a0.h0"),
        (
            "made = Ablation('odd', lambda w, site, draw: Value(torch.tensor(float(draw))))",
            "'random' is False, and two draws give different runs",
        ),
        (
            "made = Ablation('odd', lambda *_: Value(torch.zeros(())), random=True)",
            "'random' is True, and two draws give the same runs",
        ),
        (
            "made = Ablation('odd', lambda *_: Call(lambda batch: batch.tokens[..., None] * 0.01), constant=True)",
            "in every row where 'constant' says so: not every part takes a `Value`",
        ),
    ],
)
def test_an_ablation_that_breaks_a_promise_is_refused(install, given, promise):
    install("odd", "ablations", "odd", BEGIN + given)
    with pytest.raises(AssertionError) as said:
        check_ablation("odd")
    assert promise in str(said.value)
