"""Plans: the runs that mixed sources take values from, what is refused, and refits on the reference alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import assay
from assay.errors import ComponentError, TaskError
from assay.explanations import Remove
from assay.intervene.ablations import Workbench
from assay.intervene.learned import _on_reference
from assay.intervene.plan import Circuits, Edit, From, Mix, Own, Run, Value
from assay.intervene.runner import Runner
from assay.model.edge_sets import EdgeSet
from assay.names import parse_site
from tests.measure.planted import bench, planted, text_task

HEAD = parse_site("a0.h1")


def test_a_mix_of_donors_has_its_donors_run_in_the_plan():
    at, rows = bench(), np.arange(4)
    width = planted().config.d_head
    basis = torch.linalg.qr(torch.randn(width, 2, generator=torch.Generator().manual_seed(0))).Q
    (edit,) = at.ablate([HEAD], "resample_joint", 1)
    assert isinstance(edit.source, From)
    inner = Mix(basis, Own(), Mix(torch.eye(width), edit.source, Value(torch.zeros(width))))
    plan = at.plan((Edit(HEAD, inner),))
    assert [run.name for run in plan.runs] == ["donor", "explained"]
    seen = at.runner.values(plan, plan.final, [HEAD], rows)[HEAD]
    clean = at.runner.values(at.plan(()), at.plan(()).final, [HEAD], rows)[HEAD]
    donated = at.plan((edit,))
    taken = at.runner.values(donated, donated.final, [HEAD], rows)[HEAD]
    torch.testing.assert_close(seen, taken + (clean - taken) @ basis @ basis.T)


def test_a_run_with_edits_and_a_circuit_is_refused():
    circuit = Circuits(EdgeSet.whole(np.zeros(len(planted().edges), dtype=bool)), "fill")
    edits = (Edit(HEAD, Own()), Edit(parse_site("m0"), Own()))
    with pytest.raises(ComponentError, match=r"'both' has a circuit and 2 edits \(the first of 'a0.h1'\)"):
        Run("both", edits=edits, circuits=circuit)


def with_counterfactual():
    made = text_task()
    return replace(made, counterfactual=made.tokens.flip(0))


def test_a_refit_of_counterfactuals_is_refused_as_the_reference_has_none():
    at = Workbench(Runner(planted(), with_counterfactual()), refit=True)
    for source in (From("counterfactual"), Mix(torch.eye(4), From("counterfactual"), Own())):
        with pytest.raises(TaskError, match="fitted on the reference, whose examples have no counterfactual run"):
            at.plan((Edit(HEAD, source),))
    with pytest.raises(TaskError, match="leave 'refit' out, or that ablation"):
        assay.measure(Remove(["a0.h1"]), planted(), with_counterfactual(), ablation="counterfactual", refit=True)
    assert len(at.plan(at.ablate([HEAD], "mean")).final.edits) == 2  # constants qualify


@pytest.mark.parametrize(("ablation", "shared"), [("resample_joint", True), ("resample_independent", False)])
def test_donors_of_reference_rows_are_shared_as_those_of_scored_rows_are(ablation: str, shared: bool):
    at = bench()
    first, second = _on_reference(at, at.ablate([HEAD, parse_site("a1.h0")], ablation))
    rows = [
        edit.source.rows for edit in (first, second) if isinstance(edit.source, From) and edit.source.rows is not None
    ]
    assert len(rows) == 2
    assert np.array_equal(*rows) == shared
