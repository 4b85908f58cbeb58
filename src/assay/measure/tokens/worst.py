"""The worst examples: tokens on which the explained run is furthest from the model, with the tokens around them.

The ten rows with the largest KL, each around its worst token, and the worst token of each slice that has none among
them, so that every slice can be looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import Plan
from assay.measure.tokens.residual import Partition, Tokens, partitions, scored_tokens
from assay.record.residual import Token, WorstRow
from assay.score.ids import SystemId
from assay.score.likeliest import Likeliest, likeliest
from assay.score.scores import Scored
from assay.task.task import Task

ROWS = 10  # with the largest KL
SLICES = 12  # more examples at most, one a slice
BEFORE, AFTER = 14, 4  # tokens shown around a worst token
DIGITS = 4  # of a probability


@dataclass(frozen=True, eq=False)
class Worst:
    """Examples with the largest KL, worst first, and one of each slice that these leave out."""

    rows: tuple[WorstRow, ...]
    of_slices: tuple[WorstRow, ...]


def worst(
    workbench: PlanContext,
    scored: Scored[SystemId],
    *,
    explained: SystemId,
    floor: SystemId | None = None,
    runs: Mapping[str, Plan | None] | None = None,
    parted: Mapping[str, Partition] | None = None,
    count: int = ROWS,
    more: int = SLICES,
) -> Worst:
    """The worst examples, as in the record: KL in nats of the token and of its row; context has no figures.

    Args:
        explained, floor: systems whose token tables were kept, as was the model's.
        runs: "model" (None), "explained" and "floor", whose likeliest tokens are told; nothing for those left out.
        parted: as `residual.partitions` gives them.
        count, more: how many rows, and how many further examples of slices.
    """
    task, kl = workbench.task, scored[explained].table.kl
    parted = partitions(scored, task) if parted is None else parted
    totals = np.bincount(scored.row, weights=kl.astype(float))
    order = [row for row in np.argsort(-totals, kind="stable")[:count] if (scored.row == row).any()]
    peaks = [_peak(kl, scored.row == row) for row in order]
    others = _of_slices(kl, parted, peaks, more)
    rows = np.unique(scored.row[[*peaks, *others]])
    shown = _Shown(task, scored, parted, explained, floor, likeliest(workbench, runs or {}, rows), rows)
    return Worst(tuple(map(shown.example, peaks)), tuple(map(shown.example, others)))


def _peak(kl: np.ndarray, where: np.ndarray) -> int:
    items = np.flatnonzero(where)
    return int(items[np.argmax(kl[items])])


def _of_slices(kl: np.ndarray, parted: Mapping[str, Partition], taken: Sequence[int], most: int) -> list[int]:
    """The worst item of each slice that none of those taken is in, the largest KL first."""
    found: dict[int, None] = {}
    for part in parted.values():
        have = set(part.labels[[*taken]])
        found |= {_peak(kl, part.labels == name): None for name in set(part.labels.tolist()) - have}
    return sorted(found, key=lambda item: (-float(kl[item]), item))[:most]


class _Shown:
    """What examples are made of; `tops`: of the scored items of `rows`, in their order."""

    def __init__(
        self,
        task: Task,
        scored: Scored[SystemId],
        parted: Mapping[str, Partition],
        explained: SystemId,
        floor: SystemId | None,
        tops: Mapping[str, Likeliest],
        rows: Int[np.ndarray, "rows"],
    ):
        self.task, self.scored, self.parted, self.tops = task, scored, parted, tops
        self.mine, self.below = scored[explained].table, scored[floor].table if floor else None
        self.totals = np.bincount(scored.row, weights=self.mine.kl.astype(float))
        self.ids, self.strings = scored_tokens(task, scored), Tokens(task.tokenizer)
        self.place = {int(item): i for i, item in enumerate(np.flatnonzero(np.isin(scored.row, rows)))}

    def example(self, item: int) -> WorstRow:
        """The window around an item; a classifier's is the item alone."""
        task, scored = self.task, self.scored
        row, position = int(scored.row[item]), int(scored.position[item])
        at = {int(scored.position[i]): int(i) for i in np.flatnonzero(scored.row == row)}
        window = range(position, position + 1)
        if task.kind != "classify":
            length = int(task.last[row]) + 1
            window = range(max(0, position - BEFORE), max(position + 1, min(length, position + AFTER + 1)))
        tokens = [self.token(at[c]) if c in at else self.context(int(task.tokens[row, c])) for c in window]
        return WorstRow(
            document=task.documents[int(task.document[row])].name,
            row=row,
            position=position,
            token=self.strings([int(self.ids[item])])[0],
            kl=float(self.mine.kl[item]),
            row_kl=float(self.totals[row]),
            text=tuple(tokens),
            slices={by: str(part.labels[item]) for by, part in self.parted.items()},
        )

    def context(self, token: int) -> Token:
        return Token(token=self.strings([token])[0])

    def token(self, item: int) -> Token:
        figures = {"kl": self.mine.kl, "loss_model": self.scored.model.table.loss, "loss_explained": self.mine.loss}
        if self.below:
            figures |= {"kl_floor": self.below.kl, "loss_floor": self.below.loss}
        known: dict[str, Any] = {name: float(values[item]) for name, values in figures.items()}
        known |= {f"top_{name}": self.top(top, self.place[item]) for name, top in self.tops.items()}
        return Token(token=self.strings([int(self.ids[item])])[0], **known)

    def top(self, top: Likeliest, place: int) -> tuple[tuple[str, float], ...]:
        return tuple(
            (token, round(float(p), DIGITS))
            for token, p in zip(self.strings(top.ids[place]), top.p[place], strict=True)
        )
