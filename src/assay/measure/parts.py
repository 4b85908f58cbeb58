"""Each component of a claim alone, beside the compound of them all: what is run, and the record's `parts` block.

Programs and constants: only that component is explained, over a floor in which it alone is ablated. Remove: it alone is
ablated. They are scored on all rows with everything else, under the first ablation that was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from assay.explanations.base import Explanation, Undefined
from assay.intervene.ablations import RANDOM, Workbench
from assay.intervene.plan import Plan
from assay.measure.compute import Compute
from assay.measure.recovered import measure_recovered, necessity
from assay.measure.score import Scored
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate

if TYPE_CHECKING:
    from assay.measure.figures import Figures
    from assay.measure.systems import Systems

Column = Float64[np.ndarray, " documents"]


@dataclass(frozen=True)
class Parts:
    """Which systems score each component alone.

    Attributes:
        systems: component -> (explained run, floor); no floor of its own for Remove.
        ablation: what fills them.
        reason: why no component is scored alone.
    """

    systems: dict[str, tuple[str, str | None]]
    ablation: str
    reason: str | None = None

    @property
    def names(self) -> set[str]:
        return {name for pair in self.systems.values() for name in pair if name is not None}


def alone(
    bench: Workbench, explanation: Explanation, ablation: str, draws: int
) -> tuple[Parts, dict[str, Sequence[Plan]]]:
    """The systems in which each component is explained alone, and those in which it alone is ablated.

    What the claim's fits gave a component together with the others (strengths, optimal constants) stays as it is.
    """
    given = explanation.alone(bench.model)
    found, reason = ({}, given.reason) if isinstance(given, Undefined) else (given, None)
    names: dict[str, tuple[str, str | None]] = {}
    plans: dict[str, Sequence[Plan]] = {}
    numbers = range(draws if ablation in RANDOM else 1)
    remove = explanation.floor_takes is None
    edits = explanation.edits(bench, ablation) if found and not remove else ()
    for name, sites in found.items():
        ablated = [bench.plan(bench.ablate(sites, ablation, draw)) for draw in numbers]
        if remove:
            names[name] = f"part:{name}", None
            plans[f"part:{name}"] = ablated
        else:
            names[name] = f"part:{name}", f"part floor:{name}"
            plans[f"part:{name}"] = [bench.plan(tuple(edit for edit in edits if edit.site in sites))]
            plans[f"part floor:{name}"] = ablated
    return Parts(names, ablation, reason), plans


def sums(parts: Parts, scored: Scored, floor: str) -> dict[str, tuple[Column, Column]]:
    """Component -> (explained, floor) loss sums of the documents that were scored, as `compute` takes them.

    Args:
        floor: of components without one of their own.
    """
    used = scored.count > 0
    return {
        name: (scored[explained].loss[used], scored[own or floor].loss[used])
        for name, (explained, own) in parts.systems.items()
    }


def parts_block(
    plans: Systems, scored: Scored, resamples: Resamples, numbers: Figures, worth: Compute
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

    def row(name: str, explained: str, floor: str | None) -> dict[str, Any]:
        loss, kl = scored[explained].loss[used], scored[explained].kl[used]
        if floor is not None:
            found = measure_recovered(
                resamples,
                count,
                loss_model=scored["model"].loss[used],
                explained=(loss, kl),
                floor=(scored[floor].loss[used], scored[floor].kl[used]),
                floor_name=parts.ablation,
                noise_kl=numbers.noise_kl,
                noise_loss=numbers.noise_loss,
            )
            return {"component": name, "floor": "ablated", **found.to_json()}
        return {"component": name, "floor": "bigram", **_removed(scored, resamples, loss, kl, numbers)}

    every = list(parts.systems.items())
    for name, (explained, own) in every:
        figures = worth.parts.get(name)
        none = Estimate.undefined(worth.reason or "no compute was measured", len(count)).to_json()
        block = dict.fromkeys(("recovered", "share_explained", "share_floor"), none)
        out["components"].append(
            {**row(name, explained, own), "compute": block if figures is None else figures.to_json()}
        )
    compound = None if every[0][1][1] is None else plans.floor(parts.ablation)
    out["compound"] = row("all at once", plans.explained[parts.ablation], compound)
    return out


def _removed(scored: Scored, resamples: Resamples, loss: Column, kl: Column, numbers: Figures) -> Mapping[str, Any]:
    """A removed component's row: KL, nats and necessity; a recovered share is not defined."""
    used = scored.count > 0
    count, model = scored.count[used], scored["model"].loss[used]
    none = Estimate.undefined("a Remove claim has no floor", len(count)).to_json()
    share = Estimate.undefined("there is no bigram for this task", len(count))
    if "bigram" in scored.systems:
        bigram = scored["bigram"].loss[used]
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
