"""Tasks on text: documents cut into windows, and a reference of other documents cut alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from assay.errors import TaskError
from assay.task.documents import SHORTEST_WINDOW, Document, windows
from assay.task.encode import bos_of, context_of, encode, name_of, padding_of, read_back, reads_tokens, tokenizer_of
from assay.task.examples import DocumentInfo, Examples, Made, content_hash, fields_of, three_tenths
from assay.task.metrics import Metric, metric_of
from assay.task.overlap import ids_text, refuse_contained, refuse_half
from assay.task.text_files import read_texts, texts_of
from assay.task.zoo_text import sample, trained_on, zoo_documents, zoo_reference


def text_task(
    make: Callable[..., Made],
    model: Any,
    *,
    split: str | None,
    texts: Any,
    files: Any = None,
    column: str | None = None,
    reference: Any,
    metric: str | Metric,
    bos: bool | str,
    context: int | None,
    max_documents: int | None,
    seed: int,
    kind: Literal["text", "ids"] = "text",
    read: Callable[[Any, str], list[Document]] | None = None,
) -> Made:
    """See `Task.text`, and `Task.from_ids`; `make`: the class.

    Args:
        kind: "ids" where `texts` and the reference are documents of ids.
        read: makes documents of what was given (and is called so): texts, unless it is said otherwise.
    """
    reads_tokens(model)
    metric = metric_of(metric)
    if read is None:
        tokenizer_of(model)
    notes: dict[str, Any] = {"split": split, "seed": seed}
    read = read or partial(own_documents, model, column, notes)
    what = "texts" if kind == "text" else kind
    start = bos_of(model, bos)
    width = context_of(model, context, start)
    given = [name for name, value in (("split", split), ("texts", texts), ("files", files)) if value is not None]
    if len(given) > 1:
        raise TaskError(f"{given[0]!r} and {given[1]!r} are both given; a task has one or the other")
    if files is not None:
        listed = [files] if isinstance(files, str | Path) else list(files)
        notes["files"] = [str(file) for file in listed]
        texts = read_texts(listed, column)
    if max_documents is not None and max_documents < 1:
        raise TaskError(f"'max_documents' must be at least 1, not {max_documents}")
    notes |= {"bos": start is not None, "bos_id": start}
    others: list[Document] | None = None
    if texts is None and column is not None:
        raise TaskError(f"the column {column!r} is named, and nothing is given that has columns; leave it out")
    if texts is None:
        split = notes["split"] = split or "test"
        documents, sampling = zoo_documents(model, split, max_documents, seed)
        name = f"{split} text of {name_of(model)}"
        if trained_on(model) is None:
            name = f"{split} text of assay's novels and Python modules, which {name_of(model)} may have seen"
    else:
        documents = read(texts, what)
        name = f"{len(documents)} {'texts' if kind == 'text' else 'documents of ids'}"
        if reference is None:
            if files is not None and len(documents) == 1:
                raise TaskError(
                    f"{documents[0].name} is one document, and others are needed to fill ablations; give more files, a "
                    "CSV or JSONL file with a document in each row, or 'reference'"
                )
            chosen, notes["reference"] = three_tenths([content_hash(d.tokens) for d in documents], "documents")
            others = [d for d in documents if content_hash(d.tokens) in chosen]
            documents = [d for d in documents if content_hash(d.tokens) not in chosen]
        documents, sampling = sample(documents, max_documents, seed)
    if sampling:
        notes["sampling"] = sampling
    head = int(start is not None)
    width = min(width, head + max(len(d.tokens) for d in documents))
    if reference is not None and not isinstance(reference, str):
        others, notes["reference"] = read(reference, "reference"), f"given {what}"
    elif others is None:
        others, notes["reference"] = zoo_reference(model, reference or "train", split, documents, width - head, seed)
    if texts is not None or not isinstance(reference, str | None):
        try:
            refuse_overlap(documents, others, model.tokenizer if kind == "text" else None)
        except TaskError as problem:
            if reference is not None:
                raise
            raise TaskError(
                f"{problem}; three tenths of what was given became the reference: leave one of two that share so much "
                "out, or give 'reference'"
            ) from None
    notes["context"] = width
    scored = cut(
        documents, width, start, model, unseen=texts is None and split == "unseen" and trained_on(model) is not None
    )
    return make(
        kind=kind,
        name=name,
        metric=metric,
        tokenizer=getattr(model, "tokenizer", None),
        reference=cut(others, width, start, model),
        notes=notes,
        **fields_of(scored),
    )


def own_documents(model: Any, column: str | None, notes: dict[str, Any], texts: Any, what: str) -> list[Document]:
    """A user's texts as documents, named after their file or their place in the list.

    Args:
        column: that of the texts in rows; notes: how many were left out is added here.

    Raises:
        TaskError: for no texts, what is no text, and an empty or too short one that was given by itself; of rows and of
            folders these are left out.
    """
    given = texts_of(texts, what, column)
    if column is not None and what == "texts" and not any(one.row for one in given):
        raise TaskError(f"the column {column!r} is named, and nothing is given that has columns; leave it out")
    if not given:
        raise TaskError(f"{what} has no rows; give at least one text")
    for one in given:
        if one.single and not one.text.strip():
            raise TaskError(f"{one.name} is empty")
    found = []
    names = [one.name for one in given]
    for one, ids in zip(given, encode(model, [one.text for one in given], names), strict=True):
        if len(ids) >= SHORTEST_WINDOW:
            found.append(Document(one.name, "text", ids, whole=True))
        elif one.single:
            raise TaskError(f"{one.name} has {len(ids)} tokens; a document needs at least {SHORTEST_WINDOW} after BOS")
    if not found:
        raise TaskError(f"none of the {len(given):,} {what} has {SHORTEST_WINDOW} tokens, which a document needs")
    if len(found) < len(given):
        notes[f"{what}_left_out"] = (
            f"{len(given) - len(found):,} of {len(given):,}, which have fewer than {SHORTEST_WINDOW} tokens"
        )
    return found


def refuse_overlap(documents: Sequence[Document], others: Sequence[Document], tokenizer: Any) -> None:
    """Raises `TaskError` when a document of the reference equals one that is scored, when one stands in the other, or
    when half of a scored one is there.

    Args:
        tokenizer: of texts, which are compared as texts: tokens at a text's ends depend on what is around it, and
            tokens anywhere on how its lines are broken.
    """
    known = {content_hash(d.tokens): d.name for d in documents}
    for other in others:
        same = known.get(content_hash(other.tokens))
        if same is not None:
            raise TaskError(f"the reference overlaps what is scored: {other.name} equals {same}")
    refuse_contained(*([(d.name, ids_text(d.tokens) if tokenizer is None else read_back(tokenizer, d.tokens))
                        for d in side] for side in (documents, others)))  # fmt: skip
    refuse_half(documents, others)


def cut(documents: Sequence[Document], width: int, bos: int | None, model: Any, *, unseen: bool = False) -> Examples:
    """Documents as rows of `width` ids; documents that give no row are left out."""
    found = windows(documents, width, bos, padding=padding_of(model, bos))
    kept = np.unique(found.document)
    real = found.scored.copy()
    real[:, 0] = True
    return Examples(
        tokens=torch.from_numpy(found.tokens),
        scored=torch.from_numpy(found.scored),
        real=torch.from_numpy(real),
        document=np.searchsorted(kept, found.document),
        offset=found.offset,
        documents=tuple(
            DocumentInfo(
                documents[d].name, documents[d].source, content_hash(documents[d].tokens), unseen, documents[d].work
            )
            for d in kept
        ),
    )
