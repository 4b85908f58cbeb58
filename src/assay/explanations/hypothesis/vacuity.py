"""What swaps say that a coarser hypothesis does not: on which of them it predicts another answer, and with which of the
two the network then goes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from assay.errors import TaskError
from assay.explanations.hypothesis.values import TaskValues
from assay.stats.estimate import Estimate

SILENT = object()  # where the coarser one has no answer


@dataclass(frozen=True)
class Coarser:
    """A hypothesis in which values of one variable are not told apart, on the swaps of the claim.

    Attributes:
        name: such as "u: 5 → 1 values"; merged: whether no values of it are told apart at all.
        differs: the share of swaps after which it predicts another answer than the claim.
        claim, rival: of these the share in which the network answers as the one or the other; None: there are none.
        raw: the share of all swaps that go as it says.
    """

    name: str
    merged: bool
    differs: float
    claim: float | None
    rival: float | None
    raw: Estimate


def coarser_answers(
    values: TaskValues, sources: dict[str, Int[np.ndarray, "draws rows"]], answers: Sequence[Sequence[Hashable]]
) -> dict[tuple[str, bool], list[list[Hashable]]]:
    """What each one-off coarsening answers after every swap, by its name and whether no values are told apart.

    Where base and source have values that are not told apart it answers as if this variable were not swapped; else as
    the claim.

    Args:
        sources: of the variables that are swapped; answers: [draws][rows] the claim's.
    """
    out: dict[tuple[str, bool], list[list[Hashable]]] = {}
    for name in sources:
        codes, count = values.numbers(name), values.different(name)
        kept = [_without(values, sources, name, draw) for draw in range(len(answers))]
        for by in (2, 0) if count > 3 else (0,):
            of = codes // by if by else np.zeros_like(codes)
            what = f"{name}: {count} → {int(of.max()) + 1} values"
            out[what, not by] = [
                [
                    unswapped if of[row] == of[sources[name][draw, row]] else answer
                    for row, (unswapped, answer) in enumerate(zip(kept[draw], answers[draw], strict=True))
                ]
                for draw in range(len(answers))
            ]
    return out


def _without(
    values: TaskValues, sources: dict[str, Int[np.ndarray, "draws rows"]], name: str, draw: int
) -> list[Hashable]:
    """The answers where one of the variables keeps the base's value."""
    out = list[Hashable]()
    for row, base in enumerate(values.rows):
        others = {other: int(rows[draw, row]) for other, rows in sources.items() if other != name}
        try:
            out.append(values.answer(row, others) if others else base[values.model.answer])
        except TaskError:  # it says nothing of this combination
            out.append(SILENT)
    return out
