"""The largest set of inputs between any two of which every swap goes as the hypothesis says, with certified bounds.

The inputs are nodes, a pair of which both swaps agree is an edge, and the set is the largest clique (networkx; Warren
and Hicks 2006). Where that would take too long, its size is at least that of a greedy one, and at most the number of
colours of a colouring in which no edge joins two nodes of a colour.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import networkx
import numpy as np
from jaxtyping import Bool, Int

from assay.explanations.hypothesis.interchange import Answers, Swapper, Swaps
from assay.explanations.hypothesis.scrub import Graph
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import Plan
from assay.stats.keyed import generator

MOST = 300  # inputs
SOLVED, DENSE = 100, 0.5  # so many inputs are solved exactly, and more where so small a share of pairs agrees
TWINS = 5  # graphs at random with as many edges


@dataclass(frozen=True)
class Subset:
    """The largest set of inputs that agree with each other.

    Attributes:
        low, high: bounds of its size; of: how many inputs there were; members: of the best one found, as rows.
    """

    low: int
    high: int
    of: int
    members: tuple[int, ...]


def agreeing(
    workbench: PlanContext, graph: Graph, names: tuple[str, ...], rows: Int[np.ndarray, "n"], rest: str
) -> Bool[np.ndarray, "n n"]:
    """[base, source]: whether the network answers as the high-level model after the swap of these variables; on the
    diagonal, as it is. One run of all bases for each source that is a row further on."""
    model, values, n, total = graph.values.model, graph.values.rows, len(rows), len(graph.values.rows)
    answers: list[list[Hashable]] = []
    sources, changed = np.zeros((n, total), dtype=np.int64), np.zeros((n, total), dtype=bool)
    for step in range(n):
        sources[step, rows] = np.roll(rows, -step)
        answers.append([])
        for base, other in zip(rows, np.roll(rows, -step), strict=True):
            answers[-1].append(graph.values.answer(int(base), dict.fromkeys(names, int(other))))
        changed[step, rows] = [
            answer != values[base][model.answer] for answer, base in zip(answers[-1], rows, strict=True)
        ]
    every = Answers(workbench.task, [*(row[model.answer] for row in values), *(a for some in answers for a in some)])
    swaps = Swaps(names, dict.fromkeys(names, sources), answers, changed)
    swapper = Swapper(workbench, graph, rest)
    plans = {step: swapper.swap(swaps, step) if step else Plan() for step in range(n)}
    given = every.given(workbench, plans, rows=rows)
    out = np.zeros((n, n), dtype=bool)
    for step, wanted in enumerate(answers):
        out[np.arange(n), (np.arange(n) + step) % n] = given[step] == [every.ids[answer] for answer in wanted]
    return out


def largest(agree: Bool[np.ndarray, "n n"]) -> Subset:
    """The largest set, of a table of which swaps agree."""
    able = np.flatnonzero(agree.diagonal())
    ok = (agree & agree.T)[np.ix_(able, able)] & ~np.eye(len(able), dtype=bool)
    if not len(able):
        return Subset(0, 0, len(agree), ())
    graph = networkx.from_numpy_array(ok)
    colours = networkx.greedy_color(graph, strategy="DSATUR")
    high = max(colours.values()) + 1
    best = _greedy(ok)
    if len(best) < high and (len(able) <= SOLVED or ok.mean() < DENSE):
        best = np.sort(networkx.max_weight_clique(graph, weight=None)[0])  # type: ignore[arg-type]
        high = len(best)
    return Subset(len(best), high, len(agree), tuple(able[best].tolist()))


def _greedy(ok: Bool[np.ndarray, "n n"]) -> Int[np.ndarray, "members"]:
    """A clique: from each node on, always the neighbour of the most that are left."""
    best: list[int] = []
    for start in range(len(ok)):
        members, left = [start], ok[start].copy()
        while left.any():
            degrees = np.where(left, (ok & left).sum(1), -1)
            members.append(int(degrees.argmax()))
            left &= ok[members[-1]]
        if len(members) > len(best):
            best = members
    return np.array(sorted(best))


def by_chance(agree: Bool[np.ndarray, "n n"], seed: int) -> list[Subset]:
    """The same of tables in which as many inputs, and as many pairs of them, agree at random."""
    able = agree & agree.T & agree.diagonal() & agree.diagonal()[:, None]
    upper = np.triu(np.ones_like(agree), 1) & agree.diagonal() & agree.diagonal()[:, None]
    where, count = np.flatnonzero(upper), int((able & upper).sum())
    out = []
    for twin in range(TWINS):
        table = np.zeros(agree.size, dtype=bool)
        table[generator(seed, "agreeing pairs", twin).permutation(where)[:count]] = True
        table = table.reshape(agree.shape)
        out.append(largest(table | table.T | np.diag(agree.diagonal())))
    return out


def rows_of(count: int, total: int, seed: int) -> Int[np.ndarray, "n"]:
    """Some rows at random, at most `MOST`, in order."""
    return np.sort(generator(seed, "exact subset").permutation(total)[: min(count, MOST)])
