"""One measurement once its runs are scored: what every yardstick looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float64

from assay.explanations.base import Explanation
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import Plan
from assay.measure.budget import Budget
from assay.measure.controls.controls import ControlledClaim
from assay.measure.controls.rivals import Rival
from assay.measure.headline.parts import PartSystems
from assay.measure.headline.strength import StrengthSystems
from assay.measure.headline.systems import Systems
from assay.measure.headline.table import HeadlineTable
from assay.measure.job import Job
from assay.measure.measurement import Measurement
from assay.record.interchange import Interchange
from assay.score.ids import SystemId, rival
from assay.score.scores import Scored
from assay.stats.bootstrap import Resamples
from assay.task.rows import control_rows


@dataclass(frozen=True, eq=False)
class Context:
    """A measurement.

    Attributes:
        plans: the claim's systems; rivals: who competes with it; scored: both, on all rows.
        resamples: those of the documents that have scored tokens.
        numbers: the table, and which ablation is the headline's.
        interchange: whether swaps do what the claim says, of a claim that names variables.
        strength: the claim's runs by how hard what it says nothing about is ablated.
        budget: what all beside the headline may cost; before: an earlier measurement that this one goes on with.
    """

    job: Job
    workbench: PlanContext
    plans: Systems
    rivals: Sequence[Rival]
    scored: Scored[SystemId]
    resamples: Resamples
    numbers: HeadlineTable
    interchange: Interchange | None = None
    strength: StrengthSystems = field(default_factory=StrengthSystems)
    budget: Budget = field(default_factory=Budget)
    before: Measurement | None = None

    @property
    def explanation(self) -> Explanation:
        return self.job.explanation

    @property
    def ablation(self) -> str:
        """The headline's."""
        return self.numbers.ablation

    def without_parts(self, reason: str) -> Context:
        """The same, in which no component is run alone."""
        parts = PartSystems({}, self.ablation, reason)
        return replace(self, plans=replace(self.plans, parts=parts))

    @property
    def controlled(self) -> ControlledClaim:
        """The claim as controls stand beside it."""
        rows = control_rows(self.job.task)
        return ControlledClaim(self.workbench, self.explanation, self.job.settings, self.ablation, rows, self.own)

    @property
    def explained(self) -> SystemId:
        """The headline's explained run."""
        return self.plans.explained[self.ablation]

    @property
    def own(self) -> tuple[Plan, Plan | None]:
        """The headline's explained run and the claim's floor, of the first draw."""
        below = self.plans.floors.get(self.ablation)
        return self.plans.plans[self.explained][0], None if below is None else self.plans.plans[below][0]

    @cached_property
    def floor(self) -> SystemId | None:
        """What the claim is placed over: its floor under the headline's ablation. A claim that has none names a rival
        in its place (`headline_floor`); None where that was not scored on this task."""
        own = self.plans.floors.get(self.ablation, rival(self.explanation.headline_floor))
        return own if own in self.scored.systems else None

    @cached_property
    def used(self) -> Bool[np.ndarray, "documents"]:
        """Documents that have scored tokens."""
        return self.scored.count > 0

    @cached_property
    def count(self) -> Float64[np.ndarray, "used"]:
        """How many they have."""
        return self.scored.count[self.used]
