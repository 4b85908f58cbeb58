"""What a claim file may say of a program: names and arguments, checked before anything heavy is imported.

A program of the table is the function of that name in `library`.
"""

from __future__ import annotations

from collections.abc import Iterable

from assay import plugins
from assay.errors import nearest
from assay.explanations.levels import Level
from assay.task import bounds

LEVELS = ("pattern", "pattern_token", "full")  # of an attention program: how little of the model's weights it keeps
WITHOUT_MATCH = ("mean", "first", "zero")
MATCHES = ("recent", "all", "prefix")
ORDERS = range(1, 6)  # tokens of an n-gram program

_ATTENTION = {"level": LEVELS, "without_match": WITHOUT_MATCH}

# program -> argument -> its values: names, whole numbers, a text (str) or a list of token ids (list)
PROGRAMS: dict[str, dict[str, tuple[str, ...] | range | type]] = {
    "induction": {
        **_ATTENTION,
        "match": MATCHES,
        "prefix": range(bounds.PREFIX[0], bounds.PREFIX[1] + 1),
    },
    "previous_token": {**_ATTENTION},
    "copy": {**_ATTENTION},
    "first_token": {**_ATTENTION},
    "duplicate_token": {**_ATTENTION},
    "ngram": {"n": ORDERS, "smallest": range(1, 1_000_000)},
    "label": {"source": str, "tokens": list},
}


def level_of(labels: Iterable[bool]) -> Level:
    """The level of a claim whose programs are labels or not: a label says what a part carries, others how it works."""
    return "what" if all(labels) else "how"


def program_problem(name: str, arguments: dict[str, object]) -> tuple[str | None, str] | None:
    """What is wrong with a named program: (the argument or None for the name, one clause), or None."""
    if clause := plugins.problem(plugins.PROGRAMS, name, PROGRAMS):
        return None, clause
    if name not in PROGRAMS:
        others = plugins.names(plugins.PROGRAMS, PROGRAMS)
        if name in others:
            return None  # its own arguments are checked by itself
        return None, f"unknown program {name!r}" + nearest(name, (*PROGRAMS, *others))
    valid = PROGRAMS[name]
    for argument, value in arguments.items():
        if argument not in valid:
            return argument, f"the program {name!r} has no argument {argument!r}" + nearest(argument, valid)
        clause = _value_problem(value, valid[argument])
        if clause:
            return argument, f"{argument!r} of the program {name!r} {clause}"
    if "prefix" in arguments and arguments.get("match") != "prefix":
        return "prefix", f"'prefix' of the program {name!r} goes with 'match: prefix' only"
    if name == "label" and len(arguments) != 1:
        return None, "the program 'label' takes either 'source' or 'tokens'"
    return None


def _value_problem(value: object, values: tuple[str, ...] | range | type) -> str | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(values, tuple):
        return None if value in values else f"cannot be {value!r}" + nearest(value, values)
    if isinstance(values, range):
        if whole and value in values:
            return None
        most = f"from {values[0]} to {values[-1]}" if len(values) < 100 else f"of at least {values[0]}"
        return f"must be a whole number {most}, not {value!r}"
    if values is str:
        return None if isinstance(value, str) and value else f"must be a text, not {value!r}"
    if isinstance(value, list) and 0 < len(value) <= bounds.TOKENS[1] and all(map(is_token, value)):
        return None
    return f"must be a list of token ids, not {value!r}"


def is_token(value: object) -> bool:
    """Whether it can be a token's id, for some vocabulary."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and bounds.TOKEN[0] <= value <= bounds.TOKEN[1]  # type: ignore[operator]
