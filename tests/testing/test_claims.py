"""Claims that tests hold: the figure is the measurement's, and what falls short is said in one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import assay
from assay.testing import assert_costs, assert_recovered
from assay.testing.pytest_plugin import SUFFIXES

pytest_plugins = "pytester"

PLUGIN = ("-p", "no:assay", "-p", "assay.testing.pytest_plugin", "-p", "no:cacheprovider")
CLAIM = """
model: zoo:novel-1l
task: {kind: repeat, n: 10, length: 8}
explanation: {kind: keep, components: [m0]}
ablation: mean
"""
REMOVE = CLAIM.replace("kind: keep", "kind: remove")


@pytest.fixture(scope="module")
def model():
    return assay.load("zoo:novel-1l")


@pytest.fixture(scope="module")
def task(model):
    return assay.Task.repeat(model, n=10, length=8)


@pytest.fixture(scope="module")
def kept(model, task):
    return assay.measure(assay.Keep(["m0"]), model, task, ablation="mean", only="headline").recovered


@pytest.fixture(scope="module")
def removed(model, task):
    return assay.measure(assay.Remove(["m0"]), model, task, ablation="mean", only="headline").kl


@pytest.fixture
def claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def written(text: str) -> Path:
        (tmp_path / "heads.claim.yaml").write_text(text)
        return Path("heads.claim.yaml")

    return written


def test_the_lower_end_must_reach_what_is_asked_or_the_value_where_that_is_said(model, task, kept):
    between = (kept.low + kept.value) / 2
    explanation = assay.Keep(["m0"])
    assert assert_recovered(explanation, model, task, at_least=kept.low, ablation="mean").recovered == kept
    assert_recovered(explanation, model, task, at_least=between, by="value", ablation="mean")
    with pytest.raises(AssertionError) as failed:
        assert_recovered(explanation, model, task, at_least=between, ablation="mean")
    asked = f"recovered {kept} (empty, mean), and at least {between:g} was asked of its lower end"
    assert str(failed.value) == f"{explanation!r}: {asked}"
    with pytest.raises(AssertionError, match="was asked of its value"):
        assert_recovered(explanation, model, task, at_least=kept.high, by="value", ablation="mean")


def test_a_removal_is_asked_what_it_costs_and_nothing_else_is(model, task, removed):
    explanation = assay.Remove(["m0"])
    assert assert_costs(explanation, model, task, at_least=removed.low, ablation="mean").kl == removed
    with pytest.raises(AssertionError, match=r"costs .* nats \(mean\), and at least .* nats was asked of its value"):
        assert_costs(explanation, model, task, at_least=2 * removed.value, by="value", ablation="mean")
    with pytest.raises(assay.UserError, match="assert_costs asks what it costs"):
        assert_recovered(explanation, model, task, at_least=0.1, ablation="mean")
    with pytest.raises(assay.UserError, match="a keep claim is not asked what it costs; use assert_recovered"):
        assert_costs(assay.Keep(["m0"]), model, task, at_least=0.1, ablation="mean")


def test_more_than_the_whole_is_refused_before_anything_is_measured():
    with pytest.raises(assay.UserError, match=r"^'at_least' is a share, at most 1, and not 90; did you mean 0.9\?$"):
        assert_recovered("no.yaml", at_least=90.0)


def test_pytest_shows_the_tests_own_line_and_none_of_ours(pytester: pytest.Pytester):
    pytester.makepyfile("from assay.testing import assert_costs\ndef test(): assert_costs('no.yaml', at_least=1.0)\n")
    shown = pytester.runpytest_inprocess(*PLUGIN).stdout.str()
    assert "the claim file 'no.yaml' does not exist" in shown
    assert "testing/claims.py" not in shown
    assert "source.py" not in shown


def test_a_figure_without_a_lower_end_fails_with_the_reason(model, task):
    with pytest.raises(AssertionError, match=r"no interval: .* too few.*and at least 0 was asked of its lower"):
        assert_recovered(assay.Keep(["m0"]), model, task, at_least=0.0, ablation="mean", documents=1)


def test_a_file_is_measured_where_it_lies_and_nothing_is_written(claim, tmp_path, kept):
    path = claim(CLAIM + "out: runs/mine\n")
    assert assert_recovered(path, at_least=kept.low).recovered == kept
    with pytest.raises(AssertionError, match=r"^heads.claim.yaml: recovered "):
        assert_recovered(str(path), at_least=1.0)
    assert [file.name for file in tmp_path.iterdir()] == ["heads.claim.yaml"]
    assert_recovered(path, at_least=-1.0, out="there")
    assert (tmp_path / "there" / "measurement.json").exists()


@pytest.mark.parametrize(
    ("text", "expect", "sentence"),
    [
        (CLAIM, "{recovered: 2}", "'recovered' must be at most 1.0, not 2"),
        (CLAIM, "{recovered: 0.5, by: middle}", "unknown end 'middle'; valid: 'low', 'value'"),
        (CLAIM, "{costs: 0.5}", "of a keep claim 'recovered' can be expected (a share), not 'costs'"),
        (
            REMOVE,
            "{recovered: 0.5}",
            "of a remove claim 'costs' can be expected (nats a scored token), not 'recovered'",
        ),
        (CLAIM, "{by: value}", "of a keep claim 'recovered' can be expected (a share), not nothing"),
        (CLAIM, "{recoverd: 0.5}", "unknown field 'recoverd' in 'expect'; did you mean 'recovered'?"),
        (CLAIM, "0.9", "'expect' must be a mapping, not 0.9"),
    ],
)
def test_an_expectation_that_cannot_be_is_one_sentence_with_its_line(claim, text, expect, sentence):
    with pytest.raises(assay.UserError) as problem:
        assay.load_claim(claim(f"{text}expect: {expect}\n"))
    assert str(problem.value).startswith("heads.claim.yaml:6: ")
    assert sentence in str(problem.value)


def test_an_expectation_is_no_part_of_what_is_claimed(claim):
    plain, expecting = (assay.load_claim(claim(CLAIM + more)) for more in ("", "expect: {recovered: 0.9}"))
    assert plain.hash == expecting.hash
    assert "recovered: 0.9" in expecting.to_yaml()


def test_validate_says_what_is_expected(run, tmp_path):
    (tmp_path / "a.yaml").write_text(REMOVE + "expect: {costs: 0.5, by: value}\n")
    code, out, _ = run("validate", "a.yaml")
    assert code == 0
    assert out.rstrip().endswith("expects costs of at least 0.5 nats (value)")


def test_pytest_collects_claim_files_and_says_what_falls_short(pytester: pytest.Pytester, kept, removed):
    for name, text in (
        ("holds", f"{CLAIM}expect: {{recovered: {kept.low - 0.01}}}"),
        ("short", f"{CLAIM}expect: {{recovered: {kept.high + 0.01}}}"),
        ("costs", f"{REMOVE}expect: {{costs: {removed.low - 0.01}}}"),
        ("measurable", CLAIM),
        ("wrong", CLAIM.replace("m0", "m7")),
    ):
        (pytester.path / f"{name}{SUFFIXES[len(name) % 2]}").write_text(text)
    (pytester.path / "other.yaml").write_text("no: claim")
    result = pytester.runpytest_inprocess(*PLUGIN, "--junit-xml=out.xml")
    result.assert_outcomes(passed=3, failed=2)
    shown = result.stdout.str()
    assert f"{kept} (empty, mean), and at least {kept.high + 0.01:g} was asked of its lower end" in shown
    assert "'m7' is not in zoo:novel-1l: it has 1 layers, 0 to 0" in shown
    assert "Traceback" not in shown
    assert "recovered" in (pytester.path / "out.xml").read_text()


def test_pytest_is_left_alone_where_there_are_no_claim_files(tmp_path):
    (tmp_path / "test_own.py").write_text(
        "import sys\ndef test_own():\n"
        "    assert 'assay.testing.pytest_plugin' in sys.modules\n"
        "    assert not {'torch', 'numpy', 'yaml', 'pydantic', 'assay.errors'} & sys.modules.keys()\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:anyio", "-p", "no:jaxtyping", *PLUGIN],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(assay.__file__).parents[1])},
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
