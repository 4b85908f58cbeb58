"""The table of every floor x ablation, and which row is the headline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assay.errors import ClaimError, nearest
from assay.explanations.base import Explanation
from assay.explanations.floors import NGRAMS, floor_models
from assay.measure.headline.recovered import Necessity, Recovered, measure_recovered, necessity
from assay.measure.headline.systems import Systems
from assay.score.ids import BIGRAM, NOOP, SystemId, rival
from assay.score.scores import Scored, Scores
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate

OTHER_FLOORS = NGRAMS


@dataclass(frozen=True, eq=False)
class Row:
    """One row of the table."""

    ablation: str
    floor: str
    system: SystemId  # the floor's
    figures: Recovered


@dataclass(frozen=True, eq=False)
class Figures:
    """The table and its headline.

    Attributes:
        ablation: the headline's: the one with the lowest R_D of those measured (for Remove: with the least KL).
        rows: every floor x ablation; empty for Remove.
        necessity: for Remove: ablation -> N.
    """

    ablation: str
    rows: tuple[Row, ...]
    necessity: Mapping[str, Necessity]
    noise_kl: float
    noise_loss: float

    @property
    def headline(self) -> Row | None:
        for row in self.rows:
            if row.ablation == self.ablation and row.floor in ("ablated", "empty"):
                return row
        return None


def figures(
    explanation: Explanation,
    scored: Scored[SystemId],
    resamples: Resamples,
    plans: Systems,
    floors: Sequence[str] | None = None,
) -> Figures:
    """Every explained run against every floor; the meter's noise is what the no-op run reads on the same tokens.

    Args:
        floors: which floors stand beside the headline's; None: every one that was scored.

    Raises:
        ClaimError: for a floor that this task and kind of claim do not have.
    """
    models = floor_models(floors)
    for floor in floors or ():
        (named,) = floor_models([floor]) or (floor,)
        if rival(named) not in scored.systems and floor != explanation.headline_floor:
            there = [explanation.headline_floor, *(f for f in OTHER_FLOORS if rival(f) in scored.systems)]
            raise ClaimError(f"a {explanation.kind} claim has no floor {floor!r} on this task" + nearest(floor, there))
    used = scored.count > 0
    count = scored.count[used]
    noise_kl = float(scored[NOOP].kl[used].sum() / count.sum())
    noise_loss = float(np.abs(scored[NOOP].loss[used] - scored.model.loss[used]).sum() / count.sum())
    model = scored.model.loss[used]

    def pair(its: Scores) -> tuple[np.ndarray, np.ndarray]:
        return its.loss[used], its.kl[used]

    if explanation.floor_takes is None:
        found: dict[str, Necessity] = {}
        for ablation, explained in plans.explained.items():
            loss, kl = pair(scored[explained])
            if BIGRAM in scored.systems:
                found[ablation] = necessity(
                    resamples,
                    count,
                    loss_model=model,
                    loss_removed=loss,
                    loss_bigram=scored[BIGRAM].loss[used],
                    kl_removed=kl,
                    noise=noise_loss,
                )
            else:
                none = Estimate.undefined("there is no bigram for this task", len(count))
                found[ablation] = Necessity(
                    none, resamples.mean(kl, count, least=0.0), resamples.difference(loss, model, count)
                )
        # what is claimed is that removal hurts: the weakest evidence leads
        lowest = min(found, key=lambda a: found[a].kl.value or 0.0)
        return Figures(lowest, (), found, noise_kl, noise_loss)
    rows: list[Row] = []
    own = explanation.headline_floor

    def add(ablation: str, floor: str, system: SystemId, label: str) -> None:
        row = measure_recovered(
            resamples,
            count,
            loss_model=model,
            explained=pair(scored[plans.explained[ablation]]),
            floor=pair(scored[system]),
            floor_name=label,
            noise_kl=noise_kl,
            noise_loss=noise_loss,
        )
        rows.append(Row(ablation, floor, system, row))

    for ablation in plans.explained:
        add(ablation, own, plans.floors[ablation], ablation if own == "ablated" else f"{own}, {ablation}")
    for floor in (*OTHER_FLOORS, *models):
        if rival(floor) in scored.systems and (floors is None or floor in floors or floor in models):
            for ablation in list(plans.explained)[: 1 if explanation.once else None]:
                add(ablation, floor, rival(floor), floor)
    mine = [row for row in rows if row.floor == own]
    lowest = min(mine, key=lambda row: _order(row.figures.recovered))
    return Figures(lowest.ablation, tuple(rows), {}, noise_kl, noise_loss)


def _order(estimate: Estimate) -> float:
    return float("inf") if estimate.value is None else estimate.value


def row_json(row: Row, headline: Row | None) -> dict[str, Any]:
    """The row as the record holds it."""
    names = {"ablation": row.ablation, "floor": row.floor, "option": None, "headline": row is headline}
    return {**names, **row.figures.to_json()}
