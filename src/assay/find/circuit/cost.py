"""What a search would cost, before it is made: forward passes from the plan, minutes from a few rows. Estimates."""

from __future__ import annotations

import time
from typing import Any

from assay.find.circuit.methods import STEPS, TAUS
from assay.find.circuit.plan import Plan
from assay.find.circuit.split import Split
from assay.intervene.ablations import RANDOM, Workbench
from assay.intervene.circuit_groups import live_shares
from assay.intervene.circuits import Circuits
from assay.intervene.runner import Runner
from assay.methods.edge_sizes import sized_circuits
from assay.methods.orders import random_scores
from assay.model.transformer import Model
from assay.task.rows import control_rows

# passes of a row; a backward pass counts as one
PASSES = {
    "attribution": 2.0,
    "integrated_attribution": 12.0,
    "integrated_attribution_kl": 12.0,
    "gim": 2.0,
    "saliency": 2.0,
    "information_flow": 1.0,
    "activation_norm": 1.0,
}
PATHS = 12.0  # of each of the layers' paths of integrated_attribution_activations
HALF = 0.5  # of a pass: what a change somewhere in the model recomputes, as a mean
MASK_ROWS, GREEDY_OVER, GREEDY_TRIES = 8, 4, 3
FILLS = 2  # runs that each row needs besides its circuits


def cost(model: Model, split: Split, plan: Plan) -> dict[str, Any]:
    """Forward passes of one row, minutes on this machine, and GB of memory.

    Raises:
        UserError: for a size that the model does not have.
    """
    edges, name = model.edges, model.name
    sizes, size = plan.all_sizes(len(edges), name), plan.size(len(edges), name)
    rows, searched = len(split.evaluation.tokens), len(split.selection.tokens)
    draws = plan.draws if plan.ablation in RANDOM else 1
    few = Workbench(Runner(model, split.evaluation), plan.seed)
    masks = sized_circuits(edges, random_scores(edges, seed=plan.seed), sizes, fill_up=True).masks
    live = float(live_shares(Circuits(few, "zero"), masks).sum()) * len(plan.methods)
    circuits = live * draws
    around = live * plan.controls * len(control_rows(split.evaluation, plan.control_rows))
    search = sum(_search(method, len(edges), len(model.components), searched, size, plan) for method in plan.methods)
    forwards = rows * (circuits + FILLS * draws) + around + search
    tokens = split.evaluation.tokens[: min(rows, few.runner.batch)]
    model(tokens)
    begun = time.perf_counter()
    model(tokens)
    seconds = (time.perf_counter() - begun) / len(tokens)
    memory = 1.6 + 4 * model.parameters / 1e9 + masks.size * len(plan.methods) * plan.controls / 1e9
    return {"forwards": int(forwards), "minutes": round(forwards * seconds / 60, 1), "memory_gb": round(memory, 1)}


def _search(method: str, edges: int, components: int, rows: int, size: int, plan: Plan) -> float:
    match method:
        case "exact":
            return HALF * edges * rows
        case "acdc":
            return HALF * edges * rows * len(plan.tau or TAUS)
        case "masks":
            return 2.0 * (plan.steps or STEPS) * min(MASK_ROWS, rows)
        case "greedy":
            return HALF * GREEDY_TRIES * GREEDY_OVER * size * rows
        case "patching":
            return 2.0 * components * rows
        case "integrated_attribution_activations":
            return PATHS * components * HALF * rows
        case _:
            return PASSES.get(method, 0.0) * rows
