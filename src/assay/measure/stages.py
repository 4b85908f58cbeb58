"""What a measurement runs, by what it says that it does."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field

from assay.model.meter import Meter, metered
from assay.report.terminal.progress import Progress, silent


@dataclass
class Stage:
    """A stage's passes, and how long it took: seconds of the clock and of the processor."""

    meter: Meter
    wall: float = 0.0
    processor: float = 0.0


@dataclass
class Stages:
    """The progress of a measurement that counts: give it as `progress`, within its context.

    Attributes:
        then: told the same; found: by stage, in order; current: the one that is open.
    """

    then: Progress = silent
    found: dict[str, Stage] = field(default_factory=dict)
    current: str = ""

    def __enter__(self) -> Stages:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def __call__(self, stage: str, done: int = 0, total: int | None = None) -> None:
        self.then(stage, done, total)
        if stage == self.current:
            return
        self._end()
        self._open, self.current = ExitStack(), stage
        self.found[stage] = Stage(self._open.enter_context(metered()), time.perf_counter(), time.process_time())

    def _end(self) -> None:
        if self.current:
            ended, self.current = self.found[self.current], ""
            ended.wall, ended.processor = time.perf_counter() - ended.wall, time.process_time() - ended.processor
            self._open.close()
