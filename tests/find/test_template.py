"""The claim file of `assay init`: valid as it is, on the heads with the highest scores."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from typer.testing import CliRunner

import assay
from assay.cli.app import app
from assay.explanations.claims.file import ClaimFile, load_claim
from assay.explanations.hypothesis.values import TaskValues
from assay.find.template import ENOUGH, MOST, PROMPTS, hypothesis_template, select, template
from assay.find.tried import TriedPlaces, reference_rows
from assay.methods.head_scores import KINDS, head_scores
from assay.model.transformer import Model


def test_the_best_rule_is_selected_with_its_heads_above_the_threshold():
    scores = {
        "induction": [("a1.h3", 0.8), ("a1.h6", 0.5), ("a0.h1", 0.1)],
        "previous_token": [("a0.h2", 0.7), ("a0.h3", 0.6), ("a0.h4", 0.5)],
        "duplicate_token": [("a0.h7", 0.3), ("a0.h6", 0.2), ("a0.h5", 0.1)],
    }
    assert select(scores) == ("induction", ["a1.h3", "a1.h6"])


def test_one_head_is_selected_where_none_is_above_the_threshold():
    scores = {kind: [("a0.h0", ENOUGH / 2), ("a0.h1", ENOUGH / 4)] for kind in KINDS}
    assert select(scores)[1] == ["a0.h0"]


@pytest.mark.parametrize("name", ["zoo:stories-260k"])
def test_the_template_is_a_valid_claim_about_the_models_top_heads(name: str, tmp_path: Path):
    model = assay.load(name)
    (tmp_path / "claim.yaml").write_text(template(model, name))
    claim = load_claim(tmp_path / "claim.yaml")
    claim.check(model)
    values = head_scores(model)
    rule, heads = select({kind: values.top(kind, MOST) for kind in KINDS})
    assert claim.scope == tuple(heads)
    assert {spec["program"] for spec in claim.explanation.components.values()} == {rule}
    assert claim.found_on is not None


def written(model: Model) -> tuple[ClaimFile, str, str, TriedPlaces]:
    """The template of a hypothesis and its prompts, in the folder that the test is in."""
    text, rows, tried = hypothesis_template(model, model.name, "claim.prompts.csv")
    Path("claim.yaml").write_text(text)
    Path("claim.prompts.csv").write_text(rows)
    return load_claim("claim.yaml"), text, rows, tried


def test_the_hypothesis_is_a_valid_claim_whose_answer_is_the_prompts_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    model = assay.load("zoo:novel-2l")
    claim, _, rows, _ = written(model)
    claim.check(model)
    task = claim.build_task(model)
    built = claim.build_explanation()
    assert isinstance(built, assay.Hypothesis)
    values = TaskValues.of(built.high_level, task)
    right = [model.tokenizer.decode([int(answer)]) for answer in task.answers[:, 0]]
    assert [row["answer"] for row in values.rows] == right
    assert 0.5 * PROMPTS < len(right) < PROMPTS  # the others are the reference
    assert hypothesis_template(model, "zoo:novel-2l", "claim.prompts.csv", seed=1)[1] != rows


def test_places_are_chosen_by_swaps_on_prompts_that_are_not_scored_and_carry_the_variable_on_those_that_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    model = assay.load("zoo:novel-attn2-rep")
    claim, text, rows, tried = written(model)
    assert claim.scope == tried.chosen
    assert all(name.startswith("a1.h") for name in tried.chosen)  # the variable comes in with the second layer
    assert tried.right == 1.0
    assert tried.streams["r1@-1"] < 0.2 < 0.9 < tried.streams["r2@-1"]
    assert f"seed 0, {tried.passes:.0f} passes" in text
    task = claim.build_task(model)
    assert task.reference is not None
    looked_at = reference_rows(model, list(csv.DictReader(io.StringIO(rows))))
    assert {d.hash for d in looked_at.documents} == {d.hash for d in task.reference.documents}
    found = assay.measure(claim.build_explanation(), model, task, ablation="resample_joint", budget="headline")
    assert found.interchange.value > 0.8
    assert hypothesis_template(model, "zoo:novel-attn2-rep", "claim.prompts.csv")[:2] == (text, rows)


def test_a_model_that_does_not_do_it_is_said_to_in_the_file_and_by_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    wrote = CliRunner().invoke(app, ["init", "zoo:novel-1l", "--kind", "hypothesis"])
    assert "% of the prompts, so no place carries it there" in wrote.stderr
    text = Path("claim.yaml").read_text()
    assert "places below are only the heads that attend most" in text.replace("\n# ", " ")
    assert load_claim("claim.yaml").found_on == "repeated random tokens"


def test_the_command_writes_both_files_or_says_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    wrote = runner.invoke(app, ["init", "zoo:novel-1l", "--kind", "hypothesis"])
    assert wrote.stdout.startswith("wrote claim.yaml and claim.prompts.csv · next: assay measure claim.yaml --quick")
    Path("claim.yaml").unlink()
    again = runner.invoke(app, ["init", "zoo:novel-1l", "--kind", "hypothesis"])
    assert "claim.prompts.csv' exists; give --overwrite" in str(again.exception)
    unknown = runner.invoke(app, ["init", "zoo:novel-1l", "--kind", "hypotheses"])
    assert str(unknown.exception) == "unknown kind 'hypotheses'; did you mean 'hypothesis'?"
