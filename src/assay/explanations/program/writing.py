"""Programs as they are written: in a claim file, and in Python on one line."""

from __future__ import annotations

import reprlib
from dataclasses import fields
from typing import Any

from assay.errors import ClaimError
from assay.explanations.program.library import (
    AnyProgram,
    AttentionProgram,
    CustomProgram,
    LabelProgram,
    NGramProgram,
)


def arguments(program: AttentionProgram | NGramProgram | LabelProgram) -> dict[str, Any]:
    """What the function of the program's name was given, without what it takes by itself."""
    given = {one.name: (getattr(program, one.name), one.default) for one in fields(program) if one.name != "name"}
    return {name: value for name, (value, default) in given.items() if value != default}


def block(component: str, program: AnyProgram) -> dict[str, Any]:
    """A program as claim files have it.

    Raises:
        ClaimError: for a Python function.
    """
    if isinstance(program, CustomProgram):
        raise ClaimError(
            f"{component!r} is given the Python function {program.name!r}, which no claim file can hold; a plug-in "
            "(assay.programs) gives it a name there"
        )
    lists = {name: list(value) if isinstance(value, tuple) else value for name, value in arguments(program).items()}
    return {"program": program.name, **lists}


def call(program: AnyProgram) -> str:
    """A program as Python makes it, on one line."""
    if isinstance(program, CustomProgram):
        return f"custom({program.name}, returns={program.returns!r})"
    return f"{program.name}({', '.join(f'{name}={reprlib.repr(v)}' for name, v in arguments(program).items())})"
