"""What a plug-in is tried on where nothing else is given: a small model, and rows in which tokens come again."""

from __future__ import annotations

import numpy as np

from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.task.task import Task

MODEL = "zoo:novel-1l"
SCORED, REFERENCE, LENGTH = 6, 12, 16  # rows, and tokens of each
TOKENS = 20, 28  # from where to where: so few that rules on earlier tokens, n-grams and labels find some


def small_task(model: Model | ModuleModel) -> Task:
    """A few rows of a few tokens of the model's vocabulary, which the model need not know anything of."""
    rows = np.random.default_rng(0).integers(*TOKENS, (SCORED + REFERENCE, LENGTH)).tolist()
    return Task.from_ids(model, rows[:SCORED], reference=rows[SCORED:])
