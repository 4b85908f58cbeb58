"""How long calls take, on the wall's clock and on the processor's; calls that are compared take turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any, NamedTuple


class Seconds(NamedTuple):
    """What a call took. On a busy machine the processor's time says more: `wall` counts waiting for others."""

    wall: float
    cpu: float

    def over(self, count: float) -> Seconds:
        return Seconds(self.wall / count, self.cpu / count)


class Row(NamedTuple):
    """A line of a benchmark: ours beside another way, and the ratio that is aimed at, if any."""

    what: str
    ours: Seconds
    beside: str
    theirs: Seconds
    target: float | None = None
    note: str = ""

    def __str__(self) -> str:
        ratios = [b / a if a else 0.0 for a, b in zip(self.ours, self.theirs, strict=True)]
        aim = "" if self.target is None else f" (target {self.target:g})"
        return (
            f"{self.what}: {shown(self.ours)}; {self.beside}: {shown(self.theirs)}; "
            f"ratio {ratios[1]:.2f} cpu, {ratios[0]:.2f} wall{aim}{'; ' + self.note if self.note else ''}"
        )


def shown(seconds: Seconds) -> str:
    """Both clocks in milliseconds."""
    return f"{seconds.cpu * 1e3:.2f} ms cpu, {seconds.wall * 1e3:.2f} ms wall"


def timed(call: Callable[[], Any]) -> tuple[Seconds, Any]:
    """What a call of this process took, and what it gave."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = call()
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu), found


def in_turn(calls: Mapping[str, Callable[[], Seconds]], repeats: int) -> dict[str, Seconds]:
    """Medians of calls that say what they took themselves: one of each, then one of each again, and so on."""
    taken: dict[str, list[Seconds]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            taken[name].append(call())
    return {name: middle(some) for name, some in taken.items()}


def middle(some: list[Seconds]) -> Seconds:
    return Seconds(median(s.wall for s in some), median(s.cpu for s in some))


def best(call: Callable[[], object], repeats: int = 5) -> float:
    """Seconds of the fastest of `repeats` calls, after one that is not counted."""
    call()
    return min(timed(call)[0].wall for _ in range(repeats))
