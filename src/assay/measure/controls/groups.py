"""Figures of controls: R_D and nats of each, the claim's rank among them, and paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from assay.intervene.plan import Plan
from assay.record.controls import ControlGroup, Paired
from assay.score.ids import SystemId
from assay.score.scores import Scored
from assay.stats.estimate import Estimate
from assay.stats.fits import p_value
from assay.task.task import Task

LEAST_FLOOR = 1e-6  # nats a token: over a floor nearer to the model than this no share is given

CLAIM, CLAIM_FLOOR = SystemId("explained"), SystemId("floor")

Pair = tuple[np.ndarray, np.ndarray | None]  # KL sums by document: of the explained run, of its floor if it has one


@dataclass
class Planned:
    """Controls of one sort, to be scored together.

    Attributes:
        plans: for each control its name, its plan and its floor; None: the claim's own, or none at all.
        what: in words; `{n}` in it is how many were scored.
        possible: how many such controls exist.
        near: these are near misses or single comparisons: listed, without a p-value.
        rival: a simple choice that competes for the same credit.
        same: the only control is the claim itself; reason: why there is none.
    """

    name: str
    what: str
    plans: Sequence[tuple[str, Plan, Plan | None]] = ()
    possible: int = 0
    near: bool = False
    rival: bool = False
    same: bool = False
    reason: str = "no other set of the same kinds exists"

    @property
    def ids(self) -> list[tuple[SystemId, SystemId]]:
        """Each control's key among the scored, and its floor's."""
        draws = range(len(self.plans))
        return [
            (SystemId("control", part=self.name, draw=draw), SystemId("control floor", part=self.name, draw=draw))
            for draw in draws
        ]

    @property
    def competes(self) -> bool:
        """Whether one that is as good as equal to the claim speaks against it: near misses of the claim do not."""
        return self.rival or not self.near


class ControlScores:
    """Scores on the controls' rows, and one set of resamples of their documents for every comparison."""

    def __init__(self, scored: Scored[SystemId], task: Task, seed: int):
        self.scored = scored
        self.here = np.flatnonzero(scored.count > 0)
        self.resamples = task.resamples(self.here, seed, scored.count[self.here])
        self.tokens = float(scored.count.sum())

    def kl(self, one: SystemId, scored: Scored[SystemId] | None = None) -> Float[np.ndarray, "documents"]:
        return (scored or self.scored)[one].kl[self.here]

    def pair(self, one: SystemId, floor: SystemId, scored: Scored[SystemId] | None = None) -> Pair:
        """KL sums of a run and of its floor, where that was scored."""
        there = (scored or self.scored).systems
        return self.kl(one, scored), self.kl(floor, scored) if floor in there else None

    def closed(self, pair: Pair) -> tuple[float | None, float]:
        """R_D (None where undefined) and nats a token that are closed of the floor's KL."""
        assert pair[1] is not None
        explained, over = (float(kl.sum()) / self.tokens for kl in pair if kl is not None)
        return (1 - explained / over if over > LEAST_FLOOR else None), over - explained

    def paired(self, claim: Pair, control: Pair, remove: bool = False) -> Paired:
        """Claim, control and their difference, paired by document: R_D, or the KL of Remove claims in nats a token.

        Args:
            claim, control: KL sums by document of the explained run and of its floor.
        """
        count = self.scored.count[self.here]
        if remove:
            mean, difference = self.resamples.mean, self.resamples.difference
            found = mean(claim[0], count), mean(control[0], count), difference(claim[0], control[0], count)
        else:
            found = self.recovered(claim), self.recovered(control), self.difference(claim, control)
        return Paired(**dict(zip(("claim", "control", "difference"), found, strict=True)))

    def recovered(self, pair: Pair) -> Estimate:
        if pair[1] is None or not self.resolved(pair):
            return Estimate.undefined("ablating these parts changes nothing (under 10⁻⁶ nats)", len(self.here))
        return self.resamples.recovered(pair[0], pair[1])

    def difference(self, claim: Pair, control: Pair) -> Estimate:
        """R_D of the claim minus that of the control."""
        for pair, whose in ((claim, "claim"), (control, "control")):
            if not self.resolved(pair):
                return Estimate.undefined(f"the {whose}'s floor is within 10⁻⁶ nats of its model", len(self.here))
        assert claim[1] is not None
        assert control[1] is not None
        return self.resamples.recovered_difference((claim[0], control[0]), (claim[1], control[1]))

    def resolved(self, pair: Pair) -> bool:
        return pair[1] is not None and float(pair[1].sum()) / self.tokens > LEAST_FLOOR


def row_of(sample: ControlScores, group: Planned, remove: bool) -> ControlGroup:
    """A group of the record. Remove claims are compared by KL(M‖E): the larger, the more the parts are needed."""
    there = sample.scored.systems
    floors = [floor if floor in there else CLAIM_FLOOR for _, floor in group.ids]
    pairs = [sample.pair(one, floor) for (one, _), floor in zip(group.ids, floors, strict=True)]
    claim = sample.pair(CLAIM, CLAIM_FLOOR)

    def figures(pair: Pair) -> tuple[float | None, float]:
        nats = float(pair[0].sum()) / sample.tokens
        return (nats, nats) if remove else sample.closed(pair)

    values, nats = tuple(figures(pair)[0] for pair in pairs), tuple(figures(pair)[1] for pair in pairs)
    own, own_nats = figures(claim)
    interval = sample.paired(claim, claim, remove).claim
    defined = [value for value in values if value is not None]
    ranked, single = not group.near and bool(values), group.near and len(values) == 1
    return ControlGroup(
        name=group.name,
        what=group.what.replace("{n}", f"{len(values):,}"),
        n=len(values),
        values=values,
        nats=nats,
        names=tuple(name for name, _, _ in group.plans),
        possible=group.possible,
        enumerated=len(values) == group.possible,
        measure="kl" if remove else "recovered",
        claim=interval if own is None else replace(interval, value=own),
        claim_nats=own_nats,
        undefined=len(values) - len(defined),
        p=p_value(own, defined) if ranked and defined and own is not None else None,
        p_nats=p_value(own_nats, nats) if ranked else None,
        reason="this is the claim itself" if group.same else None if values else group.reason,
        difference=sample.paired(claim, pairs[0], remove).difference if single else None,
    )
