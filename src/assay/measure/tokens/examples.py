"""The per-token table (examples.parquet): one row a scored token, with every main system's loss, KL and agreement."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from assay.measure.headline.systems import Systems
from assay.score.ids import SystemId
from assay.score.scores import Scored
from assay.task.task import Task


def token_text(task: Task, ids: np.ndarray) -> list[str]:
    """Tokens as a reader sees them: each id decoded alone, or the label's number for a classifier."""
    if task.tokenizer is None:
        return [str(i) for i in ids]
    unique = np.unique(ids)
    texts = dict(zip(unique.tolist(), task.tokenizer.batch_decode([[int(i)] for i in unique]), strict=True))
    return [texts[int(i)] for i in ids]


def examples(task: Task, scored: Scored[SystemId], systems: Systems) -> pa.Table:
    """One row a scored token, in the order of the task's rows."""
    if task.answers is not None:
        ids = task.answers[:, 0].numpy()[scored.row]
    else:
        ids = task.tokens.numpy()[scored.row, scored.position]
    names = np.array([document.name for document in task.documents], dtype=object)
    sources = np.array([document.source for document in task.documents], dtype=object)
    columns: dict[str, pa.Array] = {
        "document": pa.array(names[scored.document], pa.string()),
        "source": pa.array(sources[scored.document], pa.string()),
        "cluster": pa.array(np.array(task.clusters)[scored.document], pa.int32()),
        "row": pa.array(scored.row, pa.int32()),
        "position": pa.array(scored.position, pa.int32()),
        "token": pa.array(token_text(task, ids), pa.string()),
        "token_id": pa.array(ids, pa.int32()),
        "loss_model": pa.array(scored.model.table.loss),
    }
    for ablation, explained in systems.explained.items():
        for label, one in (("explained", explained), ("floor", systems.floors.get(ablation))):
            if one is not None:
                table = scored[one].table
                columns[f"loss_{label}_{ablation}"] = pa.array(table.loss)
                columns[f"kl_{label}_{ablation}"] = pa.array(table.kl)
                if label == "explained":
                    columns[f"agree_{ablation}"] = pa.array(table.agree)
    return pa.table(columns)
