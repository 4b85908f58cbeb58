"""Frontiers: what circuits of growing size recover, for a method's scores, beside random circuits of the same size.

Sizes are realised ones: the edges that are left when dangling parts are pruned, ties in the declared order. Every
figure has its interval over documents, and all methods and controls are scored on the same documents and draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from assay.errors import ClaimError
from assay.frontier.bands import Bands, CircuitTable, bands
from assay.frontier.curves import Curve, area_linear, area_log, cmd, cpr, not_below_zero
from assay.intervene.circuits.engine import transformer_of
from assay.intervene.circuits.groups import MEMORY
from assay.intervene.fill.ablations import PlanContext
from assay.measure.headline.recovered import recovered_kl, recovered_loss
from assay.methods.edge_scores import EdgeScores
from assay.methods.edge_sizes import SizedCircuits, log_sizes, sized_circuits
from assay.model.edges import Edges
from assay.record.search import Area, MethodRecord, Mib, Point, SearchLosses
from assay.score.circuits import draws_of, score_circuits
from assay.score.score import Advance
from assay.score.scores import Scored
from assay.stats.estimate import Estimate
from assay.task.rows import control_rows

DRAWS = 4


@dataclass(frozen=True, eq=False)
class Frontier:
    """A method's circuits, smallest first: the record's block, and the edges of each."""

    method: MethodRecord
    masks: tuple[Bool[np.ndarray, "edges"], ...]


@dataclass(frozen=True, eq=False)
class Frontiers:
    """Frontiers of several methods on the same documents.

    Attributes:
        losses: of the model and of the run with every edge cut.
        draws: how many the methods' circuits and the controls were filled by; control_rows: rows of the controls.
        bands: how many bands of controls there are; documents, tokens: what was scored.
        forwards: forward passes of one row that this took.
    """

    total: int
    each: tuple[Frontier, ...]
    losses: SearchLosses
    bands: int
    documents: int
    tokens: int
    forwards: float
    draws: Mapping[str, Any] = field(default_factory=dict)
    control_rows: int = 0


def frontier(workbench: PlanContext, scores: EdgeScores, ablation: str, **options: Any) -> Frontier:
    """The frontier of one method's scores; options as in `frontiers`."""
    return frontiers(workbench, [scores], ablation, **options).each[0]


def frontiers(
    workbench: PlanContext,
    several: Sequence[EdgeScores],
    ablation: str,
    *,
    rows: Int[np.ndarray, "rows"] | None = None,
    sizes: Int[np.ndarray, "sizes"] | None = None,
    controls: int = 100,
    draws: Sequence[int] = tuple(range(DRAWS)),
    control_draws: int = 1,
    rows_of_controls: int | None = None,
    seed: int = 0,
    memory: int = MEMORY,
    advance: Advance | None = None,
) -> Frontiers:
    """Scores the circuits of every method at every size, and random circuits of each realised size.

    A circuit takes a method's best edges until the asked number is left after pruning; sizes that give the same one
    count once. Random circuits have as many edges in each layer as the method's own.

    Args:
        rows: scored rows of the task (default: all).
        sizes: numbers of edges (default: 24 from 1 to all, evenly spaced in the logarithm).
        controls: random circuits of each size; 0: none.
        draws: a random ablation's numbers. The controls get the first `control_draws` of them and at most so many
            `rows_of_controls` (default: as all controls; or those given as `rows`); so does the circuit that is
            compared with them.
        seed: draws the controls and the resamples.

    Raises:
        ClaimError: for no methods, fewer than two sizes, or a number of controls below 0.
    """
    edges, before = transformer_of(workbench).edges, workbench.runner.forwards
    sizes = log_sizes(len(edges)) if sizes is None else np.unique(sizes)
    if not several or len(sizes) < 2 or controls < 0:
        raise ClaimError(f"{len(several)} methods, {len(sizes)} sizes and {controls} controls give no frontier")
    sized = [_distinct(sized_circuits(edges, scores, sizes, fill_up=True)) for scores in several]
    table = CircuitTable(edges)
    empty, whole = table.add(np.zeros(len(edges), dtype=bool)), table.add(np.ones(len(edges), dtype=bool))
    places = [[table.add(mask) for mask in one.masks] for one in sized]
    used_draws = draws_of(ablation, draws)
    scores_of = score_circuits(
        workbench, table.masks, ablation, draws=used_draws, rows=rows, memory=memory, advance=advance
    )
    mine = _Scored(workbench, scores_of, empty, whole, seed)
    few = control_rows(workbench.task, rows_of_controls) if rows is None else np.asarray(rows)
    around = bands(
        workbench, sized, ablation, controls=controls, draws=used_draws[: max(1, control_draws)], rows=few,
        seed=seed, memory=memory, advance=advance,
    )  # fmt: skip
    each = tuple(_frontier(edges, s, one, at, mine, around) for s, one, at in zip(several, sized, places, strict=True))
    return Frontiers(
        total=len(edges),
        each=each,
        losses=mine.losses,
        bands=len({id(band) for band in around.each.values()}),
        documents=mine.resamples.n,
        tokens=int(mine.counts.sum()),
        forwards=workbench.runner.forwards - before,
        draws={"methods": len(used_draws), "controls": around.draws},
        control_rows=around.rows,
    )


def _distinct(sized: SizedCircuits) -> SizedCircuits:
    """Each circuit once, with the smallest size that was asked for: circuits of one ranking differ where sizes do."""
    _, first = np.unique(sized.realised, return_index=True)
    return SizedCircuits(sized.masks[first], sized.asked[first], sized.taken[first], sized.realised[first])


class _Scored:
    """Scores by document as estimates over the documents in which something was scored."""

    def __init__(self, workbench: PlanContext, scores: Scored[int], empty: int, whole: int, seed: int):
        used = scores.count > 0
        self.counts = scores.count[used]
        self.resamples = workbench.task.resamples(np.flatnonzero(used), seed, self.counts)
        self.kl, self.loss, self.correct = (scores.stacked(name)[:, used] for name in ("kl", "loss", "correct"))
        self.empty, self.whole = empty, whole
        mean = self.resamples.mean
        self.losses = SearchLosses(
            model=mean(self.loss[whole], self.counts),
            empty=mean(self.loss[empty], self.counts),
            empty_kl=mean(np.maximum(self.kl[empty], 0), self.counts),
        )

    def recovered(self, circuit: int) -> Estimate:
        return recovered_kl(self.resamples, self.kl[circuit], self.kl[self.empty], self.counts)

    def recovered_loss(self, circuit: int) -> Estimate:
        losses = (self.loss[self.whole], self.loss[circuit], self.loss[self.empty])
        return recovered_loss(self.resamples, *losses, self.counts)

    def gap(self, circuit: int, by_loss: Estimate) -> Estimate:
        if by_loss.value is None:
            return by_loss
        losses = (self.loss[i] for i in (self.whole, circuit, self.empty))
        return not_below_zero(
            self.resamples.function(lambda m, e, f: np.abs(1 - (f - e) / (f - m)), *losses, counts=self.counts)
        )


def _frontier(
    edges: Edges,
    scores: EdgeScores,
    sized: SizedCircuits,
    places: Sequence[int],
    scored: _Scored,
    around: Bands,
) -> Frontier:
    points = []
    for row, (mask, place) in enumerate(zip(sized.masks, places, strict=True)):
        size = int(sized.realised[row])
        by_loss = scored.recovered_loss(place)
        points.append(
            Point(
                asked=int(sized.asked[row]),
                edges=size,
                taken=int(sized.taken[row]),
                share=size / len(edges),
                nodes=node_count(edges, mask),
                recovered=scored.recovered(place),
                recovered_loss=by_loss,
                gap=scored.gap(place, by_loss),
                kl=scored.resamples.mean(np.maximum(scored.kl[place], 0), scored.counts, least=0.0),
                accuracy=scored.resamples.mean(scored.correct[place], scored.counts, least=0.0, most=1.0),
                control=around.control(mask),
            )
        )
    curve = Curve(
        sizes=sized.realised,
        total=len(edges),
        kl=np.maximum(scored.kl[list(places)], 0),
        kl_empty=np.maximum(scored.kl[scored.empty], 0),
        loss=scored.loss[list(places)],
        loss_empty=scored.loss[scored.empty],
        loss_model=scored.loss[scored.whole],
        counts=scored.counts,
        resamples=scored.resamples,
    )
    over = [p.edges for p in points if p.recovered_loss.low is not None and p.recovered_loss.low > 1]
    method = MethodRecord(
        method=scores.method,
        settings=dict(scores.settings),
        passes=float(scores.passes),
        sizes=tuple(points),
        area=Area(linear=area_linear(curve), log=area_log(curve)),
        mib=Mib(cpr=cpr(curve), cmd=cmd(curve), over_recovery=bool(over), over_recovery_at=tuple(over)),
    )
    return Frontier(method, tuple(sized.masks))


def node_count(edges: Edges, mask: Bool[np.ndarray, "edges"]) -> int:
    """Heads and MLPs on paths of a pruned circuit; all of them write, so their writers are counted."""
    return int(np.logical_or.reduce(edges.matrix(mask))[1:].sum())
