"""Plans of circuits on a workbench: some edges carry their writers' own values, all others an ablation's."""

from __future__ import annotations

from assay.errors import ClaimError
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.adversarial import adversarial_constants
from assay.intervene.kept import Kept
from assay.intervene.plan import CircuitRun, Edit, EditRun, Plan, Run, Value
from assay.model.edge_sets import EdgeSet
from assay.model.transformer import Model
from assay.names import parse_site

FILL = "fill"


class FillRuns(Kept[tuple[str, int, bool], tuple[Run, ...]]):
    """The runs of a fill, which all circuits share, by ablation, draw and whether norms are frozen: the runner meets
    them again."""


def circuit_plan(
    workbench: PlanContext, edges: EdgeSet, ablation: str, draw: int = 0, edits: tuple[Edit, ...] = ()
) -> Plan:
    """The run in which these edges carry their writers' own values, and all others the ablation's.

    Args:
        edits: what heads and MLPs are given in place of what they compute in the circuit.

    Raises:
        ClaimError: for the option `refit`, which circuits do not have.
    """
    without_refit(workbench)

    assert isinstance(workbench.model, Model)
    writers = tuple(parse_site(name) for name in workbench.model.edges.writers)

    def made() -> tuple[Run, ...]:
        filled = workbench.plan(workbench.ablate(writers, ablation, draw))
        return *filled.runs[:-1], EditRun(FILL, edits=filled.final.edits)

    def worst(fills: tuple[Edit, ...]) -> Plan:
        circuit = CircuitRun("explained", edges, FILL, (), workbench.frozen_norm)
        return Plan((EditRun(FILL, edits=fills), circuit))

    if ablation == "shared_adversarial" and not edits:  # which is found against this circuit
        key = edges.kept.tobytes(), edges.positions, edges.inverted
        values = map(Value, adversarial_constants(workbench, writers, key=key, plan=worst))
        fill: tuple[Run, ...] = (EditRun(FILL, edits=tuple(map(Edit, writers, values))),)
    else:
        fill = workbench.store.of(FillRuns).once((ablation, draw, workbench.frozen_norm), made)
    there = {run.name for run in fill}
    beside = [run for run in workbench.plan(edits).runs[:-1] if run.name not in there]
    return Plan((*beside, *fill, CircuitRun("explained", edges, FILL, edits, workbench.frozen_norm)))


def without_refit(workbench: PlanContext) -> None:
    """Refuses the option `refit`."""
    if workbench.refit:
        raise ClaimError("the option 'refit' does not apply to circuits: every edge would need a map of its own")
