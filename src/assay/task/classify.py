"""Inputs and labels for any module whose output is one score a class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Integer, Shaped
from torch import Tensor

from assay.errors import TaskError
from assay.task.encode import LONE, name_of, require_loaded
from assay.task.examples import DocumentInfo, Examples, content_hash, fields_of, take, three_tenths
from assay.task.metrics import Metric, metric_of
from assay.task.task import Task

MOST = 250_000  # examples


def classify_task(
    module: Any,
    inputs: Any,
    labels: Any,
    *,
    groups: Sequence[object] | None,
    reference: tuple[Any, Any] | None,
    metric: str | Metric,
) -> Task:
    """See `Task.classify`."""
    if not isinstance(module, torch.nn.Module):
        require_loaded(module)
    metric = metric_of(metric)
    everything = examples("example", *checked(inputs, labels, "inputs"), groups)
    if reference is not None:
        scored, other = everything, examples("reference", *checked(*reference, "the reference's inputs"), None)
        how = "given"
        owners = [other.documents[i].name for i in other.document]
        shared = {content_hash(x): name for x, name in zip(other.tokens.numpy(), owners, strict=True)}
        for x, document in zip(scored.tokens.numpy(), scored.document, strict=True):
            if (same := shared.get(content_hash(x))) is not None:
                name = scored.documents[document].name
                raise TaskError(f"the reference overlaps what is scored: an input of {same} equals one of {name}")
        if other.tokens.shape[1:] != scored.tokens.shape[1:]:
            raise TaskError(
                f"the reference's inputs have shape {tuple(other.tokens.shape[1:])}, those that are scored "
                f"{tuple(scored.tokens.shape[1:])}"
            )
    else:
        scored, other, how = split(
            everything, [d.hash for d in everything.documents], "examples" if groups is None else "groups"
        )
    return Task(
        kind="classify",
        name=f"classify with {name_of(module)}",
        metric=metric,
        tokenizer=None,
        reference=other,
        notes={"reference": how},
        **fields_of(scored),
    )


def split(everything: Examples, keys: Sequence[str], what: str) -> tuple[Examples, Examples, str]:
    """Scored examples, the reference (three tenths of the documents, by key), and how to say that."""
    chosen, how = three_tenths(keys, what)
    goes = np.array([key in chosen for key in keys])
    parts = []
    for side in (~goes, goes):
        documents = np.flatnonzero(side)
        rows = np.flatnonzero(side[everything.document])
        parts.append(Examples(**take(everything, rows, documents)))
    return parts[0], parts[1], how


def checked(inputs: Any, labels: Any, what: str) -> tuple[Shaped[Tensor, "n ..."], Int[Tensor, "n"]]:
    """Inputs and labels as tensors.

    Raises:
        TaskError: when they do not fit together, are empty, not finite, or the labels are not class numbers.
    """
    x, y = _tensor(inputs, what), _tensor(labels, "labels")
    if not x.ndim or not len(x):
        raise TaskError(f"{what} are empty; a task needs at least one example")
    if y.ndim != 1 or y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise TaskError(f"labels must be whole numbers, one for each example, not {y.dtype} of shape {tuple(y.shape)}")
    if len(x) != len(y):
        raise TaskError(f"{what} have {len(x)} examples, but there are {len(y)} labels")
    if len(x) > MOST:
        raise TaskError(f"{what} have {len(x):,} examples; at most {MOST:,} are read, so give fewer of them")
    y = y.long()  # of some types of whole numbers there is no smallest one
    if int(y.min()) < 0:
        raise TaskError(f"label {int(y.min())} of example {int(y.argmin())} is negative; classes are counted from 0")
    if x.is_floating_point() and not bool(torch.isfinite(x).all()):
        bad = (
            int((~torch.isfinite(x)).flatten(1).any(1).int().argmax())
            if x.ndim > 1
            else int((~torch.isfinite(x)).int().argmax())
        )
        raise TaskError(f"example {bad} of {what} holds a value that is not finite")
    return x, y


def _tensor(values: Any, what: str) -> Shaped[Tensor, "..."]:
    if isinstance(values, Tensor):
        return values.detach().cpu()
    array = np.asarray(values)
    try:
        return torch.as_tensor(array)
    except TypeError:
        raise TaskError(f"{what} are of type {array.dtype}; give whole or floating-point numbers") from None


def examples(
    name: str, inputs: Shaped[Tensor, "n ..."], labels: Int[Tensor, "n"], groups: Sequence[object] | None
) -> Examples:
    """Rows of inputs, each scored once."""
    n = len(inputs)
    if groups is not None and len(groups) != n:
        raise TaskError(f"there are {n} examples, but {len(groups)} groups")
    owner: Integer[np.ndarray, "n"] = np.arange(n)
    within = np.zeros(n, dtype=np.int64)  # an example's number within its document
    if groups is None:
        names = [f"{name}[{i}]" for i in range(n)]
        hashes = [content_hash(x, y) for x, y in zip(inputs.numpy(), labels.numpy(), strict=True)]
    else:
        names = list(dict.fromkeys(str(g) for g in groups))
        if lone := LONE.search("".join(names)):
            raise TaskError(f"a group's {lone[0]!r} is half a character, which no name can have")
        index = {group: i for i, group in enumerate(names)}
        owner = np.array([index[str(g)] for g in groups], dtype=np.int64)
        members = np.split(np.argsort(owner, kind="stable"), np.cumsum(np.bincount(owner))[:-1])
        hashes = [content_hash(inputs.numpy()[rows], labels.numpy()[rows]) for rows in members]
        for rows in members:
            within[rows] = np.arange(len(rows))
    return Examples(
        tokens=inputs,
        scored=torch.ones(n, 1, dtype=torch.bool),
        real=torch.ones(n, 1, dtype=torch.bool),
        document=owner,
        offset=within,
        documents=tuple(DocumentInfo(d, "example", h) for d, h in zip(names, hashes, strict=True)),
        answers=labels.unsqueeze(1),
    )
