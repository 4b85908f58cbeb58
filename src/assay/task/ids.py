"""Tasks on token ids that the user has already: documents of ids instead of texts, cut and scored like them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Int
from torch import Tensor

from assay.errors import TaskError
from assay.task.documents import SHORTEST_WINDOW, Document
from assay.task.encode import bos_of, name_of, reads_tokens
from assay.task.examples import Made
from assay.task.metrics import Metric
from assay.task.text import text_task

WHOLE = "a document is one list or array of whole numbers"


def ids_task(
    make: Callable[..., Made],
    model: Any,
    ids: Any,
    *,
    reference: Any,
    metric: str | Metric,
    bos: bool | str,
    context: int | None,
    max_documents: int | None,
    seed: int,
) -> Made:
    """See `Task.from_ids`; `make`: the class."""
    reads_tokens(model)
    if ids is None:
        raise TaskError(f"ids must be a list of lists or arrays of token ids, one document each, not {_kind(ids)}")
    start = bos_of(model, bos)
    return text_task(
        make,
        model,
        split=None,
        texts=ids,
        reference=reference,
        metric=metric,
        bos=bos,
        context=context,
        max_documents=max_documents,
        seed=seed,
        kind="ids",
        read=lambda given, what: own_ids(model, given, what, start),
    )


def own_ids(model: Any, ids: Any, what: str, bos: int | None) -> list[Document]:
    """A user's ids as documents, named after their place in the list, each without a BOS of its own.

    Raises:
        TaskError: for what is no list of documents, no ids, ids that the model does not have, or too few of them.
    """
    if isinstance(ids, (str, bytes, dict)) or not hasattr(ids, "__len__") or not hasattr(ids, "__getitem__"):
        raise TaskError(f"{what} must be a list of lists or arrays of token ids, one document each, not {_kind(ids)}")
    if not len(ids):
        raise TaskError(f"{what} is empty; give at least one document of token ids")
    found = []
    for i in range(len(ids)):
        name = f"{what}[{i}]"
        row = _row(model, ids[i], name)
        if bos is not None and len(row) and row[0] == bos:
            row = row[1:]  # each window gets one
        if len(row) < SHORTEST_WINDOW:
            raise TaskError(f"{name} has {len(row)} tokens; a document needs at least {SHORTEST_WINDOW} after BOS")
        found.append(Document(name, "ids", row))
    return found


def _row(model: Any, given: Any, name: str) -> Int[np.ndarray, "_"]:
    try:
        row = given.detach().cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)
    except (TypeError, ValueError, OverflowError):  # a bfloat16 tensor, a ragged list, a number beyond 64 bits
        raise TaskError(f"{name} is {_kind(given)}; {WHOLE}") from None
    if row.ndim != 1 or (len(row) and row.dtype.kind not in "iu"):
        of = f"{row.dtype} of shape {row.shape}" if row.dtype.kind != "O" else _kind(given)
        raise TaskError(f"{name} is {of}; {WHOLE}")
    vocab = int(model.config.vocab)
    outside = np.flatnonzero((row < 0) | (row >= vocab))
    if len(outside):
        raise TaskError(
            f"{name} has the id {row[outside[0]]} at place {outside[0]}, but the ids of {name_of(model)} are 0 to "
            f"{vocab - 1}"
        )
    return row.astype(np.int64)


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"
