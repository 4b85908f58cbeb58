"""Bands: random circuits like the methods' own at every size, as controls of their frontiers.

Both are scored on the same few rows and draws, as all controls are; sizes within 2 % of each other share a band.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int

from assay.intervene.ablations import Workbench
from assay.intervene.circuit_groups import MEMORY
from assay.intervene.circuit_scores import Advance, circuit_scores
from assay.intervene.circuits import transformer_of
from assay.measure.path_sampled import SIZE, path_sampled
from assay.methods.edge_scores import EdgeScores
from assay.methods.edge_sizes import SizedCircuits
from assay.model.edges import Edges
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate

TIE = 1e-9  # of a recovered share: a control that is so near is as good


@dataclass(frozen=True, eq=False)
class Band:
    """Random circuits that serve as controls of one realised size.

    Attributes:
        masks: the circuits; recovered: R_D of each, on the draws of the controls.
        distinct: how many of them differ; like: the methods whose circuits' layers they have.
    """

    masks: Bool[np.ndarray, "controls edges"]
    recovered: Float64[np.ndarray, "controls"]
    distinct: int
    like: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Bands:
    """The bands of several frontiers.

    Attributes:
        each: realised size -> its band; none for the whole model.
        own: packed mask -> R_D of a method's circuit on the rows and draws of the controls, with its interval.
        rows, draws: how many of them.
    """

    each: Mapping[int, Band]
    own: Mapping[bytes, Estimate]
    rows: int
    draws: int

    def control(self, size: int, mask: Bool[np.ndarray, "edges"]) -> dict[str, Any] | None:
        """The record's block for a method's circuit; None where no control exists."""
        band = self.each.get(size)
        if band is None:
            return None
        found, own = band.recovered, self.own[np.packbits(mask).tobytes()]
        mine = own.value
        assert mine is not None  # there is a band, so the floor differs from the model
        return {
            "n": len(found),
            "distinct": band.distinct,
            "median": float(np.median(found)),
            "low": float(np.quantile(found, 0.05)),
            "high": float(np.quantile(found, 0.95)),
            "best": float(found.max()),
            "mine": mine,
            "own": own.to_json(),
            "p": (1 + int((found >= mine - TIE).sum())) / (1 + len(found)),
            "like": list(band.like),
        }


class Table:
    """Circuits to be scored, each once."""

    def __init__(self, edges: Edges):
        self.edges, self._rows, self._place = edges, [], {}  # type: ignore[var-annotated]

    def add(self, mask: Bool[np.ndarray, "edges"]) -> int:
        key = np.packbits(mask).tobytes()
        if key not in self._place:
            self._place[key] = len(self._rows)
            self._rows.append(mask)
        return self._place[key]

    @property
    def masks(self) -> Bool[np.ndarray, "circuits edges"]:
        return np.stack(self._rows)


def bands(
    bench: Workbench,
    several: Sequence[EdgeScores],
    sized: Sequence[SizedCircuits],
    ablation: str,
    *,
    controls: int,
    draws: Sequence[int],
    rows: Int[np.ndarray, "rows"],
    seed: int = 0,
    memory: int = MEMORY,
    advance: Advance | None = None,
) -> Bands:
    """Random circuits of every realised size of the methods' circuits, and what both recover on these rows."""
    edges = transformer_of(bench).edges
    found: dict[int, dict[str, np.ndarray]] = {}
    for scores, one in zip(several, sized, strict=True):
        for size, mask in zip(one.realised, one.masks, strict=True):
            if 0 < size < len(edges):
                found.setdefault(int(size), {}).setdefault(scores.method, mask)
    if not controls or not found:
        return Bands({}, {}, 0, 0)
    table = Table(edges)
    table.add(np.zeros(len(edges), dtype=bool))
    own = {np.packbits(mask).tobytes(): table.add(mask) for by in found.values() for mask in by.values()}
    drawn = []
    for group in shared_sizes(found):
        likes = [(name, mask) for size in group for name, mask in found[size].items()]
        masks = _drawn(edges, [mask for _, mask in likes], controls, seed)
        drawn.append((group, likes, masks, [table.add(mask) for mask in masks]))
    scored = circuit_scores(bench, table.masks, ablation, draws=draws, rows=rows, memory=memory, advance=advance)
    kl = scored.draw_kl.sum((0, 2))
    if not kl[0] > 0:  # the run with every edge cut is the model's
        return Bands({}, {}, 0, 0)
    share = 1 - kl / kl[0]
    each: dict[int, Band] = {}
    for group, likes, masks, at in drawn:
        band = Band(masks, share[at], len(set(at)), tuple(dict.fromkeys(name for name, _ in likes)))
        each |= dict.fromkeys(group, band)
    used = scored.count > 0
    resamples = Resamples(int(used.sum()), [bench.task.documents[i].stratum for i in np.flatnonzero(used)], seed=seed)
    sums = scored.draw_kl.sum(0)[:, used]
    intervals = {key: _own(resamples, sums[place], sums[0], float(share[place])) for key, place in own.items()}
    return Bands(each, intervals, len(rows), len(draws))


def shared_sizes(sizes: Iterable[int]) -> list[list[int]]:
    """Sizes that share a band: those within 2 % of the smallest of them.

    Example:
        >>> shared_sizes([100, 12, 102, 103, 12])
        [[12], [100, 102], [103]]
    """
    groups: list[list[int]] = []
    for size in sorted(set(sizes)):
        if groups and size <= (1 + SIZE) * groups[-1][0]:
            groups[-1].append(size)
        else:
            groups.append([size])
    return groups


def _own(
    resamples: Resamples, kl: Float64[np.ndarray, "documents"], floor: Float64[np.ndarray, "documents"], value: float
) -> Estimate:
    """R_D as the controls have it, with its interval; open ends where the floor's sum may be 0."""
    found = resamples.recovered(kl, floor)
    if found.value is None:
        return Estimate(value, None, None, found.n, found.reason)
    return replace(found, value=value)


def _drawn(
    edges: Edges, likes: Sequence[Bool[np.ndarray, "edges"]], controls: int, seed: int
) -> Bool[np.ndarray, "controls edges"]:
    """So many random circuits, which take turns in being like each of the given ones."""
    counts = [len(range(start, controls, len(likes))) for start in range(len(likes))]
    return np.concatenate(
        [
            path_sampled(edges, like, count, seed + 7919 * i)
            for i, (like, count) in enumerate(zip(likes, counts, strict=True))
        ]
    )
