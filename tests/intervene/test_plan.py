"""Plans: the runs that mixed sources take values from, what is refused, and refits on the reference alone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from torch import Tensor

import assay
from assay.errors import PluginError, TaskError
from assay.explanations import Remove
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.learned import edits_on_reference
from assay.intervene.plan import Call, Data, Edit, EditRun, From, Mix, Own, Plan, Value
from assay.intervene.runner import Runner
from assay.names import Site, parse_site
from tests.measure.planted import planted, text_task, workbench

HEAD = parse_site("a0.h1")


def test_a_mix_of_donors_has_its_donors_run_in_the_plan():
    at, rows = workbench(), np.arange(4)
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


def with_counterfactual():
    made = text_task()
    return replace(made, counterfactual=made.tokens.flip(0))


def test_a_refit_of_counterfactuals_is_refused_as_the_reference_has_none():
    at = PlanContext(Runner(planted(), with_counterfactual()), refit=True)
    for source in (From("counterfactual"), Mix(torch.eye(4), From("counterfactual"), Own())):
        with pytest.raises(TaskError, match="fitted on the reference, whose examples have no counterfactual run"):
            at.plan((Edit(HEAD, source),))
    with pytest.raises(TaskError, match="leave 'refit' out, or that ablation"):
        assay.measure(Remove(["a0.h1"]), planted(), with_counterfactual(), ablation="counterfactual", refit=True)
    assert len(at.plan(at.ablate([HEAD], "mean")).final.edits) == 2  # constants qualify


@pytest.mark.parametrize(("ablation", "shared"), [("resample_joint", True), ("resample_independent", False)])
def test_donors_of_reference_rows_are_shared_as_those_of_scored_rows_are(ablation: str, shared: bool):
    at = workbench()
    first, second = edits_on_reference(at, at.ablate([HEAD, parse_site("a1.h0")], ablation))
    rows = [
        edit.source.rows for edit in (first, second) if isinstance(edit.source, From) and edit.source.rows is not None
    ]
    assert len(rows) == 2
    assert np.array_equal(*rows) == shared


@pytest.mark.parametrize("seed", range(6))
def test_no_reference_row_is_its_own_donor_in_a_refit(seed: int):
    at = PlanContext(workbench().runner, seed)
    (edit,) = edits_on_reference(at, at.ablate([HEAD], "resample_joint"))
    assert isinstance(edit.source, From)
    rows = edit.source.rows
    assert rows is not None
    assert sorted(rows) == list(range(len(rows)))
    assert (rows != np.arange(len(rows))).all()


@pytest.mark.parametrize("together", [1, 64])
def test_donors_are_run_once_for_all_heads_of_a_layer_however_few_rows_run_together(together: int):
    runner = Runner(planted(), text_task())
    runner.batch = together
    at, rows, heads = PlanContext(runner), np.arange(4), range(planted().config.heads)
    plans = [at.plan(at.ablate([Site("head", 1, head)], "resample_joint")) for head in [*heads] * 9]
    (source,) = {id(edit.source): edit.source for edit in plans[0].final.edits}.values()
    assert isinstance(source, From)
    donors = len(np.unique(source.rows))
    for batch in runner.batches(rows):
        for plan in plans:
            runner.logits(plan, batch)
    layers = planted().config.layers
    donated = runner.model.depth({("z", 1): lambda value: None}) / layers
    assert runner.forwards == pytest.approx(len(rows) * len(plans) + donors * donated)


@dataclass
class Given:
    """A micro-batch in which everything that is read has one value."""

    value: Tensor
    tokens: Tensor = field(default_factory=lambda: torch.zeros(1, 1, dtype=torch.int64))
    rows: np.ndarray = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    data: Data = "reference"

    def read(self, site: Site) -> Tensor:
        return self.value


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("ablation", ["zero", "mean", "noise", "resample_joint", "optimal"])
def test_a_refit_is_of_the_run_as_it_is_edited_with_frozen_norms_too(ablation: str, frozen: bool):
    at = PlanContext(Runner(planted(), text_task()), 1, frozen_norm=frozen, refit=True)
    reference, site = at.task.reference, parse_site("r2")
    assert reference is not None
    edits = at.ablate([HEAD, parse_site("m1")], ablation)
    fitted = at.plan(edits).final.edits[-1]
    assert fitted.site == site
    assert isinstance(fitted.source, Call)
    rows = np.arange(len(reference))  # fewer than 64: all of them
    clean, edited = (
        EditRun("clean", "reference"),
        EditRun("x", "reference", edits_on_reference(at, edits), frozen_norm=frozen),
    )
    plan = Plan((EditRun("donor", "reference"), clean, edited))
    before, wanted = (at.runner.values(plan, run, [site], rows)[site][reference.real] for run in (edited, clean))
    after = fitted.source.program(Given(torch.cat([before[:1], before])[None]))
    assert isinstance(after, Tensor)
    # with an intercept the fitted means are the means
    torch.testing.assert_close(after[0, 1:].mean(0), wanted.mean(0), atol=1e-4, rtol=1e-4)
    assert float((after[0, 1:] - wanted).square().mean()) < float((before - wanted).square().mean())


@pytest.mark.parametrize(("site", "reads"), [("a0.h1", True), ("a1.h0", False)], ids=["too early", "unnamed"])
def test_a_program_that_reads_what_its_run_has_not_come_to_is_one_sentence(site: str, reads: bool):
    at, later = workbench(), parse_site("a1.h0")
    edit = Edit(parse_site(site), Call(lambda batch: batch.read(later), (later,) if reads else ()))
    with pytest.raises(PluginError, match=r"a program reads 'a1\.h0', which its run has not come to"):
        at.runner.logits(at.plan((edit,)), np.arange(2))
