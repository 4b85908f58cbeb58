"""Figures of controls: R_D and nats of each, the claim's rank among them, and paired differences."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from assay.intervene.plan import Plan
from assay.measure.score import Scored
from assay.stats.estimate import Estimate
from assay.stats.fits import p_value
from assay.task.task import Task

LEAST_FLOOR = 1e-6  # nats a token: over a floor nearer to the model than this no share is given

Pair = tuple[np.ndarray, np.ndarray]  # KL sums by document: of the explained run, of its floor


@dataclass
class Group:
    """Controls of one sort, to be scored together.

    Attributes:
        plans: for each control its name, its plan and its floor.
        possible: how many such controls exist.
        near: these are near misses or single comparisons: listed, without a p-value.
        rival: a simple choice that competes for the same credit.
        same: the only control is the claim itself; reason: why there is none.
    """

    name: str
    what: str
    plans: list[tuple[str, Plan, Plan]] = field(default_factory=list)
    possible: int = 0
    near: bool = False
    rival: bool = False
    same: bool = False
    reason: str = "no other set of the same kinds exists"

    @property
    def competes(self) -> bool:
        """Whether one that is as good as equal to the claim speaks against it: near misses of the claim do not."""
        return self.rival or not self.near


class Sample:
    """Scores on the controls' rows, and one set of resamples of their documents for every comparison."""

    def __init__(self, scored: Scored, task: Task, seed: int):
        self.scored = scored
        self.here = np.flatnonzero(scored.count > 0)
        self.resamples = task.resamples(self.here, seed, scored.count[self.here])
        self.tokens = float(scored.count.sum())

    def kl(self, name: str, scored: Scored | None = None) -> Float[np.ndarray, "documents"]:
        return (scored or self.scored)[name].kl[self.here]

    def closed(self, name: str, floor: str) -> tuple[float | None, float]:
        """R_D (None where undefined) and nats a token that are closed of the floor's KL."""
        explained, over = float(self.kl(name).sum()) / self.tokens, float(self.kl(floor).sum()) / self.tokens
        return (1 - explained / over if over > LEAST_FLOOR else None), over - explained

    def beside(self, claim: Pair, control: Pair, remove: bool = False) -> dict[str, Any]:
        """Claim, control and their difference, paired by document: R_D, or the KL of Remove claims in nats a token.

        Args:
            claim, control: KL sums by document of the explained run and of its floor.
        """
        count = self.scored.count[self.here]
        if remove:
            found = (
                self.resamples.mean(claim[0], count),
                self.resamples.mean(control[0], count),
                self.resamples.difference(claim[0], control[0], count),
            )
        else:
            found = self.recovered(claim), self.recovered(control), self.difference(claim, control)
        return dict(zip(("claim", "control", "difference"), (estimate.to_json() for estimate in found), strict=True))

    def recovered(self, pair: Pair) -> Estimate:
        if not self.resolved(pair):
            return Estimate.undefined("ablating these parts changes nothing (under 10⁻⁶ nats)", len(self.here))
        return self.resamples.recovered(*pair)

    def difference(self, claim: Pair, control: Pair) -> Estimate:
        """R_D of the claim minus that of the control."""
        for pair, whose in ((claim, "claim"), (control, "control")):
            if not self.resolved(pair):
                return Estimate.undefined(f"the {whose}'s floor is within 10⁻⁶ nats of its model", len(self.here))
        return self.resamples.recovered_difference((claim[0], control[0]), (claim[1], control[1]))

    def resolved(self, pair: Pair) -> bool:
        return float(pair[1].sum()) / self.tokens > LEAST_FLOOR


def row_of(sample: Sample, g: int, group: Group, remove: bool) -> dict[str, Any]:
    """A group of the record. Remove claims are compared by KL(M‖E): the larger, the more the parts are needed."""
    values: list[float | None] = []
    nats: list[float] = []
    names: list[str] = []
    floors: list[str] = []
    for i, (name, _, _) in enumerate(group.plans):
        floor = f"{g}.{i} floor"
        floors.append(floor if floor in sample.scored.systems else "claim floor")
        if remove:
            nats.append(float(sample.kl(f"{g}.{i}").sum()) / sample.tokens)
            values.append(nats[-1])
        else:
            value, closed = sample.closed(f"{g}.{i}", floors[-1])
            values.append(value)
            nats.append(closed)
        names.append(name)
    if remove:
        own_nats = float(sample.kl("claim").sum()) / sample.tokens
        own: float | None = own_nats
    else:
        own, own_nats = sample.closed("claim", "claim floor")
    defined = [value for value in values if value is not None]
    ranked = not group.near and bool(values)
    row: dict[str, Any] = {"name": group.name, "what": group.what, "n": len(values), "values": values, "nats": nats}
    row |= {"names": names, "possible": group.possible, "enumerated": len(values) == group.possible}
    pair = sample.kl("claim"), sample.kl("claim floor")
    own_estimate = sample.beside(pair, pair, remove)["claim"]  # its interval; the value is `own`
    row |= {"measure": "kl" if remove else "recovered", "claim": {**own_estimate, "value": own, "nats": own_nats}}
    row |= {"undefined": len(values) - len(defined)}
    row["p"] = p_value(own, defined) if ranked and defined and own is not None else None
    row["p_nats"] = p_value(own_nats, nats) if ranked else None
    if group.same:
        row["reason"] = "this is the claim itself"
    elif not values:
        row["reason"] = group.reason
    if group.near and len(values) == 1:
        pairs = (sample.kl("claim"), sample.kl("claim floor")), (sample.kl(f"{g}.0"), sample.kl(floors[0]))
        row["difference"] = sample.beside(*pairs, remove)["difference"]
    return row
