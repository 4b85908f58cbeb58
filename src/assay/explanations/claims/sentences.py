"""What pydantic finds wrong with a claim file, as one sentence with file and line."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, get_args

from pydantic import BaseModel, BeforeValidator, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from assay.errors import ClaimError, nearest
from assay.explanations.claims.source import Path_, SourceFile


def validated(schema: type[Any], source: SourceFile, prefix: Path_, data: dict[str, Any]) -> Any:
    """A part of a claim file as its class.

    Raises:
        ClaimError: one sentence with file and line, the value, and the nearest valid names.
    """
    try:
        return schema.model_validate(data)
    except ValidationError as problem:
        errors = problem.errors(include_url=False)
        # a misspelt field is both unknown and missing: the unknown one says more
        first = min(errors, key=lambda e: (e["type"] != "extra_forbidden", e["type"] == "missing"))
        raise ClaimError(_sentence(first, schema, source, prefix)) from None


_TYPES = {
    "int_type": "a whole number",
    "bool_type": "true or false",
    "string_type": "a text",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "literal_error": "auto, true or false",
}
_BLOCKS = {
    "task": "{kind: text, split: test}",
    "explanation": "{kind: remove, components: [a1.h3]}",
    "reference": "{files: [other.txt]}",
}


def _sentence(error: ErrorDetails, schema: type[BaseModel], source: SourceFile, prefix: Path_) -> str:
    path = prefix
    for part in error["loc"]:
        path = (*path, part) if isinstance(part, int) or (*path, part) in source.lines else path
    kind, value, name = error["type"], error.get("input"), str(error["loc"][-1])
    if kind in ("extra_forbidden", "missing"):
        inside = f" in {prefix[-1]!r}" if prefix else ""
        valid = [f.alias or n for n, f in schema.model_fields.items()]
        if len(error["loc"]) > 1:  # a mapping that has no kinds of its own
            inner: Any = schema.model_fields[str(error["loc"][0])].annotation
            inner = next((one for one in (inner, *get_args(inner)) if hasattr(one, "model_fields")), schema)
            inside, valid = f" in {error['loc'][0]!r}", list(inner.model_fields)
        if kind == "missing":
            return f"{source.at(path)}the field {name!r}{inside} is missing"
        return f"{source.at((*prefix, *error['loc']))}unknown field {name!r}{inside}" + nearest(name, valid)
    where, field = source.at(path), next((str(p) for p in reversed(path) if isinstance(p, str)), name)
    if kind == "sentence":
        return where + error["ctx"]["text"]  # type: ignore[typeddict-item]
    if value is None or value == "":
        return f"{where}the field {field!r} has no value"
    if kind == "too_short":
        return f"{where}{field!r} is empty; name at least one"
    shown = _shown(value)
    if kind == "greater_than_equal":
        return f"{where}{field!r} must be at least {error['ctx']['ge']}, not {shown}"  # type: ignore[typeddict-item]
    if kind == "less_than_equal":
        return f"{where}{field!r} must be at most {error['ctx']['le']:,}, not {shown}"  # type: ignore[typeddict-item]
    element = "each entry of " if isinstance(path[-1], int) else ""
    what = _TYPES.get(kind, error["msg"])
    if field == "components":
        like = getattr(schema, "like", "{a1.h3: induction}")
        what = what.replace("a mapping", f"a mapping such as {like}").replace("a list", "a list such as [a1.h3]")
    elif what == "a mapping" and field in _BLOCKS:
        what += f" such as {_BLOCKS[field]}"
    elif kind == "list_type" and isinstance(value, str):
        what = f"a list such as [{value}]"
    elif kind == "string_type" and error["loc"][0] == "variables":
        what += " such as number(1)"
    return f"{where}{element}{field!r} must be {what}, not {shown}"


def _shown(value: object) -> str:
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = re.sub(r"\s+", " ", repr(value))
    return text if len(text) <= 60 else text[:57] + "..."


def sound(problem: Callable[[str], str | None]) -> BeforeValidator:
    """A text, or every text of a list, must have no problem; it is said in one clause."""

    def check(value: object) -> object:
        for name in value if isinstance(value, list) else [value]:
            if isinstance(name, str) and (clause := problem(name)):
                raise PydanticCustomError("sentence", "{text}", {"text": clause})
        return value

    return BeforeValidator(check)


def known(what: str, valid: tuple[str, ...]) -> BeforeValidator:
    """One name, or every name of a list, must be among the valid ones."""
    return sound(lambda name: None if name in valid else f"unknown {what} {name!r}" + nearest(name, valid))
