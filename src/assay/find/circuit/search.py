"""A search for circuits from data to record: scores on the selection, frontiers and controls on the evaluation.

The circuit that is written is the smallest that recovers enough on the selection, or the one of the asked size that
does best there; the evaluation chooses none.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from assay.errors import UserError, nearest
from assay.explanations.circuit.block import drawing
from assay.find.circuit.heat import heat
from assay.find.circuit.plan import REACH, SearchPlan
from assay.find.circuit.roc import roc_block
from assay.find.split import SearchSplit
from assay.frontier.curves import DEFINITIONS
from assay.frontier.frontier import Frontiers, frontiers, node_count
from assay.intervene.circuits.engine import transformer_of
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.spec import ABLATIONS
from assay.intervene.runner import Runner
from assay.measure.checks.thresholds import THRESHOLDS
from assay.measure.record import model_block, revision, versions
from assay.methods.edge_methods import searches
from assay.methods.edge_scores import EdgeScores
from assay.methods.edge_sizes import sized_circuits
from assay.model.edge_sets import EdgeSet
from assay.model.transformer import Model
from assay.planted.world import Truth
from assay.record.about import Arguments, Assay, DataRecord, Timing
from assay.record.search import Chosen, Leak, Reach, SearchRecord
from assay.report.terminal.progress import Progress, silent
from assay.score.circuits import score_circuits
from assay.stats.estimate import Undefined
from assay.task.found_on import FoundOn, found_on, shared_with
from assay.task.task import Task
from assay.version import VERSION


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search gave.

    Attributes:
        record: frontier.json; mask: the circuit that is written; scores: every edge's, by the method that found it.
        every: scores by all methods.
        found_on: what is kept of the data that it was found on.
    """

    record: SearchRecord
    model: Model
    mask: Bool[np.ndarray, "edges"]
    scores: EdgeScores
    every: tuple[EdgeScores, ...]
    found_on: FoundOn


def find_circuit(
    model: Model,
    split: SearchSplit,
    plan: SearchPlan,
    *,
    arguments: Mapping[str, Any] | None = None,
    truth: Truth | Undefined | None = None,
    progress: Progress | None = None,
) -> SearchResult:
    """Searches for circuits on the selection, and measures them on the evaluation.

    Args:
        arguments: the record's block of that name; default: the plan.
        truth: that of the world that the model is; then the record has the ROC of each method.
        progress: called with (stage, done, total).

    Raises:
        UserError: for a plan that cannot be; one sentence.
    """
    plan.check()
    say, started, begun = progress or silent, time.time(), time.monotonic()
    there = PlanContext(Runner(model, split.selection), plan.seed)
    here = PlanContext(Runner(model, split.evaluation), plan.seed)
    edges = transformer_of(there).edges
    sizes, size = plan.all_sizes(len(edges), model.name), plan.size(len(edges), model.name)
    _needs_counterfactuals(split.selection, plan.ablation)
    found = searches(there, plan.ablation, plan.methods, plan.options(size), say)
    shown, not_shown = heat(there, plan.ablation) if "patching" in plan.methods else (None, None)
    searched = time.monotonic()
    chosen, mask, reach = (
        (*_best(there, found, size, plan.ablation), None) if plan.sized else _smallest(there, found, sizes, plan)
    )
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        say("scoring circuits", done, None)

    scored = frontiers(
        here, found, plan.ablation, sizes=sizes, controls=plan.controls, draws=range(plan.draws),
        rows_of_controls=plan.control_rows, seed=plan.seed, advance=advance,
    )  # fmt: skip
    kept = found_on(split.selection, split.selection.name)
    task = split.evaluation.description
    record = SearchRecord(
        assay=Assay(version=VERSION, revision=revision()),
        arguments=Arguments(**(arguments or {"passed": {}, "resolved": vars(plan)})),
        model=model_block(model),
        task=task.model_copy(update={"notes": task.notes | {"split": split.how}}),
        ablation=plan.ablation,
        total=len(edges),
        losses=scored.losses,
        selection=DataRecord(**split.selection.summary(), name=split.selection.name),
        evaluation=DataRecord(**split.evaluation.summary(), name=split.evaluation.name),
        leak=leak(split.evaluation, kept),
        methods=tuple(one.method for one in scored.each),
        heat=shown,
        roc=None if truth is None else roc_block(truth, edges, found),
        circuit=Chosen(
            method=chosen.method,
            edges=int(mask.sum()),
            nodes=node_count(edges, mask),
            drawing=drawing(here, EdgeSet.whole(mask), chosen.strengths(mask)),
            reach=reach,
        ),
        definitions=DEFINITIONS,
        notes=tuple(_notes(plan, scored, not_shown, sizes, size, reach)),
        versions=versions(here),
        timing=Timing(
            started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            seconds=round(time.monotonic() - begun, 1),
            search_seconds=round(searched - begun, 1),
            forwards=round(sum(workbench.runner.forwards for workbench in (there, here))),
        ),
    )
    return SearchResult(record, model, mask, chosen, found, kept)


def _needs_counterfactuals(task: Task, ablation: str) -> None:
    if ablation == "counterfactual" and task.counterfactual is None:
        others = [name for name in ABLATIONS if name != ablation]
        raise UserError(
            f"the task {task.name!r} has no counterfactuals, which the ablation 'counterfactual' takes"
            + nearest(ablation, others)
        )


def _best(
    workbench: PlanContext, several: Sequence[EdgeScores], size: int, ablation: str
) -> tuple[EdgeScores, Bool[np.ndarray, "edges"]]:
    """The method whose circuit of this size is nearest to the model on the selection, and that circuit."""
    edges = transformer_of(workbench).edges
    masks = np.stack([sized_circuits(edges, one, np.array([size]), fill_up=True).masks[0] for one in several])
    best = int(np.argmin(score_circuits(workbench, masks, ablation).stacked("kl").sum(1))) if len(several) > 1 else 0
    return several[best], masks[best]


def _smallest(
    workbench: PlanContext, several: Sequence[EdgeScores], sizes: Int[np.ndarray, "sizes"], plan: SearchPlan
) -> tuple[EdgeScores, Bool[np.ndarray, "edges"], Reach]:
    """The smallest of the methods' circuits that recovers enough on the selection, or the one that recovers most.

    By the task's own metric where it has one and the model is better at it than the run with every edge cut, else by
    KL. The whole model is no circuit. Of circuits of one size, the one that recovers most.
    """
    edges, share = transformer_of(workbench).edges, plan.reach or REACH
    sized = [sized_circuits(edges, one, sizes, fill_up=True) for one in several]
    masks = np.concatenate([np.zeros((1, len(edges)), bool), np.ones((1, len(edges)), bool), *(s.masks for s in sized)])
    scored = score_circuits(workbench, masks, plan.ablation)
    loss, kl = (scored.stacked(name).sum(1) for name in ("loss", "kl"))
    metric = workbench.task.metric.name
    own = metric not in ("loss", "kl") and loss[0] > loss[1]
    recovered = ((loss[0] - loss) / (loss[0] - loss[1]) if own else 1 - kl / max(kl[0], np.finfo(float).tiny))[2:]
    masks, owners = masks[2:], np.repeat(np.arange(len(several)), len(sizes))
    count = masks.sum(1)
    proper = (count > 0) & (count < len(edges))
    enough = proper & (recovered >= share)
    reached = bool(enough.any())
    usable = enough if reached else proper if proper.any() else ~proper
    keys = (-recovered, count) if reached else (count, -recovered)
    best = next(int(i) for i in np.lexsort(keys) if usable[i])
    reach = Reach(share=share, found=float(recovered[best]), metric=metric if own else None, reached=reached)
    return several[owners[best]], masks[best], reach


def leak(evaluation: Task, found: FoundOn) -> Leak:
    """Whether the data that was searched on is scored again, by whole documents and by 13-grams."""
    shared = shared_with(evaluation, found)
    fired = bool(shared.documents) or shared.share > THRESHOLDS.shared_13grams
    many = {"documents": len(shared.documents), "shared": shared.shared, "total": shared.total}
    evidence = "selection and evaluation share {documents} documents and {shared:,} of {total:,} 13-grams"
    return Leak(state="fired" if fired else "passed", **many, evidence=evidence.format(**many))


def _notes(
    plan: SearchPlan,
    scored: Frontiers,
    no_heat: str | None,
    sizes: Int[np.ndarray, "sizes"],
    size: int,
    reach: Reach | None,
) -> list[str]:
    chosen = (
        f"the circuit that is written was chosen among the methods' circuits of {size} edges by KL on the selection"
    )
    if reach is not None:
        by = reach.metric or "KL"
        chosen = (
            f"the circuit that is written was chosen on the selection, by {by}: the smallest of all methods' circuits "
            f"that recovers {reach.share:g} there, short of the whole model"
        )
        chosen += "" if reach.reached else f"; none does, and it is the one that recovers most, {reach.found:.3g}"
    notes = [
        f"{len(sizes)} sizes were asked for; a circuit takes a method's best edges, ties in the declared order, until "
        f"so many are left after what dangles is pruned, and circuits that came out the same are listed once",
        chosen,
    ]
    if plan.controls:
        notes.append(
            f"{scored.bands} bands of up to {plan.controls} different random circuits, unions of paths from input to "
            f"logits with as many live edges in each layer as the method's own; circuits that are alike share one; "
            f"they, and the circuits that are compared with them, are scored on {scored.control_rows} rows"
        )
    if plan.controls and scored.draws["controls"] < scored.draws["methods"]:
        notes.append(
            f"methods are scored on the mean of {scored.draws['methods']} draws, controls (and the circuit compared "
            f"with them) on {scored.draws['controls']}"
        )
    if no_heat is not None:
        notes.append(f"no heat map: {no_heat}")
    over = [one.method.method for one in scored.each if one.method.mib.over_recovery]
    if over:
        notes.append(
            f"over-recovery: circuits of {', '.join(over)} have a lower loss than the model, which CPR counts in their "
            f"favour; R_D and CMD do not"
        )
    return notes
