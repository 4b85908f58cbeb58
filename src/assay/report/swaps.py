"""Swaps of a claim's variables as a table: what the terminal and the page show of interchange accuracy."""

from __future__ import annotations

from assay.record.interchange import Interchange
from assay.report import words
from assay.report.plain import plain_text
from assay.stats.estimate import Estimate

_REST = {
    "left": "left alone",
    "resample_independent": "resampled",
    "resample_joint": "resampled from one row",
    "shared_adversarial": "at its worst constants",
}

SCALE = "0 is no better than a constant answer, 1 exact"


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


COARSER = ("values not told apart", "swaps that tell", "of these as this claim", "as the coarser one", "its accuracy")


def coarser(found: Interchange) -> list[tuple[str | Estimate, ...]]:
    """A row for each claim that tells fewer values of a variable apart, on the swaps of that variable alone."""

    def share(value: float | None) -> str:
        return "–" if value is None else f"{100 * value:.0f} %"

    some = [one for row in found.rows if len(row.variables) == 1 for one in row.coarser]
    return [
        (plain_text(one.name), share(one.differs), share(one.claim), share(one.coarser), one.accuracy) for one in some
    ]


def verdict(found: Interchange) -> str:
    """Whether swapping a variable's value has the effect that the claim says."""
    more = _generated(found)
    if not found.accuracy.defined:
        return f"Interchange accuracy is undefined, because {words.why(found.accuracy)}.{more}"
    row = next(row for row in found.rows if row.variables == found.variables)
    which = words.few_names(", ".join(map(plain_text, found.variables)))
    worst = f", the worst of {len(found.rows)} swaps, that of {which}," if len(found.rows) > 1 else ""
    text = f"Interchange accuracy{worst} is {words.said(found.accuracy)} where everything else is "
    text += f"{rest(found.perturbed)} ({SCALE}), and {words.said(found.plain)} where it is left alone"
    changed = f"the answer should change in {100 * row.changed:.0f} % of {words.count(row.swaps)} swaps"
    only = (found.plain.low or 0) > (found.accuracy.high or 0)
    holds = "; the claim holds better only where the rest of the network is left alone" if only else ""
    agree = found.unswapped
    alike = "" if agree is None else f" Unswapped, the network answers as the claim says in {words.percent(agree)}."
    return f"{text}; {changed}{holds}.{alike}{more}"


def _generated(found: Interchange) -> str:
    """What a generator gave, where one was asked."""
    if found.generated is None:
        return ""
    total = sum(found.generated.values())
    on = ", ".join(f"{count} on {plain_text(names)}" for names, count in found.generated.items())
    return f" For rows that no other agrees with a generator gave {total} input{'s' * (total != 1)}{on and f' ({on})'}."


def sees(found: Interchange) -> str:
    """What there is to see."""
    if not found.rows:
        return verdict(found)
    beside = " Beside it: claims that tell fewer values apart, on the same swaps." if coarser(found) else ""
    return (
        "A variable's places take the values that they have on another input; the network should then answer as the "
        f"claim says. {SCALE}. Only where the rest is {rest(found.perturbed)} does a row tell a variable that is "
        "carried from one that is merely read there."
        f"{beside}"
    )
