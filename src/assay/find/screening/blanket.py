"""A small set of places that screens off: greedily grown from nothing, and greedily shrunk from everything.

Growing cannot find two parts that only work together; shrinking does, as dropping either one costs all. Of both paths
the smaller set that reaches a level is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from assay.errors import ClaimError
from assay.find.screening.determined import scored
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.screened import upstream
from assay.stats.keyed import generator

LEVELS = (0.9, 0.99, 0.999)
Advance = Callable[[str], None]


@dataclass(frozen=True)
class Blanket:
    """Places held together, in the order of the cut's parts.

    Attributes:
        share: of the behaviour that they determine on the data that were searched.
        how: "grown" or "shrunk".
    """

    places: tuple[str, ...]
    share: float
    how: str


class BlanketSearch:
    """A greedy search among places at a cut. All candidates of a step are scored together.

    Args:
        workbench: what is searched on; what is found is to be scored on other data, by `determined`.
        candidates: places as `screened` takes them; None: all parts upstream of the cut.
        draws: over donors; rows: that are scored, None: all.

    Attributes:
        tried: sets that were scored; passes: forward passes over these rows that this took.
    """

    def __init__(
        self,
        workbench: PlanContext,
        cut: str,
        candidates: Sequence[str] | None = None,
        *,
        draws: int = 1,
        rows: Int[np.ndarray, "rows"] | None = None,
    ):
        self.workbench, self.cut, self.draws = workbench, cut, draws
        self.rows = np.arange(len(workbench.task.tokens)) if rows is None else rows
        self.candidates = tuple(upstream(workbench.model, cut) if candidates is None else candidates)
        if not self.candidates:
            raise ClaimError(f"no places are given that could screen off at {cut!r}")
        self.tried = 0
        self._before = workbench.runner.forwards
        self._floor = 0.0
        self._floor = self._nats([()])[0]

    @property
    def passes(self) -> float:
        return (self.workbench.runner.forwards - self._before) / len(self.rows)

    def share(self, sets: Sequence[Sequence[str]]) -> list[float]:
        """What each set determines: 1 − KL over that of nothing held."""
        return [1 - nats / self._floor for nats in self._nats(sets)]

    def _nats(self, sets: Sequence[Sequence[str]]) -> list[float]:
        self.tried += len(sets)
        total = np.zeros(len(sets))
        for draw in range(self.draws):
            found = scored(self.workbench, dict(enumerate(sets)), self.cut, draw, self.rows)
            total += [found.mean_kl(index) for index in range(len(sets))]
        return [float(one) / self.draws for one in total]

    def grow(self, until: float = LEVELS[-1], advance: Advance = lambda line: None) -> list[Blanket]:
        """The path from nothing: at each step the place that determines the most beside those that are there."""
        return self._path((), until, "grown", advance)

    def shrink(self, until: float = LEVELS[0], advance: Advance = lambda line: None) -> list[Blanket]:
        """The path from everything: at each step the place goes without which the most is determined."""
        return self._path(self.candidates, until, "shrunk", advance)

    def _path(self, start: tuple[str, ...], until: float, how: str, advance: Advance) -> list[Blanket]:
        grown = how == "grown"
        out = [Blanket(start, self.share([start])[0], how)]
        while (out[-1].share < until) if grown else (out[-1].share >= until):
            here = set(out[-1].places)
            others = [name for name in self.candidates if (name not in here) == grown]
            if not others:
                break
            sets = [tuple(n for n in self.candidates if n in here.symmetric_difference({name})) for name in others]
            shares = self.share(sets)
            best = int(np.argmax(shares))
            out.append(Blanket(sets[best], shares[best], how))
            advance(f"{self.cut}: {how} to {len(sets[best])} of {len(self.candidates)} places, {shares[best]:.4f}")
        return out

    def random(self, size: int, count: int, seed: int = 0) -> list[tuple[str, ...]]:
        """Random sets of a size."""
        random = generator(seed, "random blankets", self.cut, size)
        chosen = (set(random.permutation(self.candidates)[:size].tolist()) for _ in range(count))
        return [tuple(name for name in self.candidates if name in some) for some in chosen]


def smallest(path: Sequence[Blanket], level: float) -> Blanket | None:
    """The smallest of these sets that determines at least so much, of equal ones the best; None: none does."""
    enough = [one for one in path if one.share >= level]
    return min(enough, key=lambda one: (len(one.places), -one.share), default=None)
