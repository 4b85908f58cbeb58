"""What a search would cost, before it is made: forward passes from the plan, minutes from a few rows. Estimates."""

from __future__ import annotations

import time
from typing import Any

from assay.find.circuit.plan import SearchPlan
from assay.find.split import SearchSplit
from assay.intervene.circuits.engine import Circuits
from assay.intervene.circuits.groups import live_shares
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.spec import is_random
from assay.intervene.runner import Runner
from assay.methods.edge_sizes import sized_circuits
from assay.methods.orders import random_scores
from assay.methods.registry import SearchSize, edge_methods
from assay.model.transformer import Model
from assay.task.rows import control_rows

FILLS = 2  # runs that each row needs besides its circuits


def cost(model: Model, split: SearchSplit, plan: SearchPlan) -> dict[str, Any]:
    """Forward passes of one row, minutes on this machine, and GB of memory.

    Raises:
        UserError: for a size that the model does not have.
    """
    edges, name = model.edges, model.name
    sizes, size = plan.all_sizes(len(edges), name), plan.size(len(edges), name)
    rows, searched = len(split.evaluation.tokens), len(split.selection.tokens)
    draws = plan.draws if is_random(plan.ablation) else 1
    few = PlanContext(Runner(model, split.evaluation), plan.seed)
    masks = sized_circuits(edges, random_scores(edges, seed=plan.seed), sizes, fill_up=True).masks
    live = float(live_shares(Circuits(few, "zero"), masks).sum()) * len(plan.methods)
    circuits = live * draws
    around = live * plan.controls * len(control_rows(split.evaluation, plan.control_rows))
    job = SearchSize(len(edges), len(model.components), searched, plan.options(size))
    search = sum(edge_methods()[method].passes(job) for method in plan.methods)
    forwards = rows * (circuits + FILLS * draws) + around + search
    tokens = split.evaluation.tokens[: min(rows, few.runner.batch)]
    model(tokens)
    begun = time.perf_counter()
    model(tokens)
    seconds = (time.perf_counter() - begun) / len(tokens)
    memory = 1.6 + 4 * model.parameters / 1e9 + masks.size * len(plan.methods) * plan.controls / 1e9
    return {"forwards": int(forwards), "minutes": round(forwards * seconds / 60, 1), "memory_gb": round(memory, 1)}
