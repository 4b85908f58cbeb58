"""How long a call takes: the best of several, so that what else the machine does counts least."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator


def best(call: Callable[[], object], repeats: int = 5) -> float:
    """Seconds of the fastest of `repeats` calls, after one that is not counted."""
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def rows() -> Iterator[tuple[str, float, str, float]]:
    """Nothing of its own."""
    yield from ()
