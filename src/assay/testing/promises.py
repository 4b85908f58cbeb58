"""Promises of a plug-in: each is tried, and those that it breaks are said together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from assay.errors import UserError


class Promises:
    """Promises of one plug-in.

    Attributes:
        whose: what it is, such as "the kind 'scaled'"; broken: promises that did not hold, each with what was found.
    """

    def __init__(self, whose: str):
        self.whose = whose
        self.broken: list[str] = []

    @contextmanager
    def keep(self, promise: str) -> Iterator[None]:
        """What raises within breaks this promise; what follows goes on."""
        try:
            yield
        except Exception as problem:  # another package's code
            sort = "" if isinstance(problem, UserError | AssertionError) else f"{type(problem).__name__}: "
            self.broken.append(f"{promise}: {sort}{problem}")

    def check(self) -> None:
        """Raises `AssertionError` where one was broken."""
        if self.broken:
            count = "a promise" if len(self.broken) == 1 else f"{len(self.broken)} promises"
            raise AssertionError("\n- ".join((f"{self.whose} breaks {count}:", *self.broken)))


def require(holds: object, otherwise: str) -> None:
    """Raises `AssertionError`, with what is otherwise."""
    if not holds:
        raise AssertionError(otherwise)
