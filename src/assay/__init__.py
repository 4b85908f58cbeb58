"""Assay: how many nines fine is your explanation? The public face; lazy, so that nothing heavy is imported unused."""

from __future__ import annotations

import sys
from types import ModuleType

from assay import version

__version__ = version.VERSION

TYPE_CHECKING = False  # not `typing`'s, whose import is most of the time before a command can answer Ctrl-C

if TYPE_CHECKING:
    from assay import testing
    from assay.errors import UserError
    from assay.explanations import Circuit, Constant, Dictionary, Hypothesis, Keep, Program, Remove, Subspace, programs
    from assay.explanations.base import Explanation
    from assay.explanations.claims.file import load_claim
    from assay.explanations.hypothesis.places import Place
    from assay.measure.measure import measure
    from assay.measure.measurement import Measurement, load_run
    from assay.measure.settings import Settings
    from assay.measure.workbench import Workbench
    from assay.planted.load import load
    from assay.stats.estimate import Estimate
    from assay.task.task import Task


class _Package(ModuleType):
    """`assay.measure` is the function, also after something was imported from the package of that name, which would
    otherwise be put in its place."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name == "measure" and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

_KINDS = ("Circuit", "Constant", "Dictionary", "Hypothesis", "Keep", "Program", "Remove", "Subspace", "programs")
# name -> (module, attribute); no attribute: the module itself
_HOMES: dict[str, tuple[str, str | None]] = {
    **{name: ("assay.explanations", name) for name in _KINDS},
    "Estimate": ("assay.stats.estimate", "Estimate"),
    "Explanation": ("assay.explanations.base", "Explanation"),
    "Measurement": ("assay.measure.measurement", "Measurement"),
    "Place": ("assay.explanations.hypothesis.places", "Place"),
    "Settings": ("assay.measure.settings", "Settings"),
    "Task": ("assay.task.task", "Task"),
    "UserError": ("assay.errors", "UserError"),
    "Workbench": ("assay.measure.workbench", "Workbench"),
    "load": ("assay.planted.load", "load"),
    "load_claim": ("assay.explanations.claims.file", "load_claim"),
    "load_run": ("assay.measure.measurement", "load_run"),
    "measure": ("assay.measure.measure", "measure"),
    "testing": ("assay.testing", None),
}

__all__ = [
    "Circuit",
    "Constant",
    "Dictionary",
    "Estimate",
    "Explanation",
    "Hypothesis",
    "Keep",
    "Measurement",
    "Place",
    "Program",
    "Remove",
    "Settings",
    "Subspace",
    "Task",
    "UserError",
    "Workbench",
    "__version__",
    "load",
    "load_claim",
    "load_run",
    "measure",
    "programs",
    "testing",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'assay' has no attribute {name!r}")
    import importlib

    module, attribute = _HOMES[name]
    found = importlib.import_module(module)
    value = found if attribute is None else getattr(found, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
