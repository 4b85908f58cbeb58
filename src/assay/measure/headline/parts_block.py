"""The record's `parts` block: each component alone, and all of them at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assay.measure.compute.compute import Compute
from assay.measure.headline.figures import Figures
from assay.measure.headline.parts import Column
from assay.measure.headline.recovered import measure_recovered, necessity
from assay.measure.headline.systems import Systems
from assay.score.ids import BIGRAM, SystemId
from assay.score.scores import Scored, Scores
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate


def parts_block(
    plans: Systems, scored: Scored[SystemId], resamples: Resamples, numbers: Figures, worth: Compute
) -> dict[str, Any]:
    """The record's `parts` block.

    Returns:
        "components": a row each, as a row of `table` with its own floor, "component" and its own "compute" figures;
        "compound": all of them at once, under the same ablation; "reason": why there are none.
    """
    parts = plans.parts
    out: dict[str, Any] = {"ablation": parts.ablation, "reason": parts.reason, "components": [], "compound": None}
    if not parts.systems:
        return out
    used = scored.count > 0
    count = scored.count[used]

    def row(name: str, explained: SystemId, floor: SystemId | None) -> dict[str, Any]:
        def pair(its: Scores) -> tuple[Column, Column]:
            return its.loss[used], its.kl[used]

        if floor is not None:
            found = measure_recovered(
                resamples,
                count,
                loss_model=scored.model.loss[used],
                explained=pair(scored[explained]),
                floor=pair(scored[floor]),
                floor_name=parts.ablation,
                noise_kl=numbers.noise_kl,
                noise_loss=numbers.noise_loss,
            )
            return {"component": name, "floor": "ablated", **found.to_json()}
        return {"component": name, "floor": "bigram", **_removed(scored, resamples, *pair(scored[explained]), numbers)}

    every = list(parts.systems.items())
    for name, (explained, own) in every:
        figures = worth.parts.get(name)
        none = Estimate.undefined(worth.reason or "no compute was measured", len(count)).to_json()
        block = dict.fromkeys(("recovered", "share_explained", "share_floor"), none)
        out["components"].append(
            {**row(name, explained, own), "compute": block if figures is None else figures.to_json()}
        )
    out["compound"] = row("all at once", plans.explained[parts.ablation], plans.floors.get(parts.ablation))
    return out


def _removed(
    scored: Scored[SystemId], resamples: Resamples, loss: Column, kl: Column, numbers: Figures
) -> Mapping[str, Any]:
    """A removed component's row: KL, nats and necessity; a recovered share is not defined."""
    used = scored.count > 0
    count, model = scored.count[used], scored.model.loss[used]
    none = Estimate.undefined("a Remove claim has no floor", len(count)).to_json()
    share = Estimate.undefined("there is no bigram for this task", len(count))
    if BIGRAM in scored.systems:
        bigram = scored[BIGRAM].loss[used]
        share = necessity(
            resamples,
            count,
            loss_model=model,
            loss_removed=loss,
            loss_bigram=bigram,
            kl_removed=kl,
            noise=numbers.noise_loss,
        ).necessity
    return {
        **dict.fromkeys(("recovered", "recovered_loss", "nines", "kl_floor", "loss_floor"), none),
        "necessity": share.to_json(),
        "kl_explained": resamples.mean(kl, count, least=0.0).to_json(),
        "loss_explained": resamples.mean(loss, count).to_json(),
        "nats": resamples.difference(loss, model, count).to_json(),
    }
