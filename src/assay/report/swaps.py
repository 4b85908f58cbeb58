"""Swaps of a hypothesis's variables as a table: what the terminal and the page show of interchange accuracy."""

from __future__ import annotations

from assay.record.interchange import Interchange
from assay.report import words
from assay.report.plain import plain_text
from assay.stats.estimate import Estimate

REST = {"left": "left alone", "resample_joint": "resampled"}


def columns(found: Interchange) -> tuple[str, ...]:
    """The heads of its table."""
    rests = dict.fromkeys(rest for row in found.rows for rest in row.by_rest)
    return ("swapped", "swaps", "should change the answer", *(f"the rest {REST.get(rest, rest)}" for rest in rests))


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
        "hypothesis does. 1 is exact, 0 no better than the most common right answer. Only where the rest is resampled "
        "does a row tell a variable that is carried from one that is merely read there."
    )
