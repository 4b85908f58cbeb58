"""What tests call: that a claim still holds of a model (`assert_recovered`, `assert_costs`, and the pytest plug-in in
`pytest_plugin`), and that a plug-in keeps what assay asks of it.

Each `check_...` runs the plug-in on a small model as a measurement or a search would, and raises one `AssertionError`
that names every promise that it breaks. The package is lazy: pytest opens it in every project where assay is installed.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False

if TYPE_CHECKING:
    from assay.testing.ablations import check_ablation
    from assay.testing.claims import assert_costs, assert_recovered
    from assay.testing.kinds import check_kind
    from assay.testing.methods import check_method
    from assay.testing.metrics import check_metric
    from assay.testing.programs import check_program
    from assay.testing.worlds import check_world

__all__ = [
    "assert_costs",
    "assert_recovered",
    "check_ablation",
    "check_kind",
    "check_method",
    "check_metric",
    "check_program",
    "check_world",
]

_HOMES = {name: "claims" if name.startswith("assert") else name.removeprefix("check_") + "s" for name in __all__}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'assay.testing' has no attribute {name!r}")
    return getattr(importlib.import_module(f"assay.testing.{_HOMES[name]}"), name)
