"""`assay find hypothesis` on a network whose places are planted: from a wrong claim to a right one, with rivals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from assay.cli.app import app
from assay.explanations import Hypothesis
from assay.explanations.claims.file import load_claim
from assay.record.places import PlacesRecord

CLAIM = """\
model: planted:sums_0
task: {kind: planted}
explanation:
  kind: hypothesis
  variables: {u: number(1), v: number(3), total: u + v, answer: total}
  places: {u: [a0.h0], v: [a0.h2], total: [m1]}
"""


@pytest.fixture
def claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("claim.yaml").write_text(CLAIM, encoding="utf-8")
    return "claim.yaml"


def test_the_planted_place_is_found_and_tested_on_other_documents(claim: str):
    given = ["find", "hypothesis", claim, "--variable", "u", "--rivals", "5", "--documents", "30", "--select", "20"]
    found = CliRunner().invoke(app, given)
    assert found.exit_code == 0, found.output
    record = PlacesRecord.model_validate(json.loads(Path("runs/places-u/places.json").read_text(encoding="utf-8")))
    chosen = record.points[record.chosen]
    assert chosen.places == ("a0.h1",)
    assert chosen.evaluation.resampled.value == 1.0
    assert record.candidates[0].name == "a0.h1"
    assert not {"m1", "a0.h2"}.intersection(one.name for one in record.candidates)  # they carry other variables
    assert record.rivals.n == 2  # the other two heads of the layer
    assert record.rivals.within == 0
    written = load_claim("runs/places-u/claim.yaml").build_explanation()
    assert isinstance(written, Hypothesis)
    assert written.fields()["places"] == {"u": ["a0.h1"], "v": ["a0.h2"], "total": ["m1"]}
    assert len(Path("runs/register.jsonl").read_text(encoding="utf-8").splitlines()) == 1
    again = CliRunner().invoke(app, given)
    assert again.exit_code != 0
    assert "--overwrite" in str(again.exception)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--variable", "w"], "the hypothesis has no variable 'w'; valid: 'u', 'v', 'total', 'answer'"),
        (["--parts", "head"], "unknown parts 'head'; did you mean 'heads'"),
        (["--parts", ""], "unknown parts ''; valid: 'heads', 'mlps'"),
        (["--columns", "there"], "'there'"),
        (["--columns", "99"], "'a0.h0@99': the shortest example has columns 0 to"),
        (["--budget", "5"], "and its budget is 5; name fewer columns, parts or rivals"),
    ],
)
def test_what_cannot_be_searched_for_is_one_sentence(claim: str, options: list[str], sentence: str):
    found = CliRunner().invoke(app, ["find", "hypothesis", claim, *options])
    assert found.exit_code != 0
    assert sentence in str(found.exception)
    assert not Path("runs/places-u").exists()


def test_a_hypothesis_of_edges_is_not_searched(claim: str):
    places = "{u: [a0.h1->m1], v: [a0.h2->m1], answer: [m1->logits]}"
    text = CLAIM.replace("total: u + v, answer: total", "answer: u + v")
    Path(claim).write_text(text.replace("{u: [a0.h0], v: [a0.h2], total: [m1]}", places), encoding="utf-8")
    found = CliRunner().invoke(app, ["find", "hypothesis", claim, "--variable", "u"])
    assert "the hypothesis names the edge 'a0.h1->m1', and places are searched for among heads" in str(found.exception)


def test_a_dry_run_says_the_cost_and_writes_nothing(claim: str):
    found = CliRunner().invoke(app, ["find", "hypothesis", claim, "--dry-run"])
    assert found.exit_code == 0, found.output
    assert "forward passes" in found.output
    assert not Path("runs").exists()
