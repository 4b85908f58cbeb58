"""The notebooks of examples/ run from top to bottom, and are stored without what they printed."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "examples" / "notebooks").glob("*.ipynb"))


def cells(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def run_cell(source: str, names: dict[str, Any], where: str) -> None:
    """Runs a cell as a notebook does: what stands in its last line is shown."""
    tree = ast.parse(source, where)
    shown = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, where, "exec"), names)
    if shown is not None:
        value = eval(compile(ast.Expression(shown.value), where, "eval"), names)
        assert getattr(value, "_repr_html_", value.__repr__)()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for number, cell in enumerate(cells(path), 1):
        run_cell("".join(cell["source"]), names, f"{path.name}, cell {number}")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path: Path):
    assert len(cells(path)) >= 4
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells(path))
