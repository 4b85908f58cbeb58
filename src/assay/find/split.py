"""Data for a search and other data for its evaluation: what a task is split into, and the claim file's own task.

Text of the zoo: selection on the training split, evaluation on the test split. Repeats and planted rows: two random
streams. Prompts and texts: three tenths fill ablations, the rest is halved by content hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from assay.errors import TaskError, UserError
from assay.find.request import SearchRequest
from assay.model.transformer import Model
from assay.planted.load import load
from assay.planted.worlds import world
from assay.task.prompt_rows import read_rows
from assay.task.prompts import prompts_task
from assay.task.task import Task, told
from assay.task.text_files import Text, read_texts, texts_of

REFERENCE = 0.3  # share of prompts or texts that fill ablations, where no reference is given


@dataclass(frozen=True, eq=False)
class SearchSplit:
    """Two tasks that share no document.

    Attributes:
        selection, evaluation: the tasks; how: a sentence on how they were made.
        claim: fields of a claim file (task, reference, documents) that give the evaluation again.
        files: name -> text, what these fields name inside the run folder.
    """

    selection: Task
    evaluation: Task
    how: str
    claim: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)


def open_split(
    wanted: SearchRequest,
    seed: int,
    *,
    documents: int,
    select: int,
    folder: str = ".",
    device: str | None = None,
    dtype: str | None = None,
) -> tuple[Model, SearchSplit]:
    """The model that is searched, opened, and its data split; arguments as in `split_task`.

    Raises:
        UserError: for a model that cannot be opened or has no edges, and for data that cannot be split.
    """
    model = load(wanted.model, dtype=dtype, device=device)
    if not isinstance(model, Model):
        raise UserError(f"{model.name} has no heads and edges; a search needs a transformer of a supported family")
    torch.manual_seed(seed)
    return model, split_task(
        model, wanted.task, reference=wanted.reference, documents=documents, select=select, seed=seed, folder=folder,
    )  # fmt: skip


def split_task(
    model: Model,
    wanted: Mapping[str, Any],
    *,
    reference: Mapping[str, Any] | None = None,
    documents: int,
    select: int,
    seed: int = 0,
    folder: str = ".",
) -> SearchSplit:
    """Splits a task.

    Args:
        wanted: its fields, as in a claim file; reference: that of prompts and texts, likewise.
        documents, select: how many documents are evaluated and searched on, at most.
        seed: decides what is drawn; folder: where `files` will lie.

    Raises:
        TaskError: for data that cannot be split, or cannot be scored.
    """
    options = {
        k: v for k, v in wanted.items() if k not in ("kind", "file", "files", "texts", "split") and v is not None
    }
    match wanted["kind"]:
        case "repeat":
            return _streams(model, wanted, options, documents, select, seed)
        case "planted":
            return _streams(model, wanted, options, documents, select, seed)
        case "prompts":
            return _prompts(model, wanted, options, reference, documents, select, folder)
        case "text" if wanted.get("files") or wanted.get("texts"):
            return _texts(model, wanted, options, reference, documents, select, seed, folder)
        case "text":
            return _zoo(model, wanted, options, documents, select, seed)
        case other:
            raise TaskError(f"searches are made on text, repeats or prompts, not on a task of kind {other!r}")


def _streams(
    model: Model, wanted: Mapping[str, Any], options: dict[str, Any], documents: int, select: int, seed: int
) -> SearchSplit:
    """Rows of two random streams; the selection loses what the evaluation has too."""
    own = int(options.pop("seed", seed))
    n = min(int(options.pop("n", documents)), documents)

    def rows(count: int, stream: int) -> Task:
        if wanted["kind"] == "repeat":
            return Task.repeat(model, n=count, seed=stream, **options)
        return world(model.name).task(count, stream, **options)

    evaluation = rows(n, own)
    selection = without(rows(select, own + 1), evaluation)
    claim = {"task": {"kind": wanted["kind"], "n": n, "seed": own, **options}}
    return SearchSplit(selection, evaluation, f"two random streams, seeds {own + 1} and {own}", claim)


def _zoo(
    model: Model, wanted: Mapping[str, Any], options: dict[str, Any], documents: int, select: int, seed: int
) -> SearchSplit:
    split = wanted.get("split") or "test"
    other = "test" if split == "train" else "train"
    evaluation = Task.text(model, split=split, max_documents=documents, seed=seed, **options)
    selection = without(Task.text(model, split=other, max_documents=select, seed=seed, **options), evaluation)
    claim = {"task": {"kind": "text", "split": split, **options}, "documents": documents}
    return SearchSplit(selection, evaluation, f"selection on the split {other!r}, evaluation on {split!r}", claim)


def _texts(
    model: Model,
    wanted: Mapping[str, Any],
    options: dict[str, Any],
    reference: Mapping[str, Any] | None,
    documents: int,
    select: int,
    seed: int,
    folder: str,
) -> SearchSplit:
    files, column = wanted.get("files"), options.pop("column", None)
    given = read_texts(files, column) if files else texts_of(list(wanted["texts"]), "texts")
    entry = "files" if files else "texts"
    parts = _parts([_hash(one.text) for one in given], "texts", held=reference is None)
    held, chosen, scored = ([given[i] for i in part] for part in parts)
    place, written = Path(folder), dict[str, str]()

    def named(some: Sequence[Text], name: str) -> list[str]:
        """How a claim file names these: texts and text files as they were given, rows by a file that is written."""
        if not any(one.row for one in given):
            return [one.name if files else one.text for one in some]
        written[name] = "".join(json.dumps({"text": one.text}, ensure_ascii=False) + "\n" for one in some)
        return [str(place / name)]

    how: Any = reference
    if reference is None:
        how, other = {entry: named(held, "reference.jsonl")}, held
    elif reference.get("files"):
        other = read_texts(reference["files"], reference.get("column"))
    else:
        other = reference.get("split") or list(reference.get("texts") or ())
    evaluation, selection = (
        Task.text(model, texts=part, reference=other, max_documents=most, seed=seed, **options)
        for part, most in ((scored, documents), (chosen, select))
    )
    task = {"kind": "text", entry: named(scored, "evaluation.jsonl"), **options}
    claim = {"task": task, "reference": dict(how), "documents": documents}
    selection = without(selection, evaluation)
    return SearchSplit(selection, evaluation, f"{entry} split by content hash", claim, written)


def _prompts(
    model: Model,
    wanted: Mapping[str, Any],
    options: dict[str, Any],
    reference: Mapping[str, Any] | None,
    documents: int,
    select: int,
    folder: str,
) -> SearchSplit:
    other = None if reference is None else reference["files"][0]
    whole = {"metric": "logit_diff", "bos": "auto", **options}
    whole_task = prompts_task(Task, model, wanted["file"], reference=other, **whole)
    told(whole_task, split=False)  # what is wrong, by file and line
    rows, _ = read_rows(wanted["file"])
    plain = [dict(row.values) | ({} if row.group is None else {"group": row.group}) for row in rows]
    keys = [_hash(row["group"] if "group" in row else json.dumps(row, sort_keys=True)) for row in plain]
    order = list(dict.fromkeys(keys))
    parts = _parts(order, "prompt groups" if "group" in plain[0] else "prompts", held=reference is None)
    held, chosen, scored = ([order[i] for i in part] for part in parts)

    def of(some: Sequence[str], most: int | None = None) -> list[dict[str, str]]:
        return [row for key in some[:most] for row, own in zip(plain, keys, strict=True) if own == key]

    names = {"evaluation": of(scored, documents), "selection": of(chosen, select)}
    if reference is None:
        names["reference"] = of(held)
    else:
        names["reference"] = [
            dict(row.values) | ({} if row.group is None else {"group": row.group})
            for row in read_rows(reference["files"][0])[0]
        ]
    evaluation, selection = (
        prompts_task(Task, model, names[part], reference=names["reference"], **whole)
        for part in ("evaluation", "selection")
    )
    place = Path(folder)
    claim = {
        "task": {"kind": "prompts", "file": str(place / "evaluation.jsonl"), **options},
        "reference": {"files": [str(place / "reference.jsonl")]},
    }
    files = {f"{name}.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in some)
             for name, some in names.items()}  # fmt: skip
    selection = without(selection, evaluation)
    return SearchSplit(selection, evaluation, f"{wanted['file']} split by content hash", claim, files)


def _parts(keys: Sequence[str], what: str, *, held: bool) -> tuple[list[int], list[int], list[int]]:
    """Places of the reference, the selection and the evaluation, by hash; equal contents stay together.

    Raises:
        TaskError: when there are too few that differ.
    """
    distinct = sorted(set(keys))
    need = 3 if held else 2
    if len(distinct) < need:
        raise TaskError(
            f"{len(distinct)} different {what} cannot be split into {'reference, ' * held}selection and evaluation; "
            f"give at least {need}"
        )
    first = max(1, round(REFERENCE * len(distinct))) if held else 0
    second = first + max(1, (len(distinct) - first) // 2)
    where = {key: (place >= first) + (place >= second) for place, key in enumerate(distinct)}
    reference, selection, evaluation = ([i for i, key in enumerate(keys) if where[key] == part] for part in range(3))
    return reference, selection, evaluation


def without(selection: Task, evaluation: Task) -> Task:
    """The selection less documents that the evaluation has.

    Raises:
        TaskError: when nothing is left.
    """
    scored = {document.hash for document in evaluation.documents}
    left = [i for i, document in enumerate(selection.documents) if document.hash not in scored]
    if not left:
        raise TaskError(f"every document that {selection.name!r} could be searched on is one that is evaluated")
    return selection.subset(np.array(left))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
