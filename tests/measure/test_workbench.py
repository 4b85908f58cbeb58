"""A workbench outlives a claim: the next one finds done what the last one asked for, and reads the same figures."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

import assay
from assay.errors import ClaimError, UserError
from assay.explanations import Constant, Keep, Program, Remove, programs
from assay.intervene.edits.donor_runs import Donors
from assay.intervene.fill.residue import Residue
from assay.measure.controls import controls
from assay.measure.length import length, quantise
from assay.measure.settings import BLOCKS, NOT_ASKED
from assay.model.transformer import Model
from assay.record.measurement import MeasurementRecord
from assay.report.page.page import render
from assay.task.ngrams.ngrams import NGram
from assay.task.task import Task
from tests.measure.planted import texts
from tests.model.tiny import tiny

ROWS, REFERENCE, DRAWS = 6, 16, 4
SETTINGS: dict[str, Any] = {"only": ("headline",), "ablation": ["mean", "resample_joint"], "draws": DRAWS}
HEADS = [f"a{layer}.h{head}" for layer in range(4) for head in range(4)]


@cache
def model() -> Model:
    return tiny("gpt2", layers=4, tokenizer=True)


@cache
def task() -> Task:
    return Task.text(model(), texts=list(texts(ROWS, 0)), reference=list(texts(REFERENCE, 1)))


def layers_run(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts layers times rows, as the model runs them."""
    count: Counter[str] = Counter()
    layer = Model.run_layer

    def counted(view: Model, x: torch.Tensor, *rest: Any) -> torch.Tensor:
        count["layers"] += x.shape[0]
        return layer(view, x, *rest)

    monkeypatch.setattr(Model, "run_layer", counted)
    return count


def donors() -> int:
    """Different reference rows that each draw takes values from, added over draws."""
    from assay.intervene.fill.donors import donors as of

    return sum(len(np.unique(of(task(), 0, draw))) for draw in range(DRAWS))


def test_a_headline_costs_its_own_runs_and_a_further_claim_of_the_layer_only_these(monkeypatch: pytest.MonkeyPatch):
    workbench, count = assay.Workbench(model(), task()), layers_run(monkeypatch)
    runs = (1 + DRAWS + 1) * ROWS * 3  # the mean, the draws and the run that changes nothing, each from layer 1 on
    for name, new in (("a1.h2", 4 * ROWS + 2 * REFERENCE + 2 * donors()), ("a1.h0", 0)):
        count.clear()
        record = workbench.measure(Remove([name]), **SETTINGS).record
        assert count["layers"] == runs + new
        assert record.timing.forwards == round((runs + new) / 4)


def test_a_loop_over_all_heads_costs_their_runs_and_one_pass_over_what_they_share(monkeypatch: pytest.MonkeyPatch):
    workbench, count = assay.Workbench(model(), task()), layers_run(monkeypatch)
    for name in HEADS:
        workbench.measure(Remove([name]), **SETTINGS)
    shared = 4 * (ROWS + REFERENCE + donors())
    assert count["layers"] == shared + 4 * (1 + DRAWS + 1) * ROWS * (4 + 3 + 2 + 1)
    script = shared + len(HEADS) * (1 + DRAWS) * ROWS * 4  # runs of whole passes, and none that changes nothing
    assert count["layers"] <= 1.3 * script


def test_heads_in_any_order_are_seen_once_on_the_reference(monkeypatch: pytest.MonkeyPatch):
    """Deeper layers go on where the run over the reference stopped; lower ones were seen on the way."""
    workbench = assay.Workbench(model(), task())
    workbench.measure(Remove(["a3.h1"]), **SETTINGS)
    count = layers_run(monkeypatch)
    workbench.measure(Remove(["a0.h1"]), **SETTINGS)
    assert count["layers"] == (1 + DRAWS + 1) * ROWS * 4


CLAIMS = {
    "remove": Remove(["a1.h2", "m2"]),
    "keep": Keep(["a0.h1", "m0", "a3.h2"]),
    "program": Program({"a1.h1": programs.induction("full"), "m1": programs.ngram(2)}),
    "constant": Constant(["m0"], "optimal"),
}


@pytest.mark.parametrize("kind", CLAIMS)
def test_figures_on_a_used_workbench_are_those_of_a_full_measurement(kind: str):
    workbench = used()
    alone = assay.measure(CLAIMS[kind], model(), task(), ablation=["mean", "resample_joint"], controls=0).record
    found = workbench.measure(CLAIMS[kind], **SETTINGS).record
    for block in ("headline", "table", "losses", "recovered", "nines", "unmatched"):
        assert getattr(found, block) == getattr(alone, block)
    assert found.agreement.kl_quantiles == alone.agreement.kl_quantiles


@cache
def used() -> assay.Workbench:
    workbench = assay.Workbench(model(), task())
    for name in ("a3.h0", "m1"):
        workbench.measure(Remove([name]), **SETTINGS)
    return workbench


@pytest.mark.parametrize("option", ["frozen_norm", "refit"])
def test_options_of_one_claim_are_not_the_next_ones(option: str):
    workbench = assay.Workbench(model(), task())
    claim, settings = Remove(["a1.h2"]), {**SETTINGS, "ablation": "mean"}
    plain = workbench.measure(claim, **settings).record.table
    other = workbench.measure(claim, **settings, **{option: True}).record.table
    assert other != plain
    assert other == assay.measure(claim, model(), task(), **settings, **{option: True}).record.table
    assert workbench.measure(claim, **settings).record.table == plain


@pytest.mark.parametrize("kind", ["program", "keep", "constant"])
@pytest.mark.parametrize("block", ["bits", "controls"])
def test_a_stage_takes_the_claims_own_run_from_the_one_that_was_scored(
    block: str, kind: str, monkeypatch: pytest.MonkeyPatch
):
    """Copies of the model (rounded, of random weights) are run beside it; the model itself is not."""
    count: Counter[tuple[str, ...]] = Counter()
    own, layer = model(), Model.run_layer
    asked: tuple[str, ...] = ()

    def counted(view: Model, x: torch.Tensor, *rest: Any) -> torch.Tensor:
        count[asked] += len(x) if view is own else 0
        return layer(view, x, *rest)

    monkeypatch.setattr(Model, "run_layer", counted)
    for asked in (("headline",), ("headline", block)):
        workbench = assay.Workbench(own, task())
        workbench.measure(CLAIMS[kind], **{**SETTINGS, "only": asked, "controls": 0, "ablation": "mean"})
    assert count[asked] == count["headline",] > 0


def test_rounded_copies_are_run_once_below_the_claim(monkeypatch: pytest.MonkeyPatch):
    """Of eight that are explained three are also rivals as they stand; the claim's parts begin in layer 1 of 4."""
    layer, count = Model.run_layer, Counter[str]()

    def counted(view: Model, x: torch.Tensor, *rest: Any) -> torch.Tensor:
        count["layers"] += 0 if view is model() else len(x)
        return layer(view, x, *rest)

    workbench = assay.Workbench(model(), task())
    monkeypatch.setattr(Model, "run_layer", counted)
    workbench.measure(CLAIMS["program"], **{**SETTINGS, "only": ("bits",), "ablation": "mean"})
    models, explained, shared = 4 + 4, 8, 3
    assert count["layers"] == ROWS * (4 * (models + explained) - shared)


def test_ngrams_are_looked_up_once(monkeypatch: pytest.MonkeyPatch):
    workbench, calls, looked_up = assay.Workbench(model(), task()), [], NGram.distribution
    monkeypatch.setattr(NGram, "distribution", lambda *given: calls.append(given) or looked_up(*given))
    first = workbench.measure(Keep(["a0.h1"]), **SETTINGS)
    seen = len(calls)
    again = workbench.measure(Keep(["a0.h2"]), **SETTINGS)
    assert 0 < seen == len(calls)
    assert [row.floor for row in again.table] == [row.floor for row in first.table]
    assert {"bigram", "ngram", "unigram"} <= {row.floor for row in again.table}


def test_what_was_not_asked_for_says_so_in_record_page_and_terminal():
    found = used().measure(CLAIMS["program"], **SETTINGS)
    record = found.record
    assert record.arguments.resolved["only"] == ["headline"]
    assert record.compute.reason == record.bits.reason == record.parts.reason == NOT_ASKED
    assert record.controls.reason == record.controls.random_weights_reason == NOT_ASKED
    assert (record.rivals, record.rivals_reason) == ((), NOT_ASKED)
    assert {check.state for check in record.checks} == {"unknown"}
    assert {check.evidence for check in record.checks} == {NOT_ASKED}
    assert record.residual.signal.value.reason == NOT_ASKED
    assert f"No check was made, because {NOT_ASKED}." in record.sentence
    page = render(record, found.examples)
    assert f"because {NOT_ASKED}" in page
    assert record.compute.reason == NOT_ASKED
    assert f"no check was made, because {NOT_ASKED}" in page


def test_blocks_that_are_asked_for_are_those_of_a_full_measurement():
    alone = assay.measure(CLAIMS["keep"], model(), task(), ablation="mean", controls=2).record
    found = used().measure(CLAIMS["keep"], only=("controls", "bits"), ablation="mean", controls=2).record
    assert found.controls.groups == alone.controls.groups
    assert found.bits.standalone == alone.bits.standalone
    assert found.headline == alone.headline
    assert found.rivals_reason == NOT_ASKED


def test_what_a_workbench_cannot_measure_is_one_sentence():
    with pytest.raises(UserError, match="has the seed 0, so it measures nothing with 3"):
        used().measure(CLAIMS["remove"], seed=3)
    with pytest.raises(UserError, match=f"scores {ROWS} documents and not 4; make one with documents=4"):
        used().measure(CLAIMS["remove"], documents=4)
    with pytest.raises(UserError, match="unknown block 'headlines'; did you mean 'headline'"):
        used().measure(CLAIMS["remove"], only=("headlines",))
    with pytest.raises(ClaimError, match="is no explanation"):
        used().measure(3)


def test_a_workbench_of_fewer_documents_scores_those_of_the_same_measurement():
    few = assay.Workbench(model(), task(), documents=3, seed=2).measure(CLAIMS["remove"], **SETTINGS).record
    alone = assay.measure(CLAIMS["remove"], model(), task(), documents=3, seed=2, **SETTINGS).record
    assert few.table == alone.table
    assert few.task.documents == 3


def test_blocks_are_those_of_the_record():
    assert set(BLOCKS) - {"own"} <= set(MeasurementRecord.model_fields)


def test_the_residual_of_a_program_is_taken_from_what_its_fit_read_of_the_reference():
    at, rows = assay.Workbench(model(), task()), np.arange(REFERENCE)
    residue = Residue(at, CLAIMS["program"].edits(at, "mean"))
    fresh = Residue(assay.Workbench(model(), task()), residue.edits)
    before = at.runner.forwards
    found = residue.centred("reference", rows)
    assert at.runner.forwards == before
    for own, other in zip(found, fresh.centred("reference", rows), strict=True):
        torch.testing.assert_close(own, other)
    assert fresh.workbench.runner.forwards > 0


def test_donors_that_do_not_fit_together_are_run_once_a_micro_batch(monkeypatch: pytest.MonkeyPatch):
    """Of a large model four draws of all rows do not: each would push the others out, micro-batch after micro-batch."""
    found, passes = {}, {}
    for room in (Donors.room, 40_000):
        monkeypatch.setattr(Donors, "room", room)
        workbench = assay.Workbench(model(), task())
        workbench.runner.batch = 1
        record = workbench.measure(Keep(["m0", "m1", "m3", "a3.h1"]), **SETTINGS).record
        found[room], passes[room] = record.table, sum(stage.passes for stage in record.budget.stages)
    first, second = passes.values()
    assert first < second <= first + DRAWS * 1.1  # once for what is kept, and on to the last layer for its floor
    for one, other in zip(*found.values(), strict=True):
        assert one.kl_explained.value == pytest.approx(other.kl_explained.value, abs=1e-9)


def test_copies_of_the_model_are_gone_once_they_are_done_with(monkeypatch: pytest.MonkeyPatch):
    """The garbage collector does not come by for what a copy takes: it counts objects, of which these are few."""
    alive, most = weakref.WeakSet(), Counter[str]()

    def kept(where: Any, name: str) -> None:
        make = getattr(where, name)

        def made(*given: Any) -> Any:
            copy = make(*given)
            alive.add(getattr(copy, "model", copy))
            most[name] = max(most[name], len(alive))
            return copy

        monkeypatch.setattr(where, name, made)

    kept(quantise, "changed")
    kept(controls, "randomised")
    settings = {**SETTINGS, "only": ("bits", "controls"), "controls": 2}
    found = {}
    gc.disable()
    try:
        for room in (length.COPIES, 1):
            monkeypatch.setattr(length, "COPIES", room)
            found[room] = assay.measure(CLAIMS["program"], model(), task(), **settings).record.bits
            assert not alive
    finally:
        gc.enable()
    assert most == {"changed": 13, "randomised": 1}
    first, second = found.values()
    assert first == second
