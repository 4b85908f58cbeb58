"""A measurement that is saved as far as it has come, so that what was said of it is not lost where it is stopped."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from assay.errors import RunError
from assay.measure.job import Job
from assay.measure.measurement import Measurement
from assay.measure.record import log_measurement

SHARE = 0.05  # of a run's time that goes into saving it before it is done


class Unfinished:
    """Where a job that has a run folder is saved until it is done: into that folder, or, where an earlier run lies
    there that is to be replaced, beside it, as `RUN.unfinished`.

    Args:
        before: the run in the folder that the job goes on with.
        told: called with a line where it is stopped, and where it cannot be saved.
    """

    def __init__(self, job: Job, before: Measurement | None, told: Callable[[str], None]):
        assert job.settings.out is not None
        self.job, self.told, self.out = job, told, job.settings.out
        self.beside = before is None and Path(self.out).expanduser().exists()
        self.folder = f"{self.out.rstrip('/')}.unfinished" if self.beside else self.out
        self.replaces, self.saved, self.works = self.beside or before is not None, False, True
        self.started, self.spent = time.perf_counter(), 0.0

    @property
    def overwrite(self) -> bool:
        """Whether the finished run replaces what is in its folder."""
        return self.job.settings.overwrite or (self.saved and not self.beside)

    def save(self, make: Callable[[], Measurement]) -> None:
        """Saves what stands and logs it as a try. Later saves are left out where those before took more than `SHARE` of
        the run's time; one that cannot be written is said, and does not end the run."""
        now = time.perf_counter()
        if not self.works or (self.saved and self.spent > SHARE * (now - self.started)):
            return
        try:
            found = make()
            found.save_unfinished(self.folder, overwrite=self.replaces or self.saved)
            self.saved = True
            log_measurement(self.job, found.record)
        except RunError as problem:
            self.works = False
            self.told(f"what is measured is not saved until the run is done: {problem}")
        self.spent += time.perf_counter() - now

    def stopped(self) -> None:
        """Says where what was measured is, and how it is gone on with."""
        if not self.saved:
            return
        how = f"; assay measure --continue {shlex.quote(self.folder)} goes on" if self.job.claim is not None else ""
        self.told(f"stopped: what was measured until then is in {self.folder}{how}")

    def remove(self) -> None:
        """The run is done, and saved in its folder."""
        if self.saved and self.beside:
            shutil.rmtree(Path(self.folder).expanduser(), ignore_errors=True)
