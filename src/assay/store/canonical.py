"""One way to write a record as JSON: takes plain values, numpy ones, objects with `to_json`; gives the same text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def plain(value: object, where: str = "record") -> Any:
    """The same value as plain dicts, lists, strings, numbers, booleans and None, in the order given.

    Raises:
        ValueError: a NaN or an infinity (what is undefined is null with a reason), or a key that is not a string.
        TypeError: something that JSON cannot hold.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        # A file name may hold lone surrogates, which are not text in any encoding.
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        number = float(value)
        if not math.isfinite(number):
            raise ValueError(f"{where} is {number}: a record holds null and a reason where a figure is undefined")
        return number
    to_json = getattr(value, "to_json", None)
    if callable(to_json):
        return plain(to_json(), where)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"{where} has the key {key!r}, and a record's keys are strings")
        return {plain(key): plain(item, f"{where}.{key}") for key, item in value.items()}
    if callable(tolist := getattr(value, "tolist", None)):  # numpy's, which nothing light may import
        return plain(tolist(), where)
    if isinstance(value, list | tuple):
        return [plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    raise TypeError(f"{where} is a {type(value).__name__}, which a record cannot hold")


def canonical_json(value: object, indent: int | None = 2) -> str:
    """The text of a record: the schema's order kept, floats to their shortest exact form, a newline at the end.

    Raises:
        ValueError: a NaN or an infinity, named with its place.

    Example:
        >>> canonical_json({"b": 0.1, "a": [1, None]}, indent=None)
        '{"b": 0.1, "a": [1, null]}\\n'
    """
    return json.dumps(plain(value), ensure_ascii=False, allow_nan=False, indent=indent) + "\n"
