"""What only a hypothesis says: how its score moves with what the rest takes, and which rows agree with no other."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from assay.explanations.hypothesis.scrub import LEFT, Graph, Scrub
from assay.intervene.fill.ablations import PlanContext
from assay.model import meter
from assay.model.transformer import Model
from assay.record.pieces import Pieces, Sentence, TablePiece
from assay.score.score import score
from assay.stats.estimate import Estimate

STRENGTHS = {
    LEFT: "left alone",
    "mean": "its means",
    "resample_joint": "resampled, one row for all of a run",
    "resample_independent": "resampled, a row for each part",
}
TERMS = {
    "the rest": "All parts that carry no variable. A hypothesis that holds only where they are left alone says little: "
    "they may do what the claim says of its places.",
}


def hypothesis_block(workbench: PlanContext, graph: Graph, treeify: bool, rows: Int[np.ndarray, "rows"]) -> Pieces:
    """The table of strengths, on some of these rows, and which share of rows agrees with no other."""
    width = workbench.task.tokens.shape[1] if isinstance(workbench.model, Model) else 1
    runs = 2 * len(STRENGTHS) * len(graph.reads)  # each run of a plan once, at most, for the claim and its floor
    few = rows[: max(1, int(min(len(rows), meter.meant() / (runs * width))))]
    return Pieces(
        block="hypothesis",
        title="The hypothesis",
        pieces=(_strengths(workbench, graph, treeify, few), Sentence(text=_alone(graph))),
        terms=TERMS,
    )


def _strengths(workbench: PlanContext, graph: Graph, treeify: bool, rows: Int[np.ndarray, "rows"]) -> TablePiece:
    plans = {
        (strength, conditioned): Scrub(workbench, graph, strength, conditioned=conditioned, treeify=treeify).plan()
        for strength in STRENGTHS
        for conditioned in (True, False)
    }
    found = score(workbench, plans, rows=rows)
    used = found.count > 0
    resamples = workbench.task.resamples(np.flatnonzero(used), workbench.seed, found.count[used])
    lines: list[tuple[str | Estimate, ...]] = []
    for strength, words in STRENGTHS.items():
        explained, floor = (found[strength, conditioned].kl[used] for conditioned in (True, False))
        left = resamples.ratio(explained, floor, nonnegative=True, undefined="unconditioned data change nothing")
        mean = [resamples.mean(one, found.count[used], least=0.0) for one in (floor, explained)]
        lines.append((words, left.map(lambda share: 1 - share, decreasing=True), *mean))
    columns = ("the rest", "recovered", "KL, unconditioned", "KL, scrubbed")
    text = f"One draw, on {len(rows)} rows. Over the same run with unconditioned data."
    return TablePiece(title="How hard the rest is ablated", text=text, columns=columns, rows=tuple(lines))


def _alone(graph: Graph) -> str:
    """Which rows keep their own value, as no other agrees with them."""
    shares = {name: graph.values.codes((name,), layout=_whole(graph, name)).alone for name in graph.carried}
    said = [f"{100 * share:.0f} % of {name}" for name, share in shares.items() if share > 0]
    text = (
        "Another row was drawn for every value."
        if not said
        else (f"Values that no other row has keep their own datum, which hides what is wrong: {', '.join(said)}.")
    )
    loose = graph.loose[graph.answer]
    if not loose:
        return text
    alone = graph.values.codes(loose, layout=True).alone
    on = f"{', '.join(loose)} and in their columns"
    return f"{text} {100 * alone:.0f} % of rows agree with no other on {on}: what carries nothing is their own there."


def _whole(graph: Graph, name: str) -> bool:
    return any(one.site.position is None for one in graph.places[name])
