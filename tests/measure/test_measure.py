"""`assay.measure` end to end on small models: every kind of claim gives a whole record, the same one every time."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from torch import nn

import assay
from assay.errors import ClaimError, TaskError
from assay.explanations import Circuit, Constant, Keep, Program, Remove, programs
from assay.measure.measurement import Measurement
from assay.measure.request import request
from assay.record.measurement import MeasurementRecord
from assay.record.read import parsed
from assay.task.task import Task
from tests.measure.planted import texts
from tests.model.tiny import tiny
from tests.oracles import two_components

CLAIMS = {
    "program": Program({"a1.h0": programs.previous_token()}),
    "keep": Keep(["a0.h1", "m1"]),
    "remove": Remove(["m0"]),
    "constant": Constant(["a0.h0"], "zero"),
    "circuit": Circuit(nodes=["a0.h1", "m1"]),
}
MODULE_CLAIMS = {"keep": Keep(["a"]), "remove": Remove(["a"]), "constant": Constant(["a"], "zero")}


@cache
def text_task() -> Task:
    model = tiny("llama", tokenizer=True)
    return Task.text(model, texts=list(texts(8, 0)), reference=list(texts(24, 1)))


def measured(kind: str, where: str) -> Measurement:
    settings = {"controls": 3, "ablation": ["mean", "resample_joint"], "seed": 3}
    if where == "transformer":
        return assay.measure(CLAIMS[kind], tiny("llama", tokenizer=True), text_task(), **settings)
    return assay.measure(MODULE_CLAIMS[kind], two_components.model(), two_components.task(), **settings)


once = cache(measured)


ALL = [(kind, "transformer") for kind in CLAIMS] + [(kind, "module") for kind in MODULE_CLAIMS]


@pytest.mark.parametrize(("kind", "where"), ALL)
def test_every_kind_gives_a_whole_record_and_the_same_one_twice(kind, where):
    first, second = once(kind, where), measured(kind, where)
    assert parsed(MeasurementRecord, json.loads(first.record.model_dump_json(by_alias=True))) == first.record
    plain = [m.record.model_dump_json(exclude={"timing"}) for m in (first, second)]
    assert plain[0] == plain[1]
    assert first.examples.equals(second.examples)
    assert len(first.examples) == first.record.task.tokens
    assert first.record.claim.kind == kind
    assert first.record.level == ("how" if kind in ("program", "constant") else "where")
    assert first.record.sentence


def test_a_model_without_smaller_members_has_hard_tokens_by_an_ngram():
    result = measured("program", "transformer")
    hard, count = result.record.agreement.hard_tokens, result.record.task.tokens
    assert hard.by == "an n-gram of one half of the reference"
    assert hard.tokens == round(0.1 * count)
    assert list(hard.kept) == ["an n-gram of the other half of the reference"]


@pytest.mark.parametrize("where", ["transformer", "module"])
def test_a_run_is_saved_as_a_folder_and_never_over_another_one(tmp_path, where):
    run = once("keep", where)
    folder = run.save(tmp_path / "run")
    assert {"measurement.json", "examples.parquet", "report.html"} <= {p.name for p in folder.iterdir()}
    assert json.loads((folder / "measurement.json").read_text())["sentence"] == run.record.sentence
    with pytest.raises(assay.errors.UserError, match="exists"):
        run.save(folder)
    run.save(folder, overwrite=True)


def test_the_record_of_two_components_holds_what_was_worked_by_hand():
    record = once("keep", "module").record
    rows = {row.ablation: row for row in record.table if row.floor == "empty"}
    assert rows["mean"].recovered.value == pytest.approx(1 - 0.1081507 / 0.1840321, abs=1e-5)
    assert record.losses.model.value == pytest.approx(0.5091151, abs=1e-6)
    lowest = min(row.recovered.value for row in rows.values())
    assert record.recovered.value == lowest
    assert record.headline.floor == "empty"
    assert record.bits.claim.bits == pytest.approx(2 + np.log2(3) + 1)  # one of two submodules
    assert record.compute is not None


def test_removing_gives_nats_and_no_nines_and_a_constant_zero_is_named_by_its_floor():
    removed = once("remove", "module").record
    mean = next(row for row in removed.table if row.ablation == "mean")
    assert mean.nats.value == pytest.approx(0.1081507, abs=1e-6)
    assert mean.necessity.value is None
    assert removed.nines.value is None
    constant = once("constant", "module").record
    # a = 0 over a = its mean: 1 − .2197225 / .1081507
    over_mean = next(r for r in constant.table if r.ablation == "mean" and r.floor == "ablated")
    assert over_mean.recovered.value == pytest.approx(1 - 0.2197225 / 0.1081507, abs=1e-5)


def test_what_cannot_be_measured_is_said_in_a_sentence():
    model = tiny("llama", tokenizer=True)
    with pytest.raises(ClaimError, match="needs a model and a task"):
        assay.measure(CLAIMS["keep"])
    with pytest.raises(TaskError, match="no reference"):
        assay.measure(CLAIMS["keep"], model, replace(text_task(), reference=None))


def test_only_the_floors_asked_for_stand_beside_the_headline_and_an_unknown_one_is_named():

    model, task = tiny("llama"), text_task()
    claim = Constant(["a0.h0"])
    found = assay.measure(claim, model, task, ablation="zero", controls=0, floors="bigram")
    assert {row.floor for row in found.table} == {"ablated", "bigram"}
    with pytest.raises(ClaimError, match="a constant claim has no floor 'empty' on this task"):
        assay.measure(claim, model, task, ablation="zero", controls=0, floors="empty")


class Other:
    """An object that looks like an explanation and is none."""

    kind, level, headline_floor = "other", "where", "ablated"

    def scope(self, model):
        return CLAIMS["remove"].scope(model)

    def plan(self, workbench, ablation, draw=0):
        return CLAIMS["remove"].plan(workbench, ablation, draw)

    floor = plan

    def sentence(self, model_name):
        return "other"

    def __repr__(self):
        return "Other()"


def test_what_is_no_explanation_is_refused_before_anything_is_loaded():
    for claim, what in (
        (Other(), r"Other\(\) is no explanation; use an assay.Explanation"),
        ({"kind": "keep"}, "is no explanation; use an assay.Explanation"),
        (
            nn.Sequential(nn.Linear(1, 1), *[nn.ReLU()] * 50),
            r"takes a claim, a model and a task, in this order, .* the model Sequential\( \(0\): Linear.*\.\.\.$",
        ),
    ):
        with pytest.raises(ClaimError, match=what) as found:
            request(claim, "zoo:nothing", text_task(), None, {})
        assert "\n" not in str(found.value)
        assert len(str(found.value)) < 300


def test_a_removals_floor_has_one_name_everywhere():
    found = assay.measure(Remove(["m0", "a0.h1"]), tiny("llama", tokenizer=True), text_task(), controls=0,
                          ablation=["mean", "zero"])  # fmt: skip
    record = found.record
    assert record.headline.floor == record.headline.nines.floor == "bigram"
    assert {row.floor for row in (*record.table, *record.parts.components, record.parts.compound)} == {"bigram"}
    least = min(record.table, key=lambda row: row.kl_explained.value)
    assert least.headline
    assert record.headline.ablation == least.ablation


def test_a_program_whose_source_is_nowhere_is_measured_and_its_length_is_undefined(tmp_path):
    made: dict = {}
    exec("def own(tokens, group): return 0.9 * group", made)
    claim = Program({"m1": programs.custom(made["own"], returns="output", reads=["m0"])})
    result = assay.measure(claim, tiny("llama", tokenizer=True), text_task(), ablation="mean", controls=2, quick=True)
    bits = result.record.bits
    assert bits.claim.bits is None
    assert "cannot be found, so its length is undefined" in bits.claim.reason
    assert bits.claim.reason in bits.reason
    result.save(tmp_path / "run")
    assert "cannot be found" in (tmp_path / "run" / "report.html").read_text()


def test_a_task_of_another_models_tokens_is_refused():
    own, other = assay.load("zoo:novel-1l"), assay.load("zoo:stories-260k")
    task = Task.repeat(other, n=4, length=8)
    with pytest.raises(TaskError, match=r"another tokenizer than zoo:novel-1l: id \d+ is '.*' there and '.*' here"):
        assay.measure(Remove(["a0.h1"]), own, task, only="headline")
    with pytest.raises(TaskError, match="another tokenizer"):
        assay.Workbench(own, task)
    twin = assay.load("zoo:novel-attn2")
    assert assay.Workbench(twin, Task.repeat(own, n=4, length=8)).task.tokenizer is own.tokenizer
