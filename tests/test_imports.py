"""No module imports another one that leads back to it: at the top of files, type checking included, as it is read."""

from __future__ import annotations

import ast
from pathlib import Path

import networkx

import assay

ROOT = Path(assay.__file__).parents[1]


def imported(tree: ast.Module, known: set[str]) -> set[str]:
    """The package's modules that a file imports at its top."""
    top = [*tree.body, *(inner for node in tree.body if isinstance(node, ast.If) for inner in node.body)]
    found: set[str] = set()
    for node in top:
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & known or {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & known


def knots(trees: dict[str, ast.Module]) -> list[set[str]]:
    graph = networkx.DiGraph([(name, other) for name, tree in trees.items() for other in imported(tree, set(trees))])
    graph.remove_edges_from(networkx.selfloop_edges(graph))
    return [group for group in networkx.strongly_connected_components(graph) if len(group) > 1]


def test_no_modules_import_one_another():
    paths = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / "assay").rglob("*.py")}
    trees = {name.removesuffix(".__init__"): ast.parse(path.read_text()) for path, name in paths.items()}
    assert len(trees) > 200
    assert knots(trees) == []


def test_a_knot_of_three_is_found():
    texts = {
        "a": "from b import x",
        "b": "if True:\n    import c",
        "c": "import a\ndef f():\n    import d",
        "d": "import a",
    }
    assert knots({name: ast.parse(text) for name, text in texts.items()}) == [{"a", "b", "c"}]
