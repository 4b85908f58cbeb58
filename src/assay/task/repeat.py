"""Random tokens, twice: what only a model that copies from its context can predict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Integer

from assay.errors import TaskError
from assay.stats.keyed import generator
from assay.task import bounds
from assay.task.encode import bos_of, name_of, ordinary_tokens, reads_tokens
from assay.task.examples import DocumentInfo, Examples, Made, content_hash, fields_of
from assay.task.metrics import Metric, metric_of

REFERENCE_ROWS = 256
TRIES = 20


def repeat_task(
    make: Callable[..., Made], model: Any, *, n: int, length: int, seed: int, metric: str | Metric, bos: bool | str
) -> Made:
    """See `Task.repeat`; `make`: the class."""
    reads_tokens(model)
    start = bos_of(model, bos)
    head = int(start is not None)
    for name, value, limit in (("n", n, bounds.ROWS), ("length", length, bounds.SPAN)):
        if problem := bounds.problem(name, value, limit, " of a repeat task"):
            raise TaskError(problem)
    if head + 2 * length > model.config.context:
        most = (model.config.context - head) // 2
        raise TaskError(
            f"two copies of {length} tokens do not fit the context of {model.config.context} of {name_of(model)}; at "
            f"most {most}"
        )
    vocabulary = ordinary_tokens(model)
    seen: set[bytes] = set()
    scored = draw("scored", n, length, vocabulary, seed, seen)
    reference = draw("reference", min(n, REFERENCE_ROWS), length, vocabulary, seed, seen)
    return make(
        kind="repeat",
        name=f"repeat, {n} x {length}",
        metric=metric_of(metric),
        tokenizer=getattr(model, "tokenizer", None),
        reference=examples("reference", reference, start),
        aligned=True,
        notes={
            "length": length,
            "seed": seed,
            "bos": start is not None,
            "bos_id": start,
            "reference": "other repeats, from another random stream",
        },
        **fields_of(examples("repeat", scored, start)),
    )


def draw(
    purpose: str, n: int, length: int, vocabulary: Integer[np.ndarray, "_"], seed: int, seen: set[bytes]
) -> Integer[np.ndarray, "n length"]:
    """Rows of random tokens, each keyed by its own number, none among those seen before.

    Raises:
        TaskError: when there are too few ordinary tokens to go on.
    """
    rows = []
    for row in range(n):
        for attempt in range(TRIES):
            ids = generator(seed, "repeat", purpose, row, attempt).choice(vocabulary, size=length)
            if ids.tobytes() not in seen:
                break
        else:
            raise TaskError(
                f"{len(vocabulary)} ordinary tokens do not give {n} scored and reference rows of length {length} that "
                f"differ; "
                "take fewer or longer ones"
            )
        seen.add(ids.tobytes())
        rows.append(ids)
    return np.stack(rows)


def examples(name: str, spans: Integer[np.ndarray, "n length"], bos: int | None) -> Examples:
    """Rows of BOS, r, r, scored on the second copy but for its first token."""
    n, length = spans.shape
    head = np.full((n, 0 if bos is None else 1), bos or 0, dtype=np.int64)
    tokens = np.concatenate([head, spans, spans], axis=1)
    scored: Bool[np.ndarray, "n pos"] = np.zeros(tokens.shape, dtype=bool)
    scored[:, head.shape[1] + length + 1 :] = True
    return Examples(
        tokens=torch.from_numpy(tokens),
        scored=torch.from_numpy(scored),
        real=torch.ones(tokens.shape, dtype=torch.bool),
        document=np.arange(n),
        offset=np.zeros(n, dtype=np.int64),
        documents=tuple(DocumentInfo(f"{name}[{i}]", "repeat", content_hash(row)) for i, row in enumerate(spans)),
    )
