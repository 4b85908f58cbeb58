"""What systems hold for likeliest at each scored item of a few rows: for a look at single tokens, not for sums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int

from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import Plan
from assay.task.metrics import log_probabilities

MOST = 4  # tokens that are told of each item


@dataclass(frozen=True, eq=False)
class Likeliest:
    """Of each item the likeliest tokens of one system, the likeliest first, and their probabilities."""

    ids: Int[np.ndarray, "items most"]
    p: Float32[np.ndarray, "items most"]


def likeliest(
    workbench: PlanContext, plans: Mapping[str, Plan | None], rows: Int[np.ndarray, "rows"]
) -> dict[str, Likeliest]:
    """The likeliest tokens (classes, of a classifier) of each run, at the scored items of these rows in their order.

    Args:
        plans: name -> what is run; None: the model itself.
        rows: of the task, in ascending order.
    """
    if not plans:
        return {}  # and nothing is run: what has no budget asks for no names
    task, runner = workbench.task, workbench.runner
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in plans}
    with torch.no_grad():
        for batch in runner.batches(rows):
            items, clean = task.items(batch), runner.clean("scored", batch)
            for name, plan in plans.items():
                output = clean.output if plan is None else runner.end(plan, batch) or runner.output(plan, batch, clean)
                for _, logits in output.blocks(task, items):
                    p, ids = log_probabilities(logits).exp().topk(min(MOST, logits.shape[-1]))
                    found[name].append((ids.cpu().numpy(), p.float().cpu().numpy()))
    return {
        name: Likeliest(*(np.concatenate(column) for column in zip(*parts, strict=True)))
        for name, parts in found.items()
    }
