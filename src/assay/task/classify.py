"""Inputs and labels for any module whose output is one score a class."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Integer, Shaped
from torch import Tensor

from assay.errors import TaskError, nearest
from assay.store.inputs import suffix
from assay.task.arrays import LARGEST, read_arrays
from assay.task.encode import name_of, require_loaded
from assay.task.examples import DocumentInfo, Examples, Made, content_hash, fields_of, take, three_tenths
from assay.task.metrics import Metric, metric_of
from assay.task.row_files import LONE, file_rows, is_table, table_rows

MOST = 250_000  # examples
INPUT, LABEL, GROUP = "input", "label", "group"  # columns of rows


def classify_task(
    make: Callable[..., Made],
    module: Any,
    inputs: Any,
    labels: Any,
    *,
    groups: Sequence[object] | None,
    reference: Any,
    metric: str | Metric,
) -> Made:
    """See `Task.classify`; `make`: the class."""
    if not isinstance(module, torch.nn.Module):
        require_loaded(module)
    if labels is None:
        if groups is not None:
            raise TaskError("'groups' are given beside rows or a file, which have a column or an array for them")
        inputs, labels, groups = read_examples(inputs, "the examples")
    held: tuple[Any, Any] | None = reference
    if not isinstance(reference, tuple | None):
        held = read_examples(reference, "the reference")[:2]
    metric = metric_of(metric)
    everything = examples("example", *checked(inputs, labels, "inputs"), groups)
    if held is not None:
        scored, other = everything, examples("reference", *checked(*held, "the reference's inputs"), None)
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
    return make(
        kind="classify",
        name=f"classify with {name_of(module)}",
        metric=metric,
        tokenizer=None,
        reference=other,
        notes={"reference": how},
        **fields_of(scored),
    )


def read_examples(source: Any, what: str) -> tuple[Any, Any, list[Any] | None]:
    """Inputs, labels and groups of a file (.npz, CSV, JSONL), a table or a list of rows.

    Raises:
        TaskError: for what is none of these, and, with its line, for a row that is not like the first.
    """
    if isinstance(source, str | Path) and suffix(source) == ".npz":
        arrays = read_arrays(source, ("inputs", "labels"), ("groups",))
        groups = arrays.get("groups")
        if groups is not None and groups.ndim != 1:
            raise TaskError(f"the array 'groups' must have one entry for each example, not shape {groups.shape}")
        return arrays["inputs"], arrays["labels"], None if groups is None else groups.tolist()
    if isinstance(source, str | Path):
        rows = list(file_rows(Path(source), "examples (or .npz)", LARGEST))
    elif is_table(source) or (isinstance(source, list) and source and isinstance(source[0], Mapping)):
        rows = list(table_rows(source, what))
    else:
        raise TaskError(f"{what} have no labels; give inputs and labels, rows with a column 'label', or a file of them")
    if not rows:
        raise TaskError(f"{what} are empty; a task needs at least one example")
    return of_rows(rows)


def of_rows(rows: Sequence[tuple[str, Any]]) -> tuple[Any, Any, list[Any] | None]:
    """Inputs, labels and groups of rows with columns `label`, perhaps `group`, and `input` (numbers, nested to any
    depth) or one number in each further column."""
    where, first = rows[0]
    columns = list(first) if isinstance(first, Mapping) else []
    if LABEL not in columns:
        raise TaskError(f"{where}: there is no column {LABEL!r}" + nearest(LABEL, columns))
    features = [INPUT] if INPUT in columns else [name for name in columns if name not in (LABEL, GROUP)]
    if not features:
        raise TaskError(f"{where}: there is no column {INPUT!r}, and no other one beside {LABEL!r}")
    found, labels = [], []
    for place, row in rows:
        if not isinstance(row, Mapping) or list(row) != columns:
            raise TaskError(f"{place}: the columns are not those of {where}, {', '.join(map(repr, columns))}")
        try:
            labels.append(int(row[LABEL]))
            if labels[-1] != float(row[LABEL]):
                raise ValueError
        except (TypeError, ValueError):
            raise TaskError(f"{place}: {LABEL!r} must be the number of a class, not {row[LABEL]!r}") from None
        try:
            one = [float(row[name]) for name in features] if features != [INPUT] else row[INPUT]
            found.append(np.asarray(json.loads(one) if isinstance(one, str) else one))
            if found[-1].dtype.kind not in "iuf" or found[-1].shape != found[0].shape:
                raise ValueError
        except (TypeError, ValueError, RecursionError):
            of = f"a list of numbers of shape {found[0].shape}" if found else "a number or a list of numbers"
            shown = {name: row[name] for name in features}
            raise TaskError(f"{place}: the input must be {of}, not {str(shown)[:80]}") from None
    inputs = np.stack(found)
    if inputs.dtype.kind == "f":
        inputs = inputs.astype(np.float32)
    return inputs, np.array(labels), [row[GROUP] for _, row in rows] if GROUP in columns else None


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
