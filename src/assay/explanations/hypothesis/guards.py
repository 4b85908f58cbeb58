"""What a good score may hide: other places that do as well, and the swap that does the most damage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int

from assay.explanations.hypothesis.elsewhere import OVERLAP, elsewhere
from assay.explanations.hypothesis.interchange import interchange, least
from assay.explanations.hypothesis.places import alignment
from assay.explanations.hypothesis.scrub import Graph, Scrub
from assay.intervene.fill.ablations import PlanContext
from assay.score.score import score
from assay.stats.counted import counted
from assay.stats.estimate import Estimate, Undefined

RIVALS, SWAPS = 50, 200  # other alignments, and swaps of each set of variables that each is scored on
ROUNDS = 24  # runs of a search for the worst swap


@dataclass(frozen=True)
class Rivals:
    """Other alignments of the same variables, under a quarter of whose heads and neurons are the claim's.

    Attributes:
        own: the claim's interchange accuracy on the same swaps; found: names and accuracies of rivals, the best first.
        within: how many lie within the claim's interval or above; share: of all, Clopper–Pearson.
        undefined: how many have no accuracy.
    """

    own: Estimate
    found: tuple[tuple[str, float], ...]
    within: int
    share: Estimate
    undefined: int = 0


def rivals_counted(
    workbench: PlanContext, graph: Graph, rest: str, rows: Int[np.ndarray, "rows"], most: int = RIVALS
) -> Rivals | Undefined:
    """Scores the claim and its rivals by swaps of these rows.

    Args:
        rest: what everything takes that carries nothing.
    """
    others = elsewhere(graph.places, workbench.model, most, workbench.seed, OVERLAP)
    if isinstance(others, Undefined):
        return others
    if not others:
        return Undefined("no other places of these layers have under a quarter in common with the claim's")
    own = _accuracy(workbench, graph, rest, rows)
    values, undefined = list[tuple[str, float]](), 0
    for names in others:
        placed = alignment(names, graph.values.model, workbench.model)
        value = _accuracy(workbench, Graph(graph.values, placed), rest, rows).value
        if value is None:
            undefined += 1
        else:
            said = "; ".join(f"{name}: {', '.join(some)}" for name, some in names.items())
            values.append((said, value))
    within, share = counted(own, [value for _, value in values])
    return Rivals(own, tuple(sorted(values, key=lambda one: -one[1])), within, share, undefined)


def _accuracy(workbench: PlanContext, graph: Graph, rest: str, rows: Int[np.ndarray, "rows"]) -> Estimate:
    swaps = -(-SWAPS // len(rows))
    return least(interchange(workbench, graph, (rest,), workbench.seed, swaps, rows=rows), rest).value(rest)


@dataclass(frozen=True, eq=False)
class Worst:
    """The draws of a scrubbed run that do the most damage, row by row.

    Attributes:
        rows: the scored rows; drawn, worst: [rows] KL from the model, nats a token: of the first draw, and the most
            that was found; runs: how many were made.
        taken: for each path (a variable, and those that it is read for, from the answer on) each row's datum.
    """

    rows: Int[np.ndarray, "rows"]
    drawn: Float64[np.ndarray, "rows"]
    worst: Float64[np.ndarray, "rows"]
    runs: int
    taken: dict[tuple[str, ...], Int[np.ndarray, "rows"]]


def worst_swaps(
    workbench: PlanContext, graph: Graph, rest: str, treeify: bool, rows: Int[np.ndarray, "rows"], rounds: int = ROUNDS
) -> Worst:
    """Searches among the data that a scrubbed run may draw for those under which each row is furthest from the model.

    Of one path after the other new data are drawn for all rows, and kept in those where they do more damage.
    """
    every = np.zeros(len(graph.values.rows), dtype=np.int64)
    state: dict[tuple[str, ...], np.ndarray] = {}

    def run(redrawn: dict[tuple[str, ...], np.ndarray]) -> tuple[Float64[np.ndarray, "rows"], Scrub]:
        scrub = Scrub(workbench, graph, rest, treeify=treeify, redrawn=redrawn)
        found = score(workbench, {0: scrub.plan()}, rows=rows, keep=[0])
        items = np.searchsorted(rows, found.row)
        return np.bincount(items, found[0].table.kl) / np.bincount(items), scrub

    drawn, scrub = run(state)
    worst = drawn.copy()
    for step in range(1, rounds):
        paths = list(scrub.paths)
        path = paths[(step - 1) % len(paths)]
        tried = {**state, path: np.full_like(every, step)}
        found, _ = run(tried)
        better = np.zeros(len(every), dtype=bool)
        better[rows] = found > worst
        state[path] = np.where(better, step, state.get(path, every))
        worst = np.maximum(worst, found)
    final = Scrub(workbench, graph, rest, treeify=treeify, redrawn=state)
    final.plan()
    return Worst(rows, drawn, worst, rounds, {path: data[rows] for path, data in final.paths.items()})
