"""`assay find circuit planted:NAME --roc`: each method against the right edges, in terminal, record and page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from assay import cli
from assay.find.circuit.roc import roc_block
from assay.methods.edge_scores import EdgeScores
from assay.planted.world import Truth
from assay.planted.worlds import world
from assay.record.search import RocRecord
from tests.find.circuit.test_search import run

__all__ = ["run"]
SMALL = ("--documents", "12", "--select", "12", "--sizes", "3", "--controls", "0")


def test_each_method_is_compared_with_the_truth_and_reported_again(run, capsys):
    methods = ("--method", "exact", "--method", "first_layers", "--ablation", "resample_joint")
    code, out, err = run("planted:and_gate", "--roc", *methods, *SMALL, "--out", "found")
    assert (code, err) == (0, "")
    assert "ROC: 5 edges are right, 13 others are not" in out
    record = json.loads(Path("found/frontier.json").read_text())
    assert record["arguments"]["command"].endswith("--roc")
    RocRecord.model_validate(record["roc"])
    exact, order = record["roc"]["methods"]
    assert (exact["method"], exact["area"]["value"], exact["found"]) == ("exact", 1.0, 5)
    assert exact["area"]["low"] < 0.9 < exact["area"]["high"] == 1.0
    assert order["area"]["value"] < 0.5
    assert [(point["size"], point["true"]) for point in exact["points"]][:5] == [(i, i / 5) for i in range(1, 6)]
    page = Path("found/report.html").read_text()
    assert "Beside the truth" in page
    assert "area under the curve" in page
    Path("found/report.html").unlink()
    with pytest.raises(SystemExit) as end:
        cli.main(["report", "found"])
    assert (end.value.code or 0) == 0
    assert "ROC: 5 edges are right, 13 others are not" in capsys.readouterr().out
    assert Path("found/report.html").read_text() == page


def test_edges_that_count_neither_way_are_left_out():
    edges = world("and_gate").model.edges
    right, neutral = (edges[3],), (edges[0], edges[1])
    scores = EdgeScores(-np.arange(len(edges), dtype=np.float64), "declared", {}, 0.0)  # the neutral ones come first
    found = roc_block(Truth(edges=right, neutral=neutral), edges, [scores])
    assert (found.right, found.others, found.neutral) == (1, len(edges) - 3, 2)
    (one,) = found.methods
    assert (one.points[0].size, one.points[-1].size, one.found) == (1, len(edges) - 2, 0)
    assert one.area.value == pytest.approx(1 - 1 / (len(edges) - 3))


def test_where_the_truth_is_not_known_the_roc_is_undefined(run):
    options = ("--method", "random", "--ablation", "noise", "--draws", "1", *SMALL)
    code, out, err = run("planted:and_gate", "--roc", *options, "--out", "found")
    assert (code, err) == (0, "")
    why = "no truth of planted:and_gate is derived under the ablation 'noise'"
    assert f"ROC: undefined, because {why}" in " ".join(out.split())
    record = json.loads(Path("found/frontier.json").read_text())["roc"]
    RocRecord.model_validate(record)
    assert (record["reason"], record["methods"]) == (why, [])
    assert why in Path("found/report.html").read_text().replace("&#39;", "'")


@pytest.mark.parametrize(
    "arguments", [("zoo:stories-260k",), ("planted:and_gate", "--task", "repeat", "--length", "2")]
)
def test_without_a_worlds_own_task_there_is_none(run, arguments):
    code, out, err = run(*arguments, "--roc", "--out", "found")
    assert (code, out) == (2, "")
    assert err.startswith("assay: a ROC needs the task of a world whose truth is known, such as that of 'planted:indu")
    assert err.count("\n") == 1
    assert list(Path().iterdir()) == []
