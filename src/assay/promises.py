"""What others' code gives, held against the type that it was asked for, to any depth."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from assay.errors import PluginError, shown

hints = lru_cache(maxsize=256)(get_type_hints)


def held(value: Any, wanted: Any, who: str) -> Any:
    """The value, where it is of the type; of an iterator, each item when its turn comes.

    Args:
        wanted: a class or what stands in annotations; numbers with a fraction must be finite.
        who: whose value it is, and what was asked for: for the message.

    Raises:
        PluginError: with the value, the part of it that is wrong, and the type.
    """
    stream = next((one for one in (wanted, *get_args(wanted)) if get_origin(one) is Iterator), None)
    if stream is not None and isinstance(value, Iterable) and not isinstance(value, str | Mapping):
        (item,) = get_args(stream)
        return (held(one, item, who) for one in value)
    for wrong in _misfits(value, wanted):
        sort = "" if wrong is None else f" ({type(wrong).__name__})"
        gives = f"{shown(value)}{sort}" if wrong is value else f"{shown(value)}, in which {shown(wrong)}{sort} is wrong"
        raise PluginError(f"{who} gives {gives}; wanted: {_words(wanted)}")
    return value


def _misfits(value: Any, wanted: Any) -> Iterator[Any]:
    """The innermost parts of a value that are not of the type."""
    kind, inner = get_origin(wanted) or wanted, get_args(wanted)
    if kind in (Any, object):
        return
    if kind in (Annotated, ClassVar):
        yield from _misfits(value, inner[0])
    elif kind in (Union, UnionType):
        found = [list(_misfits(value, one)) for one in inner]
        if all(found):  # of several types that it is none of, the one that it comes nearest to
            yield from next((wrong for wrong in found if wrong[0] is not value), [value])
    elif kind is Literal:
        if not any(type(value) is type(one) and value == one for one in inner):
            yield value
    elif not _is(value, getattr(kind, "array_type", kind)) or (_fixed(kind, inner) and len(value) != len(inner)):
        yield value
    else:
        for part, its in _parts(value, kind, inner):
            yield from _misfits(part, its)


def _fixed(kind: Any, inner: tuple[Any, ...]) -> bool:
    """Whether it is a tuple of so many parts, each with a type of its own."""
    return kind is tuple and bool(inner) and inner[-1] is not ...


def _is(value: Any, kind: Any) -> bool:
    """Whether a value is of a class; a truth value is no number, and a text no sequence."""
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if kind is int or kind is Sequence:
        return isinstance(value, kind) and not isinstance(value, bool | str)
    return isinstance(value, type(None) if kind is None else kind)


def _parts(value: Any, kind: Any, inner: tuple[Any, ...]) -> Iterator[tuple[Any, Any]]:
    """What a value is made of, each with the type that it must have."""
    if is_dataclass(kind):
        types = hints(kind)
        yield from ((getattr(value, field.name), types[field.name]) for field in fields(kind))
    elif not inner or not isinstance(value, Collection):
        return
    elif isinstance(value, Mapping):
        yield from ((part, its) for pair in value.items() for part, its in zip(pair, inner, strict=True))
    elif _fixed(kind, inner):
        yield from zip(value, inner, strict=True)
    else:
        yield from ((part, inner[0]) for part in value)


def _words(wanted: Any) -> str:
    """A type as a reader would write it: without modules."""
    text = wanted.__name__ if isinstance(wanted, type) and not get_args(wanted) else repr(wanted)
    text = re.sub(r"\bfloat\b", "finite float", re.sub(r"(?:\w+\.)+(?=\w)", "", text)).replace(" | ", " or ")
    return re.sub(r"Literal\[([^]]*)\]", lambda names: names[1].replace(", ", " or "), text)
