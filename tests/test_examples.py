"""What lies in examples/: every claim file is what it says, the workflow is one."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import assay
from assay.testing.claims import assert_expected

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.claim.yaml")), ids=lambda path: path.name)
def test_a_claim_file_holds(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)  # which the files that it names are relative to
    result = assert_expected(assay.load_claim(path))
    assert result.kl.defined


def test_every_example_is_in_the_list():
    listed = (EXAMPLES / "README.md").read_text()
    assert all(f"]({path.name})" in listed for path in EXAMPLES.iterdir() if path.suffix in (".yaml", ".yml"))


def test_the_workflow_installs_and_runs_pytest():
    workflow = yaml.safe_load((EXAMPLES / "github-action.yml").read_text())
    commands = [step["run"] for step in workflow["jobs"]["claims"]["steps"] if "run" in step]
    assert commands[0].endswith("install assay-nines pytest")
    assert commands[1].startswith("python -m pytest explanations")
