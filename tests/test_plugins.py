"""A kind, a program, a search, a metric and a world from outside join assay by entry points, up to the page."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import assay
from assay.explanations import kinds
from assay.intervene.plan import Edit, Value
from assay.names import parse_site
from assay.planted import worlds
from assay.record.measurement import MeasurementRecord
from assay.score.score import score

pytestmark = pytest.mark.usefixtures("plugins")
CLAIM = """\
model: zoo:stories-260k
task: {kind: repeat, n: 8, length: 16}
explanation: {kind: scaled, components: [a0.h1, m1], factor: 0.9}
controls: 3
"""


@cache
def small() -> tuple[Any, assay.Task]:
    model = assay.load("zoo:novel-1l")
    return model, assay.Task.repeat(model, n=4, length=4)


def test_a_kind_from_outside_is_validated_measured_and_reported(run):
    Path("claim.yaml").write_text(CLAIM)
    code, out, err = run("validate", "claim.yaml")
    assert (code, err) == (0, "")
    assert "claim.yaml is valid: scaled (level: where) on a0.h1, m1 of zoo:stories-260k" in out
    code, out, err = run("measure", "claim.yaml", "--out", "run")
    assert code == 0, err
    record = json.loads(Path("run/measurement.json").read_text())
    assert record["claim"]["kind"] == "scaled"
    assert record["claim"]["sentence"] == "of a0.h1, m1 of zoo:stories-260k the share 0.9 is enough"
    assert 0.9 < record["recovered"]["value"] < 1
    (group,) = record["controls"]["groups"]
    assert (group["name"], group["n"], group["possible"]) == ("other factors", 3, 3)
    assert group["p"] == 0.25  # it is better than each of the three
    assert record["controls"]["random_weights_reason"] == "no search is known that finds claims of kind 'scaled'"
    assert record["bits"]["claim"]["how"].endswith("+ a factor of 16 bits")
    assert record["bits"]["standalone"]["bits"] is None
    assert (
        record["residual"]["signal"]["value"]["reason"] == "a scaled claim gives no value that could leave a residual"
    )
    assert record["own"]["block"] == "scaled"
    assert record["own"]["pieces"][1]["rows"] == [["a0.h1", 0.9], ["m1", 0.9]]
    page = Path("run/report.html").read_text()
    assert "the share 0.9 is enough" in page
    assert "other factors" in page
    assert "Every part keeps 0.9 of its value." in page
    assert "What each part keeps" in page
    code, again, err = run("report", "run")
    assert (code, err) == (0, "")
    assert "the share 0.9 is enough" in " ".join(again.split())


def test_without_controls_of_its_own_the_record_and_the_page_say_why(run):
    Path("claim.yaml").write_text(CLAIM.replace("factor: 0.9", "factor: 0.9, rivals: false"))
    code, _, err = run("measure", "claim.yaml", "--out", "run")
    assert code == 0, err
    why = "no controls are known for claims of kind 'scaled'"
    assert json.loads(Path("run/measurement.json").read_text())["controls"]["reason"] == why
    assert why in " ".join(Path("run/report.html").read_text().replace("&#39;", "'").split())


SHIFTED = """\
model: planted:echo
task: {kind: planted, n: 16}
explanation: {kind: shifted, by: 1, says: 1}
controls: 3
"""


def test_a_kind_may_have_a_target_of_its_own(run):
    Path("claim.yaml").write_text(SHIFTED)
    code, _, err = run("measure", "claim.yaml", "--out", "run")
    assert code == 0, err
    record = json.loads(Path("run/measurement.json").read_text())
    assert record["recovered"]["value"] > 0.999
    assert record["agreement"]["agreement"]["value"] == 1.0
    what = "the answers of one who says the word 1 further on"
    assert record["target"]["what"] == what
    assert record["target"]["kl"]["value"] == pytest.approx(record["table"][0]["kl_floor"]["value"], rel=1e-3)
    assert record["model"]["noise"]["kl"] < 1e-9  # the meter's noise is no distance from the target
    (group,) = record["controls"]["groups"]
    assert max(group["values"]) < 0.01  # they put other words there, and are held against the same answers
    assert group["p"] == 0.25
    (bigram,) = (one for one in record["rivals"] if one["name"] == "bigram")
    assert bigram["recovered"]["value"] < 0.9
    for text in (Path("run/report.html").read_text(), run("report", "run")[1]):
        assert f"KL to {what}" in " ".join(text.split())


def test_a_kind_that_no_sketch_can_run_has_no_cost_beforehand(run):
    """A dry run is made on a narrower model, and this kind writes what is as wide as the stream."""
    Path("claim.yaml").write_text(SHIFTED)
    code, _, err = run("measure", "claim.yaml", "--dry-run")
    assert code == 2
    assert err.startswith("assay: what this claim costs cannot be told beforehand: its kind 'shifted' gives values of")
    assert err.count("\n") == 1


def test_a_wrong_target_fails_and_without_one_it_is_the_model_itself():
    world = worlds.world("echo")
    workbench = assay.Workbench(world.model, world.task(16))

    def measured(says: int | None) -> MeasurementRecord:
        claim = kinds.block("shifted")(kind="shifted", by=1, says=says).build()
        return workbench.measure(claim, ablation="mean", only=("headline", "rivals")).record

    own, wrong, right, again = (measured(says) for says in (None, 2, 1, None))
    assert right.recovered.value == pytest.approx(1, abs=1e-3)
    assert wrong.recovered.value == pytest.approx(0, abs=0.01)
    assert wrong.agreement.agreement.value == 0.0
    assert own.target is None
    assert "cannot be distinguished from the model" in (own.recovered.reason or "")
    assert (own.table[0].kl_explained.value or 0) > 10
    # scores of n-grams are kept from claim to claim, but not those against the target of one
    assert own.rivals == again.rivals
    assert own.rivals[0].kl.value != pytest.approx(right.rivals[0].kl.value, rel=0.01)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("kind: scale,", "claim.yaml:3: unknown kind of explanation 'scale'; did you mean 'scaled'?"),
        ("kind: scaled, factr: 2,", "claim.yaml:3: unknown field 'factr' in 'explanation'; did you mean 'factor'?"),
        ("kind: scaled, components: [a0.h99], factor: 1 } #", "claim.yaml:3: 'a0.h99' is not in zoo:stories-260k"),
    ],
)
def test_its_mistakes_are_said_as_those_of_our_own_kinds(run, change, sentence):
    Path("claim.yaml").write_text(CLAIM.replace("kind: scaled,", change))
    code, out, err = run("validate", "claim.yaml")
    assert (code, out) == (2, "")
    assert sentence in err


def test_a_program_and_a_metric_from_outside_are_measured(run):
    claim = CLAIM.replace("length: 16", "length: 16, metric: bits").replace(
        "kind: scaled, components: [a0.h1, m1], factor: 0.9", "kind: program, components: {a0.h1: everywhere}"
    )
    Path("claim.yaml").write_text(claim)
    code, _, err = run("validate", "claim.yaml")
    assert (code, err) == (0, "")
    code, _, err = run("measure", "claim.yaml", "--out", "run")
    assert code == 0, err
    record = json.loads(Path("run/measurement.json").read_text())
    assert record["claim"]["sentence"] == "a0.h1 of zoo:stories-260k does uniform"
    assert record["task"]["metric"] == "bits"
    assert record["bits"]["claim"]["bits"] > 100  # its source is charged
    again = assay.measure("claim.yaml", controls=0).record
    assert again.losses.model.value == pytest.approx(record["losses"]["model"]["value"])
    assert "does uniform" in " ".join(run("report", "run")[1].split())


def test_an_ablation_from_outside_is_measured_reported_and_searched_under(run):
    claim = CLAIM.replace("kind: scaled, components: [a0.h1, m1], factor: 0.9", "kind: keep, components: [a0.h1, m1]")
    Path("claim.yaml").write_text(f"{claim}ablation: [mean, half_mean]\n")
    assert run("validate", "claim.yaml")[0] == 0
    code, _, err = run("measure", "claim.yaml", "--out", "run")
    assert code == 0, err
    record = json.loads(Path("run/measurement.json").read_text())
    rows = {row["ablation"]: row for row in record["table"] if row["floor"] == "empty"}
    assert rows.keys() == {"mean", "half_mean"}
    assert abs(rows["half_mean"]["kl_explained"]["value"] - rows["mean"]["kl_explained"]["value"]) > 1e-3
    assert "half_mean" in Path("run/report.html").read_text()
    assert "half_mean" in run("report", "run")[1]
    asked = ("zoo:stories-260k", "--documents", "4", "--select", "2", "--sizes", "3", "--controls", "2")
    code, _, err = run("find", "circuit", *asked, "--method", "newest", "--ablation", "half_mean", "--out", "found")
    assert code == 0, err
    Path("claim.yaml").write_text(f"{claim}ablation: half_meen\n")
    code, _, err = run("validate", "claim.yaml")
    assert code == 2
    assert "claim.yaml:5: unknown ablation 'half_meen'; did you mean 'half_mean'?" in err


def test_an_ablation_from_outside_gives_parts_what_it_says():
    model, task = small()
    workbench = assay.Workbench(model, task)
    site = parse_site("m0")
    by_name = workbench.plan(workbench.ablate([site], "half_mean"))
    by_hand = workbench.plan((Edit(site, Value(workbench.statistics.mean(site) / 2)),))
    kl = score(workbench, {"name": by_name, "hand": by_hand, "mean": workbench.plan(workbench.ablate([site], "mean"))})
    assert kl.mean_kl("name") == pytest.approx(kl.mean_kl("hand"), rel=1e-9)
    assert kl.mean_kl("name") != pytest.approx(kl.mean_kl("mean"), rel=1e-2)


def test_a_search_from_outside_has_a_frontier_of_its_own(run):
    asked = ("zoo:stories-260k", "--documents", "4", "--select", "2", "--sizes", "3", "--controls", "2")
    code, out, err = run("find", "circuit", *asked, "--method", "newest", "--out", "found")
    assert code == 0, err
    assert "newest" in out
    (method,) = json.loads(Path("found/frontier.json").read_text())["methods"]
    assert method["method"] == "newest"
    code, _, err = run("find", "circuit", *asked, "--method", "newst")
    assert code == 2
    assert "unknown method 'newst'; did you mean 'newest'?" in err


def test_a_world_from_outside_is_opened_measured_and_searched(run):
    assert "echo" in worlds.names()
    assert assay.load("planted:echo").name == "planted:echo"
    Path("claim.yaml").write_text(
        "model: planted:echo\ntask: {kind: planted, n: 16}\nexplanation: {kind: circuit, edges: [input->logits]}\n"
        "ablation: mean\ncontrols: 3\n"
    )
    code, _, err = run("measure", "claim.yaml", "--out", "run")
    assert code == 0, err
    assert json.loads(Path("run/measurement.json").read_text())["recovered"]["value"] > 0.999
    asked = ("--documents", "8", "--select", "8", "--sizes", "3", "--controls", "0", "--method", "exact")
    code, out, err = run("find", "circuit", "planted:echo", "--roc", *asked, "--out", "found")
    assert code == 0, err
    assert "ROC: 1 edge is right, 4 others are not" in out  # an MLP that writes nothing is none
    (found,) = json.loads(Path("found/frontier.json").read_text())["roc"]["methods"]
    assert found["area"]["value"] == 1.0
    code, _, err = run("find", "circuit", "planted:echp")
    assert code == 2
    assert "unknown model 'planted:echp'; did you mean 'planted:echo'" in err
