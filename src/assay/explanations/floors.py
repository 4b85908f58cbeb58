"""Floors by their names: the headline's own, n-grams, and other models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

from assay.errors import nearest

Floor = Literal["ablated", "empty", "unconditioned", "bigram", "ngram", "unigram"]
FLOORS: tuple[Floor, ...] = get_args(Floor)
NGRAMS = FLOORS[3:]
FLOOR_MODEL = "model:"  # before the name of another model that is a floor; in files and calls also {"model": NAME}


def floor_problem(floor: object) -> str | None:
    """What is wrong with a floor (a name, or `{"model": NAME}`), in one clause; None for nothing."""
    if isinstance(floor, dict):
        if list(floor) == ["model"] and isinstance(floor["model"], str) and floor["model"]:
            return None
        return f"a floor is a name or {{model: NAME}}, not {floor!r}"
    if not isinstance(floor, str):
        return f"a floor is a name or {{model: NAME}}, not {floor!r}"
    if floor in FLOORS or floor.removeprefix(FLOOR_MODEL) not in ("", floor):
        return None
    return f"unknown floor {floor!r}" + nearest(floor, (*FLOORS, "{model: NAME}"))


def floor_models(floors: Iterable[object] | None) -> tuple[str, ...]:
    """The names of the models among some floors."""
    plain = (floor["model"] if isinstance(floor, dict) else floor for floor in floors or ())
    named = (isinstance(floor, dict) or str(floor).startswith(FLOOR_MODEL) for floor in floors or ())
    return tuple(str(name).removeprefix(FLOOR_MODEL) for name, model in zip(plain, named, strict=True) if model)
