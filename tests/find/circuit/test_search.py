"""`assay find circuit` from flags to files: what it writes can be read and measured, what is wrong is one sentence."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from assay import cli
from assay.explanations.circuit.files import read_circuit
from assay.explanations.claims.file import load_claim
from assay.find.circuit.plan import SearchPlan
from assay.find.circuit.search import find_circuit, leak
from assay.find.split import SearchSplit, split_task
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.runner import Runner
from assay.planted.load import load
from assay.planted.worlds import world
from assay.record.measurement import MeasurementRecord
from assay.record.read import parsed, read_search
from assay.record.search import SearchRecord
from assay.report import search_words
from assay.score.circuits import score_circuits
from assay.task.found_on import found_on, read_found_on, shared_with

SMALL = ("--documents", "32", "--select", "12", "--sizes", "6", "--controls", "6", "--keep-edges", "5")


@pytest.fixture
def run(run, monkeypatch):
    """Runs `assay find circuit` in an empty folder, however slow the machine is: (exit code, stdout, stderr)."""
    monkeypatch.setattr("assay.report.terminal.progress.WAIT", 600.0)
    return partial(run, "find", "circuit")


def test_a_planted_circuit_is_found_and_written(run):
    code, out, err = run(
        "planted:and_gate", "--method", "exact", "--method", "random", "--ablation", "resample_joint", *SMALL,
        "--draws", "1", "--out", "found",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "next: assay measure found/claim.yaml" in out
    assert "leak: passed" in out
    names = {path.name for path in Path("found").iterdir()}
    written = {"frontier.json", "circuit.json", "claim.yaml", "selection.json", "report.html", "circuit.svg"}
    assert names == written | {"scores.parquet"}
    scores = pq.read_table("found/scores.parquet")
    assert scores.column_names == ["edge", "exact", "random"]
    assert scores.num_rows == 18
    assert not [path for path in Path().iterdir() if path.name.startswith(".")]

    record = read_search("found")
    true = world("and_gate").truth("resample_joint").edges
    assert (record.schema_, record.kind, record.total) == (3, "frontier", 18)
    assert (record.circuit.method, record.circuit.edges, record.leak.state) == ("exact", 5, "passed")
    drawn = {(e.writer, e.reader, e.part) for e in record.circuit.drawing.edges}
    assert len(drawn) == 5
    point = next(p for p in record.methods[0].sizes if p.edges == 5)
    assert point.recovered.value > 0.999
    assert point.control.n == 6
    assert record.selection.documents <= 12
    assert record.evaluation.documents == 32
    assert record.arguments.command.startswith("assay find circuit planted:and_gate --method exact")

    model = load("planted:and_gate")
    read = read_circuit("found/circuit.json", model)
    assert set(model.edges.names(read.edges.anywhere)) == set(true)

    claim = load_claim("found/claim.yaml")
    task = claim.build_task(model, claim.documents, claim.seed or 0)
    assert (claim.kind, list(claim.ablation or ())) == ("circuit", ["resample_joint"])
    assert task.fingerprint == record.evaluation.fingerprint
    kept = read_found_on(claim.found_on or "", None)
    assert kept is not None
    assert shared_with(task, kept).documents == ()

    before = Path("found/frontier.json").read_bytes()
    code, out, err = run("planted:and_gate", "--method", "exact", *SMALL, "--out", "found")
    assert (code, out) == (2, "")
    assert "the output folder 'found' exists; choose another one, or give --overwrite" in err
    assert Path("found/frontier.json").read_bytes() == before


def test_a_search_is_reported_again(run, capsys):
    options = (*SMALL, "--out", "found")
    assert run("planted:and_gate", "--method", "patching", "--ablation", "resample_joint", *options)[0] == 0
    files = {path: path.read_bytes() for path in Path("found").iterdir()}
    page, drawn = Path("found/report.html"), Path("found/circuit.svg")
    page.write_text("lost")
    drawn.unlink()
    for given in ("found", "found/frontier.json"):
        with pytest.raises(SystemExit) as end:
            cli.main(["report", given])
        assert (end.value.code or 0) == 0
        assert "next: assay measure found/claim.yaml" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in Path("found").iterdir()} == files


def test_a_written_circuit_is_a_try_and_to_measure_it_is_the_same_one(run, capsys):
    for keep, tries in ((5, 1), (7, 2)):
        options = ("--ablation", "resample_joint", "--draws", "1", *SMALL[:-1], str(keep), "--overwrite")
        assert run("planted:and_gate", "--method", "exact", *options, "--out", "found")[0] == 0
        lines = [json.loads(line) for line in Path("register.jsonl").read_text().splitlines()]
        assert len(lines) == tries
        assert 0 < lines[-1]["p"] <= 1
    with pytest.raises(SystemExit):
        cli.main(["measure", "found/claim.yaml", "--quick", "--out", "measured", "--json"])
    tries = json.loads(capsys.readouterr().out)["tries"]
    assert (tries["this"], tries["tried"]) == (2, 2)


def test_prompts_are_split_and_the_claim_is_measured_on_the_other_part(run, capsys):
    names = ("Jane", "John", "Mary", "man", "woman", "boy", "girl")
    said = "The {} and the {} met in the room, and the {} spoke to the"
    rows = [
        {"clean": said.format(a, b, b), "corrupted": said.format(b, a, a), "correct": f" {a}", "incorrect": f" {b}"}
        for a, b in itertools.permutations(names, 2)
    ]
    Path("prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ("--ablation", "counterfactual", "--controls", "3", "--sizes", "4", "--keep-edges", "12")
    code, _, err = run("zoo:novel-1l", "--task", "prompts.jsonl", *options, "--out", "found")
    assert (code, err) == (0, "")
    parts = {
        part: set(Path(f"found/{part}.jsonl").read_text().splitlines())
        for part in ("selection", "evaluation", "reference")
    }
    assert sum(map(len, parts.values())) == len(set().union(*parts.values())) == len(rows)
    with pytest.raises(SystemExit) as end:
        cli.main(["measure", "found/claim.yaml", "--quick", "--out", "measured", "--json"])
    assert (end.value.code or 0) == 0
    record = parsed(MeasurementRecord, json.loads(capsys.readouterr().out))
    found = read_search("found")
    point = next(p for p in found.methods[0].sizes if p.edges == found.circuit.edges)
    same = next(row for row in record.table if row.floor == "empty")
    assert same.recovered.value == pytest.approx(point.recovered.value, abs=1e-6)


def test_the_same_arguments_give_the_same_record_but_for_its_timing():
    model = load("planted:and_gate")
    plan = SearchPlan(("attribution",), "mean", sizes=(2, 5, 18), controls=3, keep_edges=5)
    split = split_task(model, {"kind": "planted"}, documents=31, select=8)
    records = [find_circuit(model, split, plan).record for _ in range(2)]
    assert records[0] == records[1].model_copy(update={"timing": records[0].timing})
    sizes = [point.edges for point in records[0].methods[0].sizes]
    assert sizes[-1] == 18


def test_the_circuit_is_chosen_on_the_selection():
    """Of two methods the one that is better there is written, whatever comes first."""
    model = load("planted:and_gate")
    split = split_task(model, {"kind": "planted"}, documents=31, select=8)
    plan = SearchPlan(("random", "exact"), "resample_joint", sizes=(5, 18), controls=0, keep_edges=5, draws=1)
    found = find_circuit(model, split, plan)
    assert found.scores.method == "exact"
    assert set(model.edges.names(found.mask)) == set(world("and_gate").truth("resample_joint").edges)
    assert all(point.control is None for one in found.record.methods for point in one.sizes)


def test_the_leak_check_fires_where_the_evaluation_was_searched_on():
    model = load("planted:and_gate")
    split = split_task(model, {"kind": "planted"}, documents=31, select=8)
    one = split.evaluation.subset(np.array([3]))
    assert leak(split.evaluation, found_on(split.selection, "s")).state == "passed"
    assert leak(split.evaluation, found_on(one, "s")).state == "fired"
    leaking = SearchSplit(split.evaluation.subset(np.arange(8)), split.evaluation, "by hand", split.claim)
    plan = SearchPlan(("random",), "zero", sizes=(5, 18), controls=0)
    record = find_circuit(model, leaking, plan).record
    assert (record.leak.state, record.leak.documents) == ("fired", 8)


def test_a_claim_files_model_and_task_are_used(run):
    Path("claim.yaml").write_text(
        "model: planted:and_gate\ntask: {kind: planted, n: 31, seed: 5}\nexplanation: {kind: circuit, nodes: [a0.h0]}\n"
        "ablation: zero\n"
    )
    code, out, _ = run("claim.yaml", "--method", "random", "--sizes", "3,18", "--controls", "0", "--json", "--out", "o")
    assert code == 0
    record = parsed(SearchRecord, json.loads(out))
    assert (record.ablation, record.task.notes["seed"], record.evaluation.documents) == ("zero", 5, 31)
    code, _, err = run("claim.yaml", "--task", "repeat", "--out", "p")
    assert code == 2
    assert "'task' is given, and so is the claim file 'claim.yaml', which has a task; leave one out" in err


def test_a_dry_run_says_what_it_costs_and_writes_nothing(run):
    code, out, _ = run("planted:and_gate", "--method", "exact", *SMALL, "--dry-run")
    assert code == 0
    assert out.startswith("about ")
    assert "forward passes" in out
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--method", "eap-ig"], "unknown method 'eap-ig'; it is called 'integrated_attribution' here"),
        (["--method", "atribution"], "unknown method 'atribution'; did you mean 'attribution'"),
        (["--ablation", "means"], "unknown ablation 'means'; did you mean 'mean'"),
        (["--ablation", "counterfactual", "--task", "repeat"], "the task 'planted' is|has no counterfactuals"),
        (["--keep-edges", "19"], "a circuit of 19 edges was asked for; planted:and_gate has 1 to 18"),
        (["--sizes", "3,40"], "a circuit of 40 edges was asked for; planted:and_gate has 1 to 18"),
        (["--sizes", "few"], "--sizes is 'few'; give how many, such as 24"),
        (["--sizes", "1"], "a frontier needs at least 2 sizes and at most 1,000, not 1"),
        (["--share", "1.5"], "a share of 1.5 of the edges cannot be kept"),
        (["--share", "0.5", "--keep-edges", "3"], "keep_edges=3 and share=0.5 are both given; give one"),
        (["--reach", "0.5", "--keep-edges", "3"], "reach=0.5 and keep_edges=3 are both given; give one"),
        (["--reach", "1.5"], "no circuit is looked for that reaches 1.5 of the model's metric; give a share above 0"),
        (["--tau", "0.1"], "'tau' is of the method 'acdc', which is not among those given"),
        (["--method", "acdc", "--tau", "inf"], "ACDC's threshold tau must be a number above 0, not inf"),
        (
            ["--seed", str(10**20)],
            "'seed' must be at most 9,223,372,036,854,775,807, not a number of more than 18 digits",
        ),
        (["--method", "acdc", "--tau", "0"], "ACDC's threshold tau must be a number above 0, not 0"),
        (["--seed-with", "exact"], "no method is given that the scores of 'exact' could seed"),
        (["--controls", "-1"], "'controls' must be at least 0, not -1"),
        (["--task", "repeats"], "unknown task 'repeats'; give text, repeat, planted, or a file of prompts"),
        (["--task", "gone.csv"], "there is no file of prompts 'gone.csv'"),
        (["--text", "gone.txt"], "text files are given for a task of kind 'planted'"),
        (["--task", "text"], "'planted:and_gate' has no text of its own; give --text FILE"),
        (["--length", "8"], "'length' means nothing for a task of kind 'planted'"),
        (["--metric", "los"], "unknown metric 'los'; did you mean 'loss'"),
        (["--dtype", "float23"], "unknown dtype 'float23'"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_nothing_is_written(run, arguments, sentence):
    import re

    code, out, err = run("planted:and_gate", *arguments, "--out", "found")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert re.search(sentence if "|" in sentence else re.escape(sentence), err), err
    assert list(Path().iterdir()) == []


def test_unknown_models_and_data_without_counterfactuals(run):
    code, _, err = run("planted:and", "--out", "found")
    assert code == 2
    assert "unknown model 'planted:and'; did you mean 'planted:and_gate'" in err
    code, _, err = run("zoo:novel-4l", "--task", "repeat", "--ablation", "counterfactual", "--out", "found")
    assert code == 2
    assert "a task of kind 'repeat' has no counterfactuals, which the ablation 'counterfactual' takes" in err
    assert list(Path().iterdir()) == []


def test_a_module_has_no_edges(run, tmp_path):
    code, _, err = run("planted:and_gate", "--task", "planted", "--device", "cuda:99", "--out", "found")
    assert code == 2
    assert "the device 'cuda:99' is not available here" in err


def test_without_a_size_the_smallest_circuit_that_recovers_enough_on_the_selection_is_written():
    model = load("planted:and_gate")
    split = split_task(model, {"kind": "planted"}, documents=31, select=8)
    plan = SearchPlan(("random", "exact"), "resample_joint", sizes=(2, 3, 5, 9, 18), controls=0, draws=1)
    circuit = find_circuit(model, split, plan).record.circuit
    assert circuit.reach is not None
    assert (circuit.method, circuit.edges, circuit.reach.reached, circuit.reach.metric) == ("exact", 5, True, None)
    assert circuit.reach.share == 0.9 <= circuit.reach.found

    few = replace(plan, methods=("exact",), sizes=(2, 3, 18))
    there = PlanContext(Runner(model, split.selection), 0)
    found = find_circuit(model, split, replace(few, share=3 / 18))  # the size that masks aim at is scored too
    none = find_circuit(model, split, replace(few, reach=1.0, methods=("random",), sizes=(2, 3)))
    masks = np.stack([np.zeros(18, bool), found.mask, none.mask])
    kl = score_circuits(there, masks, "resample_joint").stacked("kl").sum(1)
    assert found.record.circuit.reach is None
    reach = none.record.circuit.reach
    assert reach is not None
    assert not reach.reached
    assert reach.found == pytest.approx(1 - kl[2] / kl[0])
    assert search_words.chosen(none.record).startswith("Its size was chosen on the documents that were searched: none")
    assert search_words.chosen(found.record) == ""


def test_a_tasks_own_metric_decides_the_size():
    model = load("planted:and_gate")
    split = split_task(model, {"kind": "planted", "metric": "probability"}, documents=31, select=8)
    plan = SearchPlan(("exact",), "resample_joint", sizes=(2, 5, 9, 18), controls=0, draws=1, reach=0.5)
    found = find_circuit(model, split, plan)
    reach = found.record.circuit.reach
    assert reach is not None
    assert reach.metric == "probability"
    there = PlanContext(Runner(model, split.selection), 0)
    masks = np.stack([np.zeros(18, bool), np.ones(18, bool), found.mask])
    loss = score_circuits(there, masks, "resample_joint").stacked("loss").sum(1)
    assert reach.found == pytest.approx((loss[0] - loss[2]) / (loss[0] - loss[1]))


def test_quick_takes_less_of_everything_that_is_not_given(run):
    given = ("--method", "random", "--draws", "1", "--ablation", "resample_joint", "--quick", "--json")
    code, out, _ = run("planted:and_gate", *given, "--controls", "3", "--out", "q")
    assert code == 0
    record = json.loads(out)
    resolved = record["arguments"]["resolved"]
    assert [resolved[name] for name in ("documents", "select", "sizes", "controls")] == [24, 12, 12, 3]
    assert "--quick" in record["arguments"]["command"]
