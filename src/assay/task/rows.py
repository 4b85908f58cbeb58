"""A few of a task's rows, of as many documents as possible."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from assay.task.task import Task

ROWS, EXAMPLES = 32, 512  # rows that controls are scored on; of a classifier, whose rows are scored once each


def control_rows(task: Task, most: int | None = None) -> Int[np.ndarray, "rows"]:
    """Rows that controls are scored on: one of each document in turn, documents spread evenly over the task."""
    if most is None:
        most = EXAMPLES if task.kind == "classify" else ROWS
    document = np.asarray(task.document)
    turn = np.zeros(len(document), dtype=np.int64)
    for d in np.unique(document):
        mine = np.flatnonzero(document == d)
        turn[mine] = np.arange(len(mine))
    order = np.lexsort((document, turn))
    if len(order) <= most:
        return np.sort(order)
    first = order[turn[order] == 0]
    pool = first if len(first) >= most else order[:most]
    return np.sort(pool[np.linspace(0, len(pool) - 1, most).round().astype(int)])
