"""Bits of free code: the alpha-renamed syntax tree of all that a function calls, libraries included, compressed."""

from __future__ import annotations

import ast
import bz2
import inspect
import lzma
import textwrap
from collections.abc import Callable
from types import ModuleType
from typing import Any


def source_bits(function: Callable[..., Any]) -> float:
    """Length of a callable's code in bits: the smaller of two compressors' outputs, and a bit that says whose it is.

    Both mark their own end, so that what follows can be told apart.

    Functions that it calls are included as far as their Python source exists; what is compiled (torch's operators)
    counts by its name, which stays as it is. Local names are replaced by numbers, docstrings and annotations dropped.

    Raises:
        ValueError: when the source cannot be found (a callable made at a prompt or by `exec`).
    """
    texts: list[str] = []
    seen: set[int] = set()
    _collect(function, texts, seen)
    data = "\n".join(texts).encode()
    return 1 + 8.0 * min(len(bz2.compress(data)), len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=_FILTERS)))


_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9}]


def _collect(function: Any, texts: list[str], seen: set[int]) -> None:
    function = inspect.unwrap(function)
    if isinstance(function, ModuleType) or id(function) in seen:
        return
    seen.add(id(function))
    module = getattr(function, "__module__", "") or ""
    if module.split(".")[0] in ("torch", "numpy", "builtins"):
        return
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError) as problem:
        if texts:
            return  # something it calls without Python source
        raise ValueError(f"the source of {function!r} cannot be found, so its length is undefined") from problem
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    texts.append(ast.dump(_Renamed(_locals(tree)).visit(tree), annotate_fields=False))
    scope = {**getattr(function, "__globals__", {}), **_closure(function)}
    for name in sorted(names & scope.keys()):
        if callable(scope[name]):
            _collect(scope[name], texts, seen)


def _closure(function: Any) -> dict[str, Any]:
    cells = getattr(function, "__closure__", None) or ()
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    return {name: cell.cell_contents for name, cell in zip(names, cells, strict=False)}


def _locals(tree: ast.AST) -> set[str]:
    """Every name that the code itself gives: arguments, variables, functions, imports' and exceptions' names."""
    out: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            out.add(node.id)
        elif isinstance(node, ast.arg):
            out.add(node.arg)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler)) and node.name:
            out.add(node.name)
        elif isinstance(node, ast.alias) and node.asname:
            out.add(node.asname)
    return out


class _Renamed(ast.NodeTransformer):
    """Numbers for local names, in the order in which they are met; no docstrings, no annotations."""

    def __init__(self, local: set[str]) -> None:
        self.local = local
        self.names: dict[str, str] = {}

    def _short(self, name: str) -> str:
        return self.names.setdefault(name, f"v{len(self.names)}") if name in self.local else name

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.name, node.returns, node.decorator_list = self._short(node.name), None, []
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        self.generic_visit(node)
        return node

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:
        node.name = None if node.name is None else self._short(node.name)
        self.generic_visit(node)
        return node

    def visit_alias(self, node: ast.alias) -> ast.AST:
        node.asname = None if node.asname is None else self._short(node.asname)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        plain = node if node.value is None else ast.Assign([node.target], node.value)
        if isinstance(plain, ast.AnnAssign):
            plain.annotation = ast.Constant(None)
        self.generic_visit(plain)
        return plain

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.arg, node.annotation = self._short(node.arg), None
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self._short(node.id)
        return node
