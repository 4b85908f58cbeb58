"""The table of every floor x ablation, and which row is the headline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assay.errors import ClaimError, nearest
from assay.explanations.base import Explanation
from assay.explanations.floors import NGRAMS, floor_models
from assay.measure.headline.recovered import Necessity, measure_recovered, necessity
from assay.measure.headline.systems import Systems
from assay.record.headline import Headline, Nines, TableRow
from assay.score.ids import BIGRAM, NOOP, SystemId, rival
from assay.score.scores import Scored, Scores
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate

OTHER_FLOORS = NGRAMS


@dataclass(frozen=True, eq=False)
class HeadlineTable:
    """The table and its headline.

    Attributes:
        ablation: the headline's: the one with the lowest R_D of those measured (of a removal: with the least KL).
        table: every floor x ablation; of a removal every ablation.
    """

    headline: Headline
    table: tuple[TableRow, ...]
    noise_kl: float
    noise_loss: float

    @property
    def ablation(self) -> str:
        return self.headline.ablation

    @property
    def row(self) -> TableRow:
        """The headline's."""
        return next(row for row in self.table if row.headline)

    @property
    def own(self) -> dict[str, TableRow]:
        """The rows of the claim's own floor, by ablation."""
        return {row.ablation: row for row in self.table if row.floor == self.row.floor}


def headline_table(
    explanation: Explanation,
    scored: Scored[SystemId],
    resamples: Resamples,
    plans: Systems,
    floors: Sequence[str] | None = None,
) -> HeadlineTable:
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
    noise_kl = float(np.abs(scored[NOOP].kl[used] - scored.model.kl[used]).sum() / count.sum())
    noise_loss = float(np.abs(scored[NOOP].loss[used] - scored.model.loss[used]).sum() / count.sum())
    model = scored.model.loss[used]

    def pair(its: Scores) -> tuple[np.ndarray, np.ndarray]:
        return its.loss[used], its.kl[used]

    if explanation.removal:
        costs = {ablation: cost(scored, resamples, one, noise_loss) for ablation, one in plans.explained.items()}
        # what is claimed is that removal hurts: the weakest evidence leads
        lowest = min(costs, key=lambda a: costs[a].kl.value or 0.0)
        none = Estimate.undefined(f"a {explanation.kind} claim has necessity and KL, and no recovered share")
        placed = explanation.headline_floor
        nothing = Nines(value=none, certified=none, limit=None, floor=placed, shown=None, remark=None)
        lead: dict[str, Any] = {"ablation": lowest, "floor": placed, "nines": nothing}
        head = Headline(**lead, recovered=none, recovered_loss=none, **vars(costs[lowest]))
        table = [
            TableRow(**vars(its.as_recovered), ablation=ablation, floor=placed, headline=ablation == lowest)
            for ablation, its in costs.items()
        ]
        return HeadlineTable(head, tuple(table), noise_kl, noise_loss)
    table: list[TableRow] = []
    counted: dict[str, Nines] = {}  # over the claim's own floor
    own = explanation.headline_floor

    def add(ablation: str, floor: str, system: SystemId, label: str) -> None:
        found, nines = measure_recovered(
            resamples,
            count,
            loss_model=model,
            explained=pair(scored[plans.explained[ablation]]),
            floor=pair(scored[system]),
            floor_name=label,
            noise_kl=noise_kl,
            noise_loss=noise_loss,
        )
        table.append(TableRow(**vars(found), ablation=ablation, floor=floor, headline=False))
        counted.setdefault(ablation, nines)

    for ablation in plans.explained:
        add(ablation, own, plans.floors[ablation], ablation if own == "ablated" else f"{own}, {ablation}")
    for floor in (*OTHER_FLOORS, *models):
        if rival(floor) in scored.systems and (floors is None or floor in floors or floor in models):
            for ablation in list(plans.explained)[: 1 if explanation.once else None]:
                add(ablation, floor, rival(floor), floor)
    first = min(range(len(plans.explained)), key=lambda i: _order(table[i].recovered))
    row = table[first] = table[first].model_copy(update={"headline": True})
    head = Headline(
        ablation=row.ablation,
        floor=own,
        recovered=row.recovered,
        recovered_loss=row.recovered_loss,
        nines=counted[row.ablation],
    )
    return HeadlineTable(head, tuple(table), noise_kl, noise_loss)


def cost(scored: Scored[SystemId], resamples: Resamples, run: SystemId, noise: float) -> Necessity:
    """What a run in which parts are removed costs.

    Args:
        noise: the no-op run's difference in loss, nats a token.
    """
    used = scored.count > 0
    return necessity(
        resamples,
        scored.count[used],
        loss_model=scored.model.loss[used],
        loss_removed=scored[run].loss[used],
        loss_bigram=scored[BIGRAM].loss[used] if BIGRAM in scored.systems else None,
        kl_removed=scored[run].kl[used],
        noise=noise,
    )


def _order(estimate: Estimate) -> float:
    return float("inf") if estimate.value is None else estimate.value
