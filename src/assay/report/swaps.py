"""Swaps of a hypothesis's variables as a table: what the terminal and the page show of interchange accuracy."""

from __future__ import annotations

from assay.record.interchange import Interchange
from assay.report import words
from assay.report.plain import plain_text
from assay.stats.estimate import Estimate

_REST = {"left": "left alone", "resample_independent": "resampled", "resample_joint": "resampled from one row"}


def rest(name: str) -> str:
    """What everything takes that carries nothing, in words."""
    return plain_text(_REST.get(name, name))


def columns(found: Interchange) -> tuple[str, ...]:
    """The heads of its table."""
    rests = dict.fromkeys(one for row in found.rows for one in row.by_rest)
    return ("swapped", "swaps", "should change the answer", *(f"the rest {rest(one)}" for one in rests))


def rows(found: Interchange) -> list[tuple[str | Estimate, ...]]:
    """A row a variable, that which leads first."""
    ordered = sorted(found.rows, key=lambda row: row.variables != found.variables)
    return [
        (
            plain_text(", ".join(row.variables)),
            words.count(row.swaps),
            f"{100 * row.changed:.0f} %",
            *(agreed.accuracy for agreed in row.by_rest.values()),
        )
        for row in ordered
    ]


def sees(found: Interchange) -> str:
    """What there is to see."""
    if not found.rows:
        return f"Interchange accuracy is undefined, because {words.tidy(found.reason or '')}."
    return (
        "A variable's places take the values that they have on another input; the network should then answer as the "
        f"hypothesis does. 1 is exact, 0 no better than the most common right answer. Only where the rest is "
        f"{rest(found.perturbed)} does a row tell a variable that is carried from one that is merely read there."
    )
