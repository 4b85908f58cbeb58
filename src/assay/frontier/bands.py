"""Bands: random circuits like each method's own at every size, as controls of their frontiers.

Both are scored on the same few rows and draws, as all controls are. Circuits that are alike share a band: within 2 % in
size, and with 95 % of their edges in the same layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int

from assay.explanations.circuit.path_sampled import PROFILE, SIZE, different, misplaced
from assay.intervene.circuits.engine import transformer_of
from assay.intervene.circuits.groups import MEMORY
from assay.intervene.fill.ablations import PlanContext
from assay.methods.edge_sizes import SizedCircuits
from assay.model.edges import Edges
from assay.record.search import Band
from assay.score.circuits import score_circuits
from assay.score.score import Advance
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate
from assay.stats.fits import p_value


@dataclass(frozen=True, eq=False)
class RandomCircuits:
    """Random circuits, all different, that serve as controls of circuits of about one size and one profile of layers.

    Attributes:
        masks: the circuits; recovered: R_D of each, on the draws of the controls.
    """

    masks: Bool[np.ndarray, "controls edges"]
    recovered: Float64[np.ndarray, "controls"]


@dataclass(frozen=True, eq=False)
class Bands:
    """The bands of several frontiers.

    Attributes:
        each: packed mask of a method's circuit -> its band; none for the whole model.
        own: packed mask -> R_D of that circuit on the rows and draws of the controls, with its interval.
        rows, draws: how many of them.
    """

    each: Mapping[bytes, RandomCircuits]
    own: Mapping[bytes, Estimate]
    rows: int
    draws: int

    def control(self, mask: Bool[np.ndarray, "edges"]) -> Band | None:
        """The record's block for a method's circuit; None where no control exists."""
        key = np.packbits(mask).tobytes()
        band = self.each.get(key)
        if band is None:
            return None
        found, own = band.recovered, self.own[key]
        mine = own.value
        assert mine is not None  # there is a band, so the floor differs from the model
        low, high = np.quantile(found, [0.05, 0.95]).tolist()
        middle: dict[str, Any] = {"n": len(found), "median": float(np.median(found)), "low": low, "high": high}
        return Band(**middle, best=float(found.max()), mine=mine, own=own, p=p_value(mine, found))


class CircuitTable:
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
    workbench: PlanContext,
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
    """Random circuits like each of the methods' circuits, and what both recover on these rows."""
    edges = transformer_of(workbench).edges
    circuits = [mask for one in sized for mask in one.masks if 0 < mask.sum() < len(edges)]
    if not controls or not circuits:
        return Bands({}, {}, 0, 0)
    table = CircuitTable(edges)
    table.add(np.zeros(len(edges), dtype=bool))
    own = {np.packbits(mask).tobytes(): table.add(mask) for mask in circuits}
    drawn = []
    for like, alike in alikes(edges, circuits):
        masks = different(edges, like, controls, seed)
        if len(masks):
            drawn.append((alike, masks, [table.add(mask) for mask in masks]))
    scored = score_circuits(workbench, table.masks, ablation, draws=draws, rows=rows, memory=memory, advance=advance)
    by_document = scored.stacked("kl")
    kl = by_document.sum(1)
    if not kl[0] > 0:  # the run with every edge cut is the model's
        return Bands({}, {}, 0, 0)
    share = 1 - kl / kl[0]
    each: dict[bytes, RandomCircuits] = {}
    for alike, masks, at in drawn:
        each |= dict.fromkeys((np.packbits(mask).tobytes() for mask in alike), RandomCircuits(masks, share[at]))
    used = scored.count > 0
    resamples = workbench.task.resamples(np.flatnonzero(used), seed, scored.count[used])
    sums = by_document[:, used]
    intervals = {key: _own(resamples, sums[place], sums[0], float(share[place])) for key, place in own.items()}
    return Bands(each, intervals, len(rows), len(draws))


def alikes(
    edges: Edges, circuits: Sequence[Bool[np.ndarray, "edges"]]
) -> list[tuple[Bool[np.ndarray, "edges"], list[Bool[np.ndarray, "edges"]]]]:
    """Circuits that are alike in size and layers, with the one that they are like."""
    sizes = np.array([mask.sum() for mask in circuits])
    out: list[tuple[np.ndarray, list[np.ndarray]]] = []
    for place in np.argsort(sizes, kind="stable"):
        mask = circuits[place]
        for like, alike in out:
            near = sizes[place] <= (1 + SIZE) * like.sum()
            if near and misplaced(edges, like, mask[None])[0] <= PROFILE:
                alike.append(mask)
                break
        else:
            out.append((mask, [mask]))
    return out


def _own(
    resamples: Resamples, kl: Float64[np.ndarray, "documents"], floor: Float64[np.ndarray, "documents"], value: float
) -> Estimate:
    """R_D as the controls have it, with its interval; open ends where the floor's sum may be 0."""
    found = resamples.recovered(kl, floor)
    if found.value is None:
        return Estimate(value, None, None, found.n, found.reason)
    return replace(found, value=value)
