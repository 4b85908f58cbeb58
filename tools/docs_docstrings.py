"""Docstrings for the site: what stands under "Example:" is a doctest, as under the parser's "Examples:"."""

from __future__ import annotations

from typing import Any

import griffe


class Doctests(griffe.Extension):
    """Renames the section in every docstring that is read."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
