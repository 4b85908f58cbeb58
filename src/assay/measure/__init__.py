"""The yardsticks. The package itself is called as `assay.measure(claim, model, task, ...)`: importing any module in it
binds the package to the name `assay.measure`, which would otherwise hide the function."""

from __future__ import annotations

import sys
from types import ModuleType


class _Callable(ModuleType):
    def __call__(self, *args: object, **kwargs: object) -> object:
        from assay.measure.measure import measure

        return measure(*args, **kwargs)  # type: ignore[arg-type]


sys.modules[__name__].__class__ = _Callable
