"""What fits on the reference take, and where they leave what they found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from assay.errors import TaskError
from assay.intervene.edit_runner import EditRunner
from assay.intervene.reference import ReferenceStatistics

RAW = "reference values"  # begins the key under which a part's values on the reference are kept for further fits
KEPT = 1 << 30  # bytes of them


def is_raw(key: object) -> bool:
    """Whether what is kept under this key is values from which fits are made, and no fit."""
    return isinstance(key, tuple) and key[0] == RAW


@dataclass(frozen=True)
class Fit:
    """What a fit reached.

    Attributes:
        what: what was fitted; rows, held: how many reference rows it saw, and how many decided when to stop.
        start, reached: KL(model || edited model) on the held-out rows before and after, nats a scored token.
        evaluations: of the loss and its gradient.
        settled: whether the held-out KL had stopped falling; False: the fit was cut off.
    """

    what: str
    rows: int
    held: int
    start: float
    reached: float
    evaluations: int
    settled: bool

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


class FitContext:
    """A model on a task with its statistics of the reference and what was fitted there.

    Args:
        seed: keys fits; frozen_norm: norm scales of every edited run come from the clean run.
    """

    def __init__(self, runner: EditRunner, seed: int, *, frozen_norm: bool):
        self.runner, self.model, self.task, self.seed = runner, runner.model, runner.task, seed
        self.frozen_norm = frozen_norm
        self.fitted: dict[object, Any] = {}  # learned constants and coefficients, by what they were fitted for
        self.fits: list[Fit] = []  # what they reached on held-out reference rows
        self._statistics: ReferenceStatistics | None = None

    @property
    def statistics(self) -> ReferenceStatistics:
        if self._statistics is None:
            if self.task.reference is None:
                raise TaskError(f"the task {self.task.name!r} has no reference examples to take a mean over")
            self._statistics = ReferenceStatistics(self.runner)
        return self._statistics

    def on_reference(self) -> dict[str, Any]:
        """What was taken from the reference: the rows and tokens of means and covariances, and what fits reached."""
        used = self._statistics
        rows = None if used is None else {"rows": len(used.rows), "tokens": used.tokens}
        return {"statistics": rows, "fits": [fit.to_json() for fit in self.fits]}
