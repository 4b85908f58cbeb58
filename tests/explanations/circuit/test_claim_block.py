"""Claim files of kind `circuit`: what is read, and every bad input, with file and line and before torch is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from assay.errors import ClaimError
from assay.explanations import Circuit
from assay.explanations.circuit.writing import write_circuit
from assay.explanations.claims.file import claim_of, load_claim
from assay.model.load import load
from tests.model.tiny import tiny

CLAIM = """\
model: {model}
task: {{kind: repeat, n: 8, length: 8}}
explanation:
  kind: circuit
  {explanation}
{more}
"""


@pytest.fixture
def claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def read(explanation: str, model: str | None = None, more: str = ""):
        if model is None:  # the shape of a built-in one is known, and a file's circuit is of a tiny one
            model = "somebody/model" if explanation.startswith("file") else "zoo:novel-4l"
        Path("claim.yaml").write_text(CLAIM.format(model=model, explanation=explanation, more=more))
        return load_claim("claim.yaml")

    return read


def file_of(path: str, size: int = 0) -> Path:
    """A circuit of a tiny GPT-2 of its own; with `size`, of the first so many edges."""
    model = tiny("gpt2")
    kept = model.edges.node_edges(["m0"]) if not size else np.arange(len(model.edges)) < size
    return write_circuit(path, model, kept)


def test_edges_nodes_and_files_are_read(claim):
    edges = claim("edges: [input->a1.h3<v>, a1.h3->logits@-1]")
    assert (edges.kind, edges.level, edges.scope) == ("circuit", "where", ("input->a1.h3<v>", "a1.h3->logits@-1"))
    built = edges.build_explanation()
    assert isinstance(built, Circuit)
    assert built.edges == edges.scope
    nodes = claim("nodes: [a1.h3, m2]")
    assert nodes.build_explanation().nodes == nodes.scope == ("a1.h3", "m2")
    assert nodes.explanation.about == "2 nodes"
    file_of("circuit.json")
    file = claim("file: circuit.json")
    assert file.scope == ("circuit.json",)
    assert file.explanation.about == "3 of the 110 edges in circuit.json"
    assert file.build_explanation().mask(tiny("gpt2")).sum() == 3
    for one in (edges, nodes, file):
        assert claim_of(json.loads(json.dumps(one.model_dump(by_alias=True, exclude_none=True)))) == one
        Path("again.yaml").write_text(one.to_yaml())
        assert load_claim("again.yaml") == one


def test_the_hash_is_of_the_files_contents_and_not_of_its_name_alone(claim):
    file_of("circuit.json")
    before = claim("file: circuit.json").hash
    assert claim("file: circuit.json").hash == before
    file_of("circuit.json", size=90)
    assert claim("file: circuit.json").hash != before


@pytest.mark.parametrize(
    ("explanation", "sentence"),
    [
        ("edges: [a1.h0->a0.h3<q>]", "claim.yaml:5: 'a1.h0->a0.h3<q>' cannot exist: 'a1.h0' does not come before"),
        ("edges: [a1.h0->a1.h3<q>]", "(heads of a layer work side by side)"),
        ("edges: [m0->logits, m0->logitz]", "claim.yaml:5: 'm0->logitz': 'logitz' is not something that reads"),
        ("edges: [m0>logits]", "claim.yaml:5: 'm0>logits' is not an edge's name; edges look like 'a1.h2->a3.h5<q>'"),
        ("edges: [a0.h9->logits]", "claim.yaml:5: 'a0.h9->logits' is not in zoo:novel-4l: its layers have 8 heads"),
        ("edges: [m0->a7.h0<k>]", "'m0->a7.h0<k>' is not in zoo:novel-4l: it has 4 layers, 0 to 3"),
        ("edges: [m0->logits, m0->logits]", "claim.yaml:5: the edge 'm0->logits' is named a second time"),
        ("edges: [m0->logits, m0->logits@3]", "the edge 'm0->logits' is said to be kept at every position and at one"),
        ("edges: []", "claim.yaml:5: 'edges' is empty; name at least one"),
        ("nodes: []", "claim.yaml:5: 'nodes' is empty; name at least one"),
        ("nodes: [a9.h0]", "claim.yaml:5: 'a9.h0' is not in zoo:novel-4l: it has 4 layers, 0 to 3"),
        ("nodes: [b1.h0]", "claim.yaml:5: 'b1.h0' is not a component's name"),
        ("components: [m0]", "unknown field 'components' in 'explanation'; valid: 'kind', 'edges', 'nodes', 'file'"),
        ("{}", None),
        ("file: circus.json", "claim.yaml:5: the circuit file 'circus.json' does not exist here"),
        ("file: empty.json", "claim.yaml:5: the circuit in 'empty.json' is empty: none of its 110 edges is kept"),
        (
            "file: circuit.json\n  edges: [m0->logits]",
            "claim.yaml:6: the circuit has both 'edges' and 'file'; give one",
        ),
    ],
)
def test_bad_input_is_one_sentence_with_file_and_line(claim, explanation, sentence):
    file_of("circuit.json")
    data = json.loads(Path("circuit.json").read_text())
    Path("empty.json").write_text(json.dumps({**data, "edges": {"numbers": [[]]}, "kept": 0}))
    if sentence is None:
        explanation, sentence = "", "claim.yaml:3: a circuit needs 'edges', 'nodes' or a 'file'"
    with pytest.raises(ClaimError) as caught:
        claim(explanation)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_names_the_nearest_one(claim):
    file_of("circuit.json")
    with pytest.raises(ClaimError, match=r"'circus\.json' does not exist here \(.*\); did you mean 'circuit\.json'"):
        claim("file: circus.json")


def test_refit_and_classifiers_do_not_go_with_circuits(claim):
    with pytest.raises(ClaimError, match=r"claim.yaml:6: the option 'refit' does not apply to circuits"):
        claim("nodes: [m0]", more="refit: true")
    text = "model: zoo:novel-4l\ntask: {kind: classify, file: claim.yaml}\nexplanation: {kind: circuit, nodes: [m0]}\n"
    Path("claim.yaml").write_text(text)
    with pytest.raises(ClaimError, match=r"claim.yaml:2: circuits are of transformers"):
        load_claim("claim.yaml")


@pytest.mark.parametrize(
    ("explanation", "sentence"),
    [
        (
            "file: circuit.json",
            "claim.yaml:5: the circuit in 'circuit.json' is of another model: d_model is 32 there and 64",
        ),
        ("edges: [input->logits, a0.h0->a1.h1<k>]", "claim.yaml:5: 'a0.h0->a1.h1<k>': 'a1.h1<k>' reads nothing here"),
        ("edges: [m0->logits]", "claim.yaml:3: the circuit of 1 edges is empty: none of them lies on a path"),
    ],
)
def test_what_only_a_loaded_model_can_tell_has_file_and_line_too(claim, explanation, sentence):
    path = file_of("circuit.json")
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "model": {**data["model"], "layers": 5, "heads": 8}}))
    read = claim(explanation, model="zoo:stories-260k")
    with pytest.raises(ClaimError) as caught:
        read.check(load("zoo:stories-260k"))
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_parallel_blocks_have_no_edge_from_attention_to_their_mlp(claim):
    read = claim("edges: [input->a0.h0<v>, a0.h0->m0, m0->logits]", model="zoo:novel-4l")
    read.check(load("zoo:novel-4l"))
    with pytest.raises(ClaimError, match=r"claim.yaml:5: 'a0.h0->m0' cannot exist: .*side by side on one stream"):
        read.check(tiny("gpt_neox", use_parallel_residual=True))


def test_checking_a_circuit_imports_nothing_heavy(claim):
    file_of("circuit.json")
    claim("file: circuit.json")
    code = "import sys; from assay.explanations.claims.file import load_claim; load_claim('claim.yaml')"
    code += "; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
