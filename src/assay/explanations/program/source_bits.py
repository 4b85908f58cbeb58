"""Bits of free code: the alpha-renamed syntax tree of all that a function calls, libraries included, with the data that
it reads, compressed."""

from __future__ import annotations

import ast
import bz2
import inspect
import lzma
import textwrap
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import torch

READERS = {  # what brings in data that no reading of the code finds
    *("open", "load", "fromfile", "loadtxt", "genfromtxt", "memmap", "load_file", "safe_open", "read_text"),
    *("read_bytes", "read_csv", "read_parquet", "urlopen", "import_module"),
}
LIBRARIES = ("torch", "numpy", "builtins")  # what they hold is free, as the model is


def source_bits(function: Callable[..., Any]) -> float:
    """Length of a callable's code in bits: the smaller of two compressors' outputs, and a bit that says whose it is.

    Both mark their own end, so that what follows can be told apart.

    Functions that it calls are included as far as their Python source exists; what is compiled (torch's operators)
    counts by its name, which stays as it is. Local names are replaced by numbers, docstrings and annotations dropped.
    Data that it reads from outside (closures, globals, defaults, the object that a method is bound to) is included,
    numbers with a fraction in 16 bits each (32 where these do not hold them), and so is what it imports.

    Raises:
        ValueError: when the source cannot be found (a callable made at a prompt or by `exec`), for data of a kind
            whose length is not known, and for code that may read files.
    """
    found = _Collected()
    found.code(function)
    data = b"\n".join(found.texts)
    return 1 + 8.0 * min(len(bz2.compress(data)), len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=_FILTERS)))


_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9}]


class _Collected:
    """Code and data that a function needs, each once."""

    def __init__(self) -> None:
        self.texts: list[bytes] = []
        self.seen: dict[int, Any] = {}  # held, so that no id is used twice

    def new(self, value: Any) -> bool:
        there = id(value) in self.seen
        self.seen[id(value)] = value
        return not there

    def code(self, function: Any) -> None:
        function = inspect.unwrap(function)
        if isinstance(function, ModuleType) or not self.new(function) or _of_library(function):
            return
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        except (OSError, TypeError, SyntaxError) as problem:
            if self.texts:
                return  # something it calls without Python source
            raise ValueError(f"the source of {function!r} cannot be found, so its length is undefined") from problem
        nodes = list(ast.walk(tree))
        names = {node.id for node in nodes if isinstance(node, ast.Name)}
        attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        if opened := sorted(READERS & (names | attributes) | {"eval", "exec", "__import__"} & names):
            raise ValueError(
                f"it may read data with {opened[0]!r}, whose length is not known; give what it reads to it"
            )
        plain = getattr(function, "__func__", function)
        scope = {**getattr(plain, "__globals__", {}), **_closure(plain)}
        scope |= _imported(nodes, scope.get("__package__"))
        read = {name: scope[name] for name in names & scope.keys()}
        for node in nodes:
            if isinstance(node, ast.Attribute):
                module = _module(node.value, scope)
                if module is not None and not _of_library(module):
                    read[ast.unparse(node)] = getattr(module, node.attr, None)
        self.texts.append(ast.dump(_Renamed(_locals(tree)).visit(tree), annotate_fields=False).encode())
        for _, value in sorted(read.items()):
            if not isinstance(value, ModuleType):
                self.value(value)
        self.value(getattr(plain, "__defaults__", None) or ())
        self.value(getattr(plain, "__kwdefaults__", None) or {})
        if not isinstance(getattr(function, "__self__", None), type | ModuleType | None):
            self.value(vars(function.__self__))

    def value(self, value: Any) -> None:
        """Data as bytes; what can be called, as code."""
        if isinstance(value, str | bytes | int | float | complex | None):
            self.texts.append(repr(value).encode())
        elif isinstance(value, torch.Tensor):
            whole = value.detach().cpu()
            self.array((whole.float() if whole.is_floating_point() else whole).numpy())
        elif isinstance(value, np.ndarray | np.generic):
            self.array(np.asarray(value))
        elif isinstance(value, torch.dtype | torch.device | slice | range):
            self.texts.append(repr(value).encode())
        elif not self.new(value):
            return
        elif isinstance(value, Mapping):
            for key, one in value.items():
                self.value(key)
                self.value(one)
        elif isinstance(value, list | tuple | set | frozenset):
            for one in sorted(value, key=repr) if isinstance(value, set | frozenset) else value:
                self.value(one)
        elif isinstance(value, torch.nn.Module):
            self.texts.append(type(value).__name__.encode())
            self.value(dict(value.named_parameters()) | dict(value.named_buffers()))
        elif inspect.isroutine(value) or isinstance(value, type):
            self.seen.pop(id(value))
            self.code(value)
        elif not isinstance(value, ModuleType) and not _of_library(value):
            if not hasattr(value, "__dict__"):
                kind = type(value).__name__
                raise ValueError(f"it reads a {kind} from outside, whose length is not known; give tensors or numbers")
            self.code(type(value))
            self.value(vars(value))

    def array(self, value: np.ndarray) -> None:
        if value.dtype.kind == "f":
            whole = bool(np.isfinite(value).all() and (value == np.trunc(value)).all() and (abs(value) < 2**62).all())
            value = value.astype(np.int64) if whole else _short(value)
        if value.dtype.kind in "iu" and value.size:
            value = value.astype(np.promote_types(np.min_scalar_type(value.min()), np.min_scalar_type(value.max())))
        elif value.dtype.kind == "O":
            raise ValueError("it reads an array of objects from outside, whose length is not known; give numbers")
        self.texts.append(value.tobytes())


def _short(value: np.ndarray) -> np.ndarray:
    """In 16 bits each where these hold every number to about a thousandth, else in 32."""
    with np.errstate(over="ignore"):
        half = value.astype(np.float16)
    return half if np.allclose(half, value, rtol=2**-10, atol=0, equal_nan=True) else value.astype(np.float32)


def _imported(nodes: list[ast.AST], package: str | None) -> dict[str, Any]:
    """Names that the code itself imports, where that succeeds."""
    found: dict[str, Any] = {}
    for node in nodes:
        with suppress(ImportError):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    found[alias.asname or alias.name.split(".")[0]] = import_module(
                        alias.name if alias.asname else alias.name.split(".")[0]
                    )
            elif isinstance(node, ast.ImportFrom):
                module = import_module("." * node.level + (node.module or ""), package if node.level else None)
                for alias in node.names:
                    there = hasattr(module, alias.name)
                    found[alias.asname or alias.name] = (
                        getattr(module, alias.name) if there else import_module(f"{module.__name__}.{alias.name}")
                    )
    return found


def _module(node: ast.expr, scope: Mapping[str, Any]) -> ModuleType | None:
    """The module that an expression such as `package.part` names, if it names one."""
    if isinstance(node, ast.Name):
        found = scope.get(node.id)
    elif isinstance(node, ast.Attribute):
        owner = _module(node.value, scope)
        found = getattr(owner, node.attr, None) if owner is not None else None
    else:
        return None
    return found if isinstance(found, ModuleType) else None


def _of_library(thing: Any) -> bool:
    name = thing.__name__ if isinstance(thing, ModuleType) else getattr(thing, "__module__", "") or ""
    return name.split(".")[0] in LIBRARIES


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
