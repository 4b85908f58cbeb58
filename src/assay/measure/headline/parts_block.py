"""The record's `parts` block: each component alone, and all of them at once."""

from __future__ import annotations

from assay.measure.headline.parts import Column
from assay.measure.headline.recovered import measure_recovered
from assay.measure.headline.systems import Systems
from assay.measure.headline.table import HeadlineTable, cost
from assay.record.compute import Compute, ComputeFigures
from assay.record.headline import PartRow, PartsTable
from assay.score.ids import SystemId
from assay.score.scores import Scored, Scores
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate


def parts_block(
    plans: Systems, scored: Scored[SystemId], resamples: Resamples, numbers: HeadlineTable, computed: Compute
) -> PartsTable:
    """Each component over its own floor, with its own worth, and all of them under the same ablation."""
    parts = plans.parts
    if not parts.systems:
        return PartsTable(ablation=parts.ablation, reason=parts.reason, components=(), compound=None)
    used = scored.count > 0
    count = scored.count[used]

    def pair(its: Scores) -> tuple[Column, Column]:
        return its.loss[used], its.kl[used]

    def row(name: str, explained: SystemId, floor: SystemId | None, compute: ComputeFigures | None = None) -> PartRow:
        if floor is None:
            found = cost(scored, resamples, explained, numbers.noise_loss).as_recovered
            loss = resamples.mean(scored[explained].loss[used], count)
            found = found.model_copy(update={"loss_explained": loss})
        else:
            found, _ = measure_recovered(
                resamples,
                count,
                loss_model=scored.model.loss[used],
                explained=pair(scored[explained]),
                floor=pair(scored[floor]),
                floor_name=parts.ablation,
                noise_kl=numbers.noise_kl,
                noise_loss=numbers.noise_loss,
            )
        return PartRow(**vars(found), component=name, floor="bigram" if floor is None else "ablated", compute=compute)

    none = Estimate.undefined(computed.reason or "no compute was measured", len(count))
    nothing = ComputeFigures(recovered=none, share_explained=none, share_floor=none)
    every = [row(name, *systems, computed.parts.get(name, nothing)) for name, systems in parts.systems.items()]
    whole = row("all at once", plans.explained[parts.ablation], plans.floors.get(parts.ablation))
    return PartsTable(ablation=parts.ablation, reason=parts.reason, components=tuple(every), compound=whole)
