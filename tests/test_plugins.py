"""A kind, a program, a search, a metric and a world from outside join assay by entry points, up to the page."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

import assay
from assay.planted import worlds

PLUGINS = Path(__file__).parent / "plugins"
CLAIM = """\
model: zoo:stories-260k
task: {kind: repeat, n: 8, length: 16}
explanation: {kind: scaled, components: [a0.h1, m1], factor: 0.9}
controls: 3
"""


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(PLUGINS))
    importlib.invalidate_caches()
    yield
    for name in ("scaled", "echo"):
        sys.modules.pop(name, None)


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


def test_a_plug_in_that_cannot_be_loaded_is_named(run, tmp_path, monkeypatch):
    folder = tmp_path / "broken-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[assay.kinds]\nbroken = nowhere:Fields\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("claim.yaml").write_text(CLAIM.replace("scaled", "broken"))
    code, _, err = run("validate", "claim.yaml")
    assert code == 2
    assert "the plug-in 'nowhere:Fields' ('broken' of assay.kinds) cannot be loaded: ModuleNotFoundError" in err


@pytest.mark.parametrize(
    ("level", "built", "sentence"),
    [
        ("level = property(lambda self: 'where')", "5", "the kind 'wrong' builds 5, which is no assay.Explanation"),
        ("level = property(lambda self: 'how')", "scaled.Scaled(['m0'], 1)", "builds a claim of the kind 'scaled'"),
        ("level = property(lambda self: 'why')", "5", "has the level 'why'; valid: 'where', 'what', 'how'"),
        ("", "5", "of the kind 'wrong' does not say its level"),
    ],
)
def test_a_block_that_does_not_build_what_it_says_is_refused(run, tmp_path, monkeypatch, level, built, sentence):
    folder = tmp_path / "wrong-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: wrong\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[assay.kinds]\nwrong = wrong:Fields\n")
    (tmp_path / "wrong.py").write_text(
        "import scaled\nfrom assay.explanations.claims.block import NamesParts\n\n"
        f"class Fields(NamesParts):\n    factor: float\n    build = lambda self: {built}\n    {level}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "wrong", raising=False)
    Path("claim.yaml").write_text(CLAIM.replace("kind: scaled", "kind: wrong"))
    code, _, err = run("measure", "claim.yaml", "--out", "run")
    assert (code, sentence in err) == (2, True), err


def test_a_world_that_says_nothing_of_its_truth_has_no_roc(run, monkeypatch):
    monkeypatch.setattr(type(worlds.world("and_gate")), "truth", lambda self, ablation: None)
    code, _, err = run("find", "circuit", "planted:and_gate", "--roc", "--method", "random", "--out", "found")
    assert code == 2
    assert "gives None as what is right" in err
