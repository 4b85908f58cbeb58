"""Swaps, scrubbing and plain ablation on the same rows: what each gives, and the rows on which the first two differ."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int

from assay.explanations.hypothesis.interchange import Answers, Swapper, draw_swaps
from assay.explanations.hypothesis.scrub import Edits, Graph, Scrub, with_helpers
from assay.intervene.components import complement
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import EditRun, Own, Plan
from assay.score.score import score
from assay.stats.estimate import Estimate

KEPT = "mean"  # what everything else takes in the plain ablation
HOLDS = 0.1  # of the floor's mean KL: a row that is scrubbed at no more is left as it was


@dataclass(frozen=True, eq=False)
class SideBySide:
    """All three on some rows.

    Attributes:
        names: the variables that are swapped; right: [rows] whether the answer became the claim's.
        wanted, given: what the claim and the network answer after each swap.
        scrubbed: [rows] nats from the model; floor: their mean with unconditioned data.
        recovered: R_D of the scrubbed run; kept: of the places alone, everything else at its mean.
    """

    rows: Int[np.ndarray, "rows"]
    names: tuple[str, ...]
    right: Bool[np.ndarray, "rows"]
    wanted: tuple[Hashable, ...]
    given: tuple[Hashable, ...]
    scrubbed: Float64[np.ndarray, "rows"]
    floor: float
    recovered: Estimate
    kept: Estimate

    @property
    def holds(self) -> Bool[np.ndarray, "rows"]:
        """Whether scrubbing leaves a row as it was."""
        return self.scrubbed <= HOLDS * self.floor


def side_by_side(
    workbench: PlanContext, graph: Graph, treeify: bool, rest: str, rows: Int[np.ndarray, "rows"]
) -> SideBySide:
    """One swap a row (of the first draw, in which the answer changes wherever it can) of all variables that depend on
    no other, the scrubbed run and its floor, the places kept and nothing kept.

    Args:
        rest: what everything takes that carries nothing, in swaps and scrubbing.

    Raises:
        TaskError: as `Answers`.
    """
    model, values = graph.values.model, graph.values.rows
    swaps = draw_swaps(graph, graph.first, workbench.seed, 1)
    answers = Answers(workbench.task, [*(row[model.answer] for row in values), *swaps.answers[0]])
    plans: dict[str, Plan] = {
        "swapped": Swapper(workbench, graph, rest).swap(swaps, 0),
        "scrubbed": Scrub(workbench, graph, rest, treeify=treeify).plan(),
        "unconditioned": Scrub(workbench, graph, rest, treeify=treeify, conditioned=False).plan(),
        "kept": kept_plan(workbench, graph),
        "nothing": workbench.plan(workbench.ablate(complement([], workbench.model), KEPT)),
    }
    found = score(workbench, plans, rows=rows, keep=["scrubbed"], chosen=answers.known)
    logits = found["swapped"].logits
    assert logits is not None
    given = answers.known[logits.argmax(1)]
    wanted = np.array([answers.ids[swaps.answers[0][row]] for row in rows])
    said = {token: answer for answer, token in answers.ids.items()}
    used = found.count > 0
    resamples = workbench.task.resamples(np.flatnonzero(used), workbench.seed, found.count[used])
    kl = {name: found[name].kl[used] for name in plans}
    return SideBySide(
        rows,
        graph.first,
        given == wanted,
        tuple(swaps.answers[0][row] for row in rows),
        tuple(said[token] for token in given.tolist()),
        found["scrubbed"].table.kl.astype(float),
        found.mean_kl("unconditioned"),
        resamples.recovered(kl["scrubbed"], kl["unconditioned"], found.count[used]),
        resamples.recovered(kl["kept"], kl["nothing"], found.count[used]),
    )


def kept_plan(workbench: PlanContext, graph: Graph) -> Plan:
    """The run in which the places are computed, and all else is at its mean."""
    scrub = Scrub(workbench, graph, KEPT)
    if graph.edges:
        return scrub.edge_plan("kept", {})
    at, rest = scrub.rest_of((graph.answer,), scrub.every, ("kept",), None)
    edits = Edits(rest)
    for one in (one for some in graph.places.values() for one in some):
        edits.put(one, Own())
    run = EditRun("kept", edits=edits.all, frozen_norm=workbench.frozen_norm, at=at)
    return with_helpers([run], graph.values)
