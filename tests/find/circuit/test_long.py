"""A search that takes minutes says so before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from assay.cli import find
from assay.cli.app import app


@pytest.mark.parametrize(("minutes", "quick", "told"), [(12.0, False, True), (4.0, False, False), (12.0, True, False)])
def test_only_a_long_search_that_is_not_quick_says_how_long_it_takes(
    minutes: float, quick: bool, told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("assay.find.circuit.cost.cost", lambda *_: {"minutes": minutes})
    few = ["--documents", "4", "--select", "4", "--sizes", "2", "--controls", "0", "--length", "8"]
    found = CliRunner().invoke(app, ["find", "circuit", "zoo:novel-1l", *few, *(["--quick"] if quick else [])])
    assert found.exit_code == 0, found.output
    assert (f"takes about {minutes:.0f} minutes on this machine; --quick" in found.stderr) is told
    assert find.LONG == 5.0
