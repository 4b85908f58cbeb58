"""ACDC (Conmy et al. 2023): goes through the edges from the logits backwards and cuts each that costs less than tau.

The next removals are run side by side along the path that is expected, and count up to the first surprise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int

from assay.errors import ClaimError
from assay.intervene.circuits.engine import transformer_of
from assay.intervene.circuits.groups import MEMORY
from assay.intervene.fill.ablations import PlanContext
from assay.methods.circuit_states import CircuitStates
from assay.methods.edge_scores import EdgeScores, seeded
from assay.score.circuits import draws_of
from assay.score.score import Advance

MOST = 64  # removals that are tried side by side at most
FEWEST = 4
CLOSE = 1e-3  # of tau: decisions nearer to it than this may go the other way in other sums


@dataclass(frozen=True, eq=False)
class Acdc:
    """What ACDC kept.

    Attributes:
        mask: the circuit.
        increase: how much KL(model || circuit) rose when the edge was cut; kept edges are those at tau or above. 0 for
            an edge that was cut without being run, as it could change nothing.
        kl: the circuit's, in nats, its mean over items and draws.
        close: edges whose increase is within a thousandth of tau of it.
        steps: how many times removals were run; tried: how many of them in all.
    """

    mask: Bool[np.ndarray, "edges"]
    increase: Float64[np.ndarray, "edges"]
    kl: float
    close: Int[np.ndarray, "some"]
    steps: int
    tried: int
    passes: float
    settings: dict[str, Any]


class AcdcSearch:
    """The search, a reader at a time. What lies before the reader is still as in the model.

    Args:
        order: all edges in the order in which a reader's are tried (default: as declared).
    """

    def __init__(
        self,
        workbench: PlanContext,
        ablation: str,
        tau: float,
        *,
        order: Int[np.ndarray, "edges"] | None = None,
        draws: Sequence[int] = (0,),
        rows: Int[np.ndarray, "rows"] | None = None,
        memory: int = MEMORY,
    ):
        if not tau > 0:
            raise ClaimError(f"ACDC's threshold tau is {tau}; it must be above 0, such as 0.01 nats")
        self.tau, self.edges = tau, transformer_of(workbench).edges
        self.states = CircuitStates(workbench, ablation, draws=draws, rows=rows, memory=memory, most=MOST)
        self.place = np.arange(len(self.edges)) if order is None else np.argsort(order, kind="stable")
        self.increase = np.zeros(len(self.edges))
        self.steps = self.tried = 0
        self._leads = np.zeros(len(self.edges.readers), dtype=bool)  # readers from which edges lead to the logits
        self._block = FEWEST
        self._cuts = 1.0  # the share of cuts among the last decisions, more or less

    def reader(self, reader: int) -> None:
        """Tries all edges into a reader; those after it have been tried."""
        offset, states = int(self.edges.offsets[reader]), self.states
        writers = np.arange(self.edges.readers[reader].writers)
        node = self.edges.node_of[reader]
        leads = reader == len(self._leads) - 1 or bool((states.matrix[self._leads] & node).any())
        self._leads[reader] = leads
        free = writers[states.idle[writers]] if leads else writers
        states.cut(reader, free)
        left = writers[~np.isin(writers, free)]
        left = left[np.argsort(self.place[offset + left], kind="stable")]
        expected = np.full(len(left), self._cuts > 0.5)
        done = 0
        while done < len(left):
            size = min(self._block, states.most, len(left) - done)
            went = self._step(reader, left[done : done + size], expected[done : done + size])
            self._block = min(2 * size, MOST) if went == size else max(FEWEST, size // 2, went)
            done += went

    def _step(self, reader: int, writers: Int[np.ndarray, "some"], expected: Bool[np.ndarray, "some"]) -> int:
        """Tries edges one after the other as long as it goes as expected; how many were decided. Renews `expected`."""
        states = self.states
        path = np.repeat(states.matrix[None], len(writers), axis=0)
        row = states.matrix[reader].copy()
        for change, (writer, cut) in enumerate(zip(writers, expected, strict=True)):
            path[change, reader] = row
            path[change, reader, writer] = False
            row[writer] &= not cut
        trial = states.trial(path)
        self.steps += 1
        self.tried += len(writers)
        before, last = states.kl, None
        decided = 0
        for change, writer in enumerate(writers):
            rise = float(trial.kl[change]) - before
            cut = rise < self.tau
            if decided == change:  # all went as expected so far
                self.increase[self.edges.offsets[reader] + writer] = rise
                last = change if cut else last
                self._cuts += (cut - self._cuts) / FEWEST
                decided += int(cut == expected[change])
            if expected[change]:
                before = float(trial.kl[change])  # along the path that was run
            expected[change] = cut
        if last is not None:
            states.keep(trial, last)
        return min(decided + 1, len(writers))

    def result(self) -> tuple[Bool[np.ndarray, "edges"], Int[np.ndarray, "some"]]:
        """The mask as it is now, and the edges whose decision was close."""
        mask = self.edges.flat(self.states.matrix)
        return mask, np.flatnonzero(np.abs(self.increase - self.tau) < CLOSE * self.tau)


def acdc(
    workbench: PlanContext,
    ablation: str,
    tau: float,
    *,
    order: Int[np.ndarray, "edges"] | None = None,
    draws: Sequence[int] = (0,),
    rows: Int[np.ndarray, "rows"] | None = None,
    seed: int = 0,
    memory: int = MEMORY,
    advance: Advance | None = None,
) -> Acdc:
    """Runs ACDC over all readers, from the logits to the first layer.

    Args:
        tau: an edge is cut when KL(model || circuit), as a mean over items and draws, rises by less.
        order: all edges in the order in which those of one reader are tried, for instance `EdgeScores.worst_first()`;
            default: as declared.
        rows: the task's rows to search on (default: all), together in one batch where memory allows.
        seed: nothing here is random; every search takes one.
        advance: called with the number of edges after each reader.

    Raises:
        ClaimError: for a tau that is not above 0.
    """
    before, edges = workbench.runner.forwards, transformer_of(workbench).edges
    search = AcdcSearch(workbench, ablation, tau, order=order, draws=draws, rows=rows, memory=memory)
    for reader in reversed(range(len(edges.readers))):
        search.reader(reader)
        if advance:
            advance(edges.readers[reader].writers)
    mask, close = search.result()
    settings = {
        "ablation": ablation,
        "tau": tau,
        "order": "as declared" if order is None else "given",
        "draws": draws_of(ablation, draws),
        "rows": len(workbench.task.tokens) if rows is None else len(rows),
        "seed": seed,
    }
    passes = workbench.runner.forwards - before
    return Acdc(mask, search.increase, search.states.kl, close, search.steps, search.tried, passes, settings)


def acdc_scores(
    workbench: PlanContext,
    ablation: str,
    *,
    tau: Sequence[float],
    begin: EdgeScores | None = None,
    rows: Int[np.ndarray, "rows"] | None = None,
    advance: Advance | None = None,
) -> EdgeScores:
    """ACDC at every tau: edges that more runs keep come first, then those whose cut cost more at the lowest tau.

    Args:
        begin: another method's scores, by which the edges of a reader are tried, worst first.
    """
    taus = sorted(set(tau))

    def search(order: Int[np.ndarray, "edges"] | None) -> EdgeScores:
        found = [acdc(workbench, ablation, one, order=order, rows=rows, advance=advance) for one in taus]
        kept = np.sum([one.mask for one in found], axis=0)
        rise = np.maximum(found[0].increase, 0)
        settings = {**found[0].settings, "tau": taus, "kept": [int(one.mask.sum()) for one in found]}
        return EdgeScores(kept + rise / (1 + rise), "acdc", settings, float(sum(one.passes for one in found)))

    return search(None) if begin is None else seeded(search, begin)
