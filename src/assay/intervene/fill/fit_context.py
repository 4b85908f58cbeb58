"""What fits on the reference take, and where they leave what they found."""

from __future__ import annotations

from dataclasses import dataclass, field

from assay.intervene.edits.engine import EditRunner
from assay.intervene.fill.reference import ReferenceStatistics
from assay.intervene.store import Store
from assay.record.about import Fit, OnReference, ReferenceShare


@dataclass(eq=False)
class Used:
    """What a claim took: statistics of the reference or not, fits in the order in which they came.

    Attributes:
        before: forward passes that had been made when it began.
    """

    before: float = 0.0
    statistics: bool = False
    fits: list[Fit] = field(default_factory=list)


class FitContext:
    """A model on a task with its statistics of the reference and what was fitted there.

    Args:
        seed: keys fits; frozen_norm: norm scales of every edited run come from the clean run.
        store: what is known of the model on the reference; None: nothing yet.
    """

    def __init__(self, runner: EditRunner, seed: int, *, frozen_norm: bool, store: Store | None = None):
        self.runner, self.model, self.task, self.seed = runner, runner.model, runner.task, seed
        self.frozen_norm = frozen_norm
        self.store = Store(runner) if store is None else store
        self.used = Used()

    @property
    def statistics(self) -> ReferenceStatistics:
        self.used.statistics = True
        return self.store.statistics

    def note(self, fit: Fit) -> None:
        """Says that a fit was used, whichever claim asked for it first."""
        if not any(fit is known for known in self.used.fits):
            self.used.fits.append(fit)

    def on_reference(self) -> OnReference:
        """What was taken from the reference: the rows and tokens of means and covariances, and what fits reached."""
        used = self.store.statistics if self.used.statistics else None
        taken = None if used is None else ReferenceShare(rows=len(used.rows), tokens=used.tokens)
        return OnReference(statistics=taken, fits=tuple(self.used.fits))
