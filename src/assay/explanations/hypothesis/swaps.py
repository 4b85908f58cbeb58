"""Swaps of a hypothesis's variables as the record has them: every strength, and what coarser hypotheses say of them."""

from __future__ import annotations

from collections.abc import Callable

from assay.errors import TaskError
from assay.explanations.hypothesis.interchange import Agreement, interchange, least, unswapped
from assay.explanations.hypothesis.scrub import LEFT, Graph
from assay.intervene.fill.ablations import PlanContext
from assay.record.interchange import Agreed, CoarserRow, Interchange, SwappedRow
from assay.stats.estimate import Estimate

ADVERSARIAL = "shared_adversarial"


def swapped(workbench: PlanContext, graph: Graph, perturbed: str, advance: Callable[[int, int], None]) -> Interchange:
    """Swaps of every variable with the rest left and perturbed; where they have no answers to compare, the reason.

    Args:
        perturbed: what the rest takes in the headline; advance: as in `Explanation.interchange`.
    """
    advance(0, 1)
    generated = None if graph.values.beside is None else graph.values.beside.counts
    try:
        agree = unswapped(workbench, graph)
        found = interchange(workbench, graph, (LEFT, perturbed), workbench.seed, advance=advance)
    except TaskError as problem:
        none = Estimate.undefined(str(problem))
        why = str(problem)
        return Interchange(
            accuracy=none, plain=none, variables=(), perturbed=perturbed, rows=(), generated=generated, reason=why
        )
    worst = least(found, perturbed)
    return Interchange(
        accuracy=worst.value(perturbed),
        plain=worst.value(LEFT),
        variables=worst.names,
        perturbed=perturbed,
        unswapped=agree,
        generated=generated,
        rows=tuple(_row(one, perturbed) for one in found),
    )


def _row(one: Agreement, perturbed: str) -> SwappedRow:
    return SwappedRow(
        variables=one.names,
        swaps=one.swaps,
        changed=one.changed,
        majority=one.majority,
        by_rest={rest: Agreed(raw=raw, accuracy=one.value(rest)) for rest, raw in one.raw.items()},
        coarser=tuple(
            CoarserRow(
                name=its.name,
                merged=its.merged,
                differs=its.differs,
                claim=its.claim,
                coarser=its.rival,
                raw=its.raw,
                accuracy=one.over(its.raw),
            )
            for its in one.coarser[perturbed]
        ),
    )


def at_its_worst(workbench: PlanContext, graph: Graph, found: Interchange) -> Interchange:
    """The same swaps with the rest at the worst constants that it could take (`shared_adversarial`), too."""
    if not found.rows or any(ADVERSARIAL in row.by_rest for row in found.rows):
        return found
    more: dict[tuple[str, ...], Agreed] = {}
    try:
        for one in interchange(workbench, graph, (ADVERSARIAL,), workbench.seed):
            more[one.names] = Agreed(raw=one.raw[ADVERSARIAL], accuracy=one.value(ADVERSARIAL))
    except TaskError as problem:
        none = Estimate.undefined(str(problem))
        more = {row.variables: Agreed(raw=none, accuracy=none) for row in found.rows}
    rows = (row.model_copy(update={"by_rest": {**row.by_rest, ADVERSARIAL: more[row.variables]}}) for row in found.rows)
    return found.model_copy(update={"rows": tuple(rows)})
