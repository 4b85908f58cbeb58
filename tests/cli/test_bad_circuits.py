"""Bad circuits, end to end: `assay measure` says one sentence on stderr, ends with 2, and leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from assay import cli
from assay.errors import ClaimError
from assay.explanations.circuit.writing import write_circuit
from assay.explanations.claims.checks import check_claim
from assay.explanations.claims.file import load_claim
from tests.cli.test_bad_input import Run, refused, run
from tests.model.tiny import tiny

__all__ = ["run"]  # a fixture

REPEAT = "{kind: repeat, n: 8, length: 8}"


def circuit(contents: str) -> str:
    return "{kind: circuit, " + contents + "}"


@pytest.mark.parametrize(
    ("explanation", "sentence"),
    [
        ("edges: [m1->a0.h3<q>]", "claim.yaml:3: 'm1->a0.h3<q>' cannot exist: 'm1' does not come before 'a0.h3<q>'"),
        ("edges: [a1.h0->a1.h3<q>]", "'a1.h0' does not come before 'a1.h3<q>' (heads of a layer work side by side)"),
        ("edges: [a9.h0->logits]", "claim.yaml:3: 'a9.h0->logits' is not in zoo:stories-260k: it has 5 layers"),
        ("edges: [m0->logits, m0->logits]", "claim.yaml:3: the edge 'm0->logits' is named a second time"),
        ("edges: [m0->logits, m0->logits@-1]", "is said to be kept at every position and at one of them"),
        ("edges: []", "claim.yaml:3: 'edges' is empty; name at least one"),
        ("file: twice.json", "claim.yaml:3: the circuit file 'twice.json' names 'm0->m1' twice, with contradictory"),
        ("file: none.json", "claim.yaml:3: the circuit in 'none.json' is empty: none of its 110 edges is kept"),
        ("edges: [m0->logits], keep: 3", "claim.yaml:3: 'keep' goes with a 'file' that has scores; leave it out"),
        (
            "file: none.json, keep: 3",
            "claim.yaml:3: 3 edges are to be kept of the circuit file 'none.json', and it scores",
        ),
        ("file: none.json, keep: 0", "claim.yaml:3: 'keep' must be at least 1, not 0"),
        ("file: nowhere.json", "claim.yaml:3: the circuit file 'nowhere.json' does not exist here"),
        ("file: other.json", "claim.yaml:3: the circuit in 'other.json' is of another model: layers is 2 there and 5"),
        ("file: odd.json", "claim.yaml:3: the circuit file 'odd.json' names the method ['x'], which is no text"),
        ("file: huge.json", "claim.yaml:3: the circuit file 'huge.json' gives the edge 'm0->m1' the score 1000"),
        ("file: back.json", "claim.yaml:3: the circuit file 'back.json' keeps an edge that cannot be: 'a0.h0->a0"),
    ],
)
def test_what_is_wrong_by_itself_is_said_before_a_model_is_loaded(
    run: Run, monkeypatch: pytest.MonkeyPatch, explanation: str, sentence: str
):
    monkeypatch.setattr("assay.model.load.load", lambda *_, **__: pytest.fail("a model was loaded"))
    edges = '{"m0->m1": {"in_graph": true}, "m0->m1": {"in_graph": false}}'
    Path("twice.json").write_text(f'{{"cfg": {{}}, "nodes": {{}}, "edges": {edges}}}')
    other = write_circuit("other.json", tiny("gpt2"), tiny("gpt2").edges.node_edges(["m0"]))
    Path("odd.json").write_text(json.dumps({**json.loads(other.read_text()), "method": ["x"]}))
    for name, edge, score in (("huge", "m0->m1", 10**400), ("back", "a0.h0->a0.h1<q>", 1)):
        kept = {edge: {"in_graph": True, "score": score}}
        Path(f"{name}.json").write_text(json.dumps({"cfg": {}, "nodes": {}, "edges": kept}))
    write_circuit("none.json", tiny("gpt2"), np.zeros(len(tiny("gpt2").edges), dtype=bool))
    refused(run(task=REPEAT, explanation=circuit(explanation)), sentence)


@pytest.mark.parametrize(
    ("explanation", "sentence"),
    [
        ("file: gpt2.json", "claim.yaml:3: the circuit in 'gpt2.json' is of another model: d_model is "),
        ("edges: [input->logits@99]", "claim.yaml:3: an edge is kept @99, and the shortest example has columns 0 to"),
        ("edges: [input->m0, m0->logits@S2]", "claim.yaml:3: an edge is kept @S2, and the task has no column 'S2'"),
        ("file: more.json", "claim.yaml:3: the circuit in 'more.json' is of another model: that has 7 edges and"),
        ("edges: [input->a0.h1<k>]", "'a0.h1<k>' reads nothing here; did you mean"),
        ("edges: [m0->logits]", "claim.yaml:3: the circuit of 1 edges is empty: none of them lies on a path"),
    ],
)
def test_what_only_the_model_can_tell(run: Run, explanation: str, sentence: str):
    path = write_circuit("gpt2.json", tiny("gpt2"), tiny("gpt2").edges.node_edges(["m0"]))
    data = json.loads(path.read_text())
    size = {"layers": 5, "heads": 8}
    Path("gpt2.json").write_text(json.dumps({**data, "model": {**data["model"], **size}}))
    Path("more.json").write_text(json.dumps({**data, "model": {}, "total": 7, "kept": 1, "edges": {"numbers": [[3]]}}))
    refused(run(task=REPEAT, explanation=circuit(explanation)), sentence)


@pytest.mark.parametrize("explanation", ["edges: [a0.h9->logits]", "edges: [input->a5.h0<q>]", "nodes: [m7]"])
def test_validate_knows_the_shapes_of_planted_programs(run: Run, monkeypatch: pytest.MonkeyPatch, explanation: str):
    monkeypatch.setattr("assay.model.load.load", lambda *_, **__: pytest.fail("a model was loaded"))
    text = f"model: planted:induction\ntask: {{kind: planted}}\nexplanation: {circuit(explanation)}\n"
    Path("claim.yaml").write_text(text)
    with pytest.raises(ClaimError, match=r"^claim.yaml:3: '.*' is not in planted:induction: "):
        check_claim(load_claim("claim.yaml"))


def test_a_counterfactual_of_another_length(run: Run):
    rows = ["clean,corrupted,correct,incorrect", "Lily went to the, Tom ran to the old, park, dog"]
    Path("pairs.csv").write_text("\n".join(rows) + "\n")
    found = run(
        task="{kind: prompts, file: pairs.csv}", explanation=circuit("nodes: [m0]"), more="ablation: counterfactual"
    )
    refused(found, "pairs.csv:2: 'corrupted' has ")
    assert "a counterfactual has as many, position by position" in found[2]


def test_validate_and_ls_know_circuits(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    text = (
        "model: zoo:stories-260k\ntask: {kind: text, split: test}\nexplanation: {kind: circuit, nodes: [m0, a1.h3]}\n"
    )
    Path("claim.yaml").write_text(text)
    for arguments in (["validate", "claim.yaml"], ["ls", "zoo:stories-260k", "--edges"]):
        with pytest.raises(SystemExit) as end:
            cli.main(arguments)
        assert not end.value.code
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("claim.yaml is valid: circuit (level: where) on 2 nodes of zoo:stories-260k, task text")
    assert said[1] == "input->a0.h0<q>"
    assert said[-1] == "m4->logits"
