"""No module imports another one that leads back to it: at the top of files, type checking included, as it is read; and
where functions import, no more than what docs/decisions.md has."""

from __future__ import annotations

import ast
import tomllib
from functools import cache
from pathlib import Path

import networkx

import assay
from assay.explanations.kinds import KINDS

ROOT = Path(assay.__file__).parents[1]


def imported(tree: ast.Module, known: set[str], functions: bool = False) -> set[str]:
    """The package's modules that a file imports at its top; or as it runs, in functions too, type checking left out."""
    top = [*tree.body, *(inner for node in tree.body if isinstance(node, ast.If) for inner in node.body)]
    typed = {inner for node in tree.body if isinstance(node, ast.If) for inner in node.body}
    found: set[str] = set()
    for node in (node for node in ast.walk(tree) if node not in typed) if functions else top:
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & known or {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & known


def knots(trees: dict[str, ast.Module], functions: bool = False) -> list[set[str]]:
    pairs = [(name, other) for name, tree in trees.items() for other in imported(tree, set(trees), functions)]
    graph = networkx.DiGraph(pairs)
    graph.remove_edges_from(networkx.selfloop_edges(graph))
    return [group for group in networkx.strongly_connected_components(graph) if len(group) > 1]


@cache
def trees_of_assay() -> dict[str, ast.Module]:
    paths = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / "assay").rglob("*.py")}
    return {name.removesuffix(".__init__"): ast.parse(path.read_text()) for path, name in paths.items()}


def test_no_modules_import_one_another():
    trees = trees_of_assay()
    assert len(trees) > 200
    assert knots(trees) == []


def test_functions_import_in_one_circle_alone_which_is_told_in_the_decisions():
    own = {"base", "claims.writing", "claims.file"}  # `Explanation.to_yaml`; a block builds an Explanation
    assert knots(trees_of_assay(), functions=True) == [{f"assay.explanations.{name}" for name in own}]


def test_the_contract_forbids_the_folder_of_every_kind():
    """Those who measure, score, record and report know none of them (`lint-imports`)."""
    settings = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())
    contract = next(one for one in settings["tool"]["importlinter"]["contracts"] if one["type"] == "forbidden")
    folders = {place.partition(":")[0].rpartition(".")[0] for place in KINDS.values()}
    assert set(contract["forbidden_modules"]) == folders


def test_a_knot_of_three_is_found():
    texts = {
        "a": "from b import x",
        "b": "if True:\n    import c",
        "c": "import a\ndef f():\n    import d",
        "d": "import a",
    }
    trees = {name: ast.parse(text) for name, text in texts.items()}
    assert knots(trees) == [{"a", "b", "c"}]
    assert knots(trees, functions=True) == []  # what stands under an `if` at the top is for types
    assert knots(trees | {"b": ast.parse("def f():\n    import c")}, functions=True) == [{"a", "b", "c", "d"}]
