"""What a measurement may cost, and how that is shared out among what is measured beside the headline.

The unit is the model's own forward pass over all scored rows; passes over the reference count as the share of rows that
they are, a backward pass as one and a half, another model's by its size. The headline takes what it takes. Each block
beside it has a share of the whole (`SHARES`) and looks at as many rows as that allows; what does not fit is left out,
and named. How many rows a block looks at depends on nothing that others have done, so its figures do not either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from jaxtyping import Int

from assay.errors import UserError
from assay.intervene.edits.alike import first_layer
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.output import System
from assay.intervene.plan import EditRun, From, Plan, origins
from assay.measure.settings import NOT_ASKED, Settings
from assay.model import meter
from assay.model.meter import OverBudgetError, metered
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.record.about import CONTINUED, PASSES, WORK, BudgetRecord
from assay.task.bounds import HEADLINE_ONLY, THOROUGH
from assay.task.task import Task

T = TypeVar("T")

SHARES = {
    "parts": 0.06,
    "controls": 0.28,
    "random weights": 0.05,
    "rivals": 0.10,
    "strength": 0.06,
    "knock-outs": 0.06,
    "merges": 0.02,
    "off-manifold": 0.04,
    "worst examples": 0.02,
    "restored parts": 0.04,
    "residual signal": 0.06,
    "own": 0.04,
    "bits": 0.06,
}
STAGES = {  # blocks of a record, in the order in which they are measured, and what each has shares of the budget for
    "parts": ("parts",),
    "rivals": ("rivals",),
    "strength": ("strength",),
    "controls": ("controls", "random weights"),
    "checks": ("knock-outs", "merges", "off-manifold"),
    "residual": ("worst examples", "restored parts", "residual signal"),
    "own": ("own",),
    "bits": ("bits",),
    "compute": ("compute",),  # which takes no pass
}
SLACK = 2.0  # times its share that a block may take: what it prepares is not known beforehand
LEAST_CONTROLS = 19  # with fewer no p is below 0.05
LEAST_ROWS, LEAST_EXAMPLES = 4, 64  # of a classifier, whose rows are scored once each


class TooSmallError(UserError):
    """A budget that the headline does not fit into.

    Args:
        passes: that were given; least: that the headline takes, about, where that is known.
    """

    def __init__(self, passes: float, least: int | None = None) -> None:
        self.passes = passes
        takes = "" if least is None else f", which takes about {least}"
        super().__init__(
            f"a budget of {passes:g} pass{'es' * (passes != 1)} is too small for this claim's headline{takes}; "
            "the budget 'headline' measures it whatever it takes"
        )


@dataclass
class Budget:
    """Shares out what a measurement may cost.

    Attributes:
        passes: what all may cost; infinite where everything is asked for.
        unit: work of a pass: its tokens, of a module its rows.
        given: whether the passes were given in so many words.
        wanting: block -> why it was not measured, for those that did not fit.
        only: the blocks that are measured, where others were before; None: all that are asked for.
        spent: work that was done before the run was stopped.
    """

    passes: float = math.inf
    unit: float = 1.0
    given: bool = False
    wanting: dict[str, str] = field(default_factory=dict)
    only: frozenset[str] | None = None
    spent: float = 0.0

    @classmethod
    def of(cls, settings: Settings, model: Model | ModuleModel, task: Task) -> Budget:
        """The budget that the settings give."""
        unit = float(task.tokens.numel() if isinstance(model, Model) else len(task.tokens))
        given = settings.budget
        if given == THOROUGH:
            return cls(math.inf, unit)
        if given == HEADLINE_ONLY:
            return cls(0.0, unit)
        if given is not None:
            return cls(float(given), unit, given=True)
        return cls(max(float(PASSES), WORK / max(2.0 * model.parameters * unit, 1.0)), unit)

    @contextmanager
    def headline(self) -> Iterator[None]:
        """The headline takes what it takes; where passes were given it has to fit into them.

        Raises:
            TooSmallError: where it does not.
        """
        try:
            with metered(most=self.passes * self.unit if self.given else math.inf) as self._headline:
                yield
        except OverBudgetError:
            raise TooSmallError(self.passes) from None

    def go_on(self, before: BudgetRecord) -> None:
        """Measures what an earlier measurement left. What one that was stopped spent of the same budget counts."""
        self.only = frozenset(before.wanting)
        if before.ahead and before.passes == self.passes and not any(CONTINUED in one.name for one in before.stages):
            self.spent = self.unit * sum(one.passes for one in before.stages)

    def rest(self) -> AbstractContextManager[object]:
        """In this context all that is run has to fit into what the headline, or what was measured before, left."""
        return metered(most=max(self.passes * self.unit - (self.spent or self._headline.work), 0.0))

    def measures(self, block: str) -> bool:
        """Whether a block that is asked for is measured now; compute always is, as it takes no pass."""
        return self.only is None or block in self.only or block == "compute"

    def goes_on_with(self, block: str) -> bool:
        """Whether an earlier measurement left this block, which is measured now."""
        return self.only is not None and block in self.only

    def run(self, block: str, asked: bool, make: Callable[[], T], without: Callable[[str], T]) -> T:
        """A block within its share; what stands in its place, with the reason, where it was not asked for or is more.

        Args:
            block: one of `SHARES`.
        """
        if not asked or not self.measures(block):
            return without(NOT_ASKED)
        if not self.passes:
            self.wanting[block] = "the budget is the headline's alone"
            return without(self.wanting[block])
        share = SHARES[block] * self.passes * self.unit
        try:
            with metered(share, SLACK * share):
                return make()
        except OverBudgetError:
            self.wanting[block] = (
                f"it did not fit into the budget of {self.passes:g} passes, of which {SHARES[block] * self.passes:.1f} "
                "are meant for it"
            )
            return without(self.wanting[block])


def within(
    workbench: PlanContext,
    rows: Int[np.ndarray, "rows"],
    systems: Iterable[System | Sequence[System]],
    more: float = 0.0,
) -> Int[np.ndarray, "fewer"]:
    """As many of these rows, evenly spread, as may be run through all these systems with what is meant for it.

    Args:
        more: further runs of them.

    Raises:
        OverBudgetError: where these are too few to say anything.
    """
    return fewer(workbench, rows, runs(workbench.model, systems) + more)


def fewer(workbench: PlanContext, rows: Int[np.ndarray, "rows"], count: float | int) -> Int[np.ndarray, "fewer"]:
    """As many of these rows, evenly spread, as so many whole runs may be made of with what is meant for it.

    Raises:
        OverBudgetError: where these are too few to say anything.
    """
    most = affordable(workbench, count)
    if most >= len(rows):
        return rows
    if most < least(workbench, rows):
        raise OverBudgetError
    return rows[np.unique(np.linspace(0, len(rows) - 1, int(most)).round().astype(int))]


def least(workbench: PlanContext, rows: Int[np.ndarray, "rows"]) -> int:
    """How many of these rows are the fewest that say anything."""
    return min(LEAST_ROWS if isinstance(workbench.model, Model) else LEAST_EXAMPLES, len(rows))


def affordable(workbench: PlanContext, count: float | int) -> float:
    """How many rows so many runs may be made of with what is meant for it."""
    width = workbench.task.tokens.shape[1] if isinstance(workbench.model, Model) else 1
    return meter.meant() / (max(count, 1e-9) * width)


def runs(model: Model | ModuleModel, systems: Iterable[System | Sequence[System]]) -> float:
    """Whole forward passes of a row that these systems take, at most: an edited run begins at its first edit; rows that
    others are filled from are run once for all systems."""
    layers = model.config.layers if isinstance(model, Model) else 0
    plans: dict[int, Plan] = {}
    for one in systems:
        plans |= {id(plan): plan for plan in (one if isinstance(one, Sequence) else (one,)) if isinstance(plan, Plan)}
    filled = any(
        isinstance(part, From)
        for plan in plans.values()
        if isinstance(plan.final, EditRun)
        for edit in plan.final.edits
        for part in origins(edit.source)
    )
    return sum(_share(plan, layers) for plan in plans.values()) + filled


def _share(plan: Plan, layers: int) -> float:
    if not isinstance(plan.final, EditRun) or not layers:
        return 1.0
    edited = [run.edits for run in plan.runs[:-1] if isinstance(run, EditRun) and run.edits]
    return sum(1 - min(first_layer(edits, layers), layers) / layers for edits in (*edited, plan.final.edits))
