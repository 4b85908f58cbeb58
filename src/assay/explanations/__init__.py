"""Kinds of explanation: programs, parts, constants, circuits, hypotheses, subspaces, dictionaries; claim files.

Lazy, so that a claim file is checked without importing torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assay.explanations.circuit.circuit import Circuit
    from assay.explanations.components.sets import Constant, Keep, Remove
    from assay.explanations.dictionary.dictionary import Dictionary
    from assay.explanations.hypothesis.hypothesis import Hypothesis
    from assay.explanations.program import library as programs
    from assay.explanations.program.program import Program
    from assay.explanations.subspace.subspace import Subspace

__all__ = ["Circuit", "Constant", "Dictionary", "Hypothesis", "Keep", "Program", "Remove", "Subspace", "programs"]

_WHERE = {
    "Circuit": "circuit.circuit",
    "Dictionary": "dictionary.dictionary",
    "Hypothesis": "hypothesis.hypothesis",
    "Program": "program.program",
    "Keep": "components.sets",
    "Remove": "components.sets",
    "Constant": "components.sets",
    "Subspace": "subspace.subspace",
}


def __getattr__(name: str) -> Any:
    if name == "programs":
        return import_module("assay.explanations.program.library")
    if name in _WHERE:
        return getattr(import_module(f"assay.explanations.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
