"""Examples: rows that a model reads, which of their tokens are scored, and the documents that they are of."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Int, Integer, Num, Shaped
from torch import Tensor

from assay.errors import TaskError, nearest
from assay.stats.bootstrap import Resamples

Made = TypeVar("Made")  # what those that gather examples make of them: a task


@dataclass(frozen=True)
class DocumentInfo:
    """A cluster of scored items.

    Attributes:
        name: where it comes from, such as "en/austen-emma#3".
        source: its language or kind: "en", "fr", "python", "stories", "text", ...
        hash: sha256 of its content (token ids, or inputs and labels).
        unseen: whether it is of a work of which nothing was trained on.
        work: what it is a piece of, where it is one; the pieces of a work are one cluster of the intervals.
    """

    name: str
    source: str
    hash: str
    unseen: bool = False
    work: str | None = None

    @property
    def stratum(self) -> str:
        """The group within which documents are resampled."""
        return f"{self.source}, unseen" if self.unseen else self.source


@dataclass(frozen=True, eq=False)
class Items:
    """The scored items of some rows, in row-major order.

    Attributes:
        row: [items] index into the rows that were asked about.
        position: [items] column of the predicted token (0 for a classifier).
    """

    row: Int[np.ndarray, "items"]
    position: Int[np.ndarray, "items"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Examples:
    """Rows that a model reads, nested in documents.

    Attributes:
        tokens: [n, pos] token ids, padded on the right; for a classifier its inputs [n, ...].
        scored: [n, pos] True at the predicted token: the loss of column t comes from the logits at t - 1. For prompts
            that is the column after the prompt, where the correct answer stands. [n, 1] for a classifier.
        real: [n, pos] True where the model reads a token of the example: BOS and text, not padding, not a prompt's
            answer.
        document: [n] index of the row's document; offset: [n] where in the document the row begins, in tokens.
        documents: what the indices mean.
        counterfactual: as tokens, for the paired example of each row; None where there is none.
        answers: [n, 1 or 2] the correct (and an incorrect) answer's id or label; None for text, whose tokens are the
            answers.
        columns: named positions: name -> [n] columns.
    """

    tokens: Shaped[Tensor, "n ..."]
    scored: Bool[Tensor, "n _"]
    real: Bool[Tensor, "n _"]
    document: Int[np.ndarray, "n"]
    offset: Int[np.ndarray, "n"]
    documents: tuple[DocumentInfo, ...]
    counterfactual: Shaped[Tensor, "n ..."] | None = None
    answers: Int[Tensor, "n _"] | None = None
    columns: dict[str, Int[np.ndarray, "n"]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._sizes()}>"

    def _sizes(self) -> str:
        return f"{len(self.documents):,} documents, {len(self.tokens):,} rows, {self.count:,} scored tokens"

    def __len__(self) -> int:
        return len(self.tokens)

    def at(self, position: int | str, rows: Int[np.ndarray, "rows"]) -> Int[np.ndarray, "rows"]:
        """[rows] the column of each of these rows that a position means.

        Raises:
            TaskError: in a clause, for a column that some row does not have, and for a name that no task column has.
        """
        if isinstance(position, str):
            if position not in self.columns:
                raise TaskError(f"the task has no column {position!r}" + nearest(position, self.columns))
            return np.asarray(self.columns[position])[rows]
        last = self.last[rows]
        shortest = int(last.min()) + 1
        if not -shortest <= position < shortest:
            raise TaskError(f"the shortest example has columns 0 to {shortest - 1}")
        return np.where(position < 0, last + 1 + position, position)

    @cached_property
    def last(self) -> Int[np.ndarray, "n"]:
        """[n] the column of each row's last real token: what position -1 means where rows differ in length."""
        width = self.real.shape[1]
        return (width - 1 - self.real.flip(1).int().argmax(1)).numpy()

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of everything that is read and scored."""
        digest = hashlib.sha256()
        for part in (self.tokens, self.scored, self.document, self.counterfactual, self.answers):
            if part is not None:
                array = np.ascontiguousarray(part)
                digest.update(f"{array.dtype.str}{array.shape}".encode() + array.tobytes())
        return digest.hexdigest()

    @property
    def strata(self) -> list[str]:
        """The stratum of each document, in order."""
        return [document.stratum for document in self.documents]

    @cached_property
    def clusters(self) -> list[int]:
        """A label of each document, the same for pieces of one work and for equal documents."""
        labels: list[int] = []
        by_work: dict[str, int] = {}
        by_hash: dict[str, int] = {}
        for i, document in enumerate(self.documents):
            known = {by_work.get(document.work or document.name), by_hash.get(document.hash)} - {None}
            label = min((k for k in known if k is not None), default=i)
            if len(known) > 1:  # an equal document joins two works
                labels = [label if old in known else old for old in labels]
                by_work, by_hash = (
                    {key: label if old in known else old for key, old in of.items()} for of in (by_work, by_hash)
                )
            labels.append(label)
            by_work[document.work or document.name] = by_hash[document.hash] = label
        return labels

    def resamples(
        self, documents: Sequence[int] | Integer[np.ndarray, "_"], seed: int, tokens: Num[np.ndarray, "_"] | None = None
    ) -> Resamples:
        """Intervals over these documents (indices): strata by source, clusters by work.

        Args:
            tokens: how many items were scored in each of them.
        """
        here = [int(d) for d in documents]
        return Resamples(
            len(here),
            [self.documents[d].stratum for d in here],
            seed,
            clusters=[self.clusters[d] for d in here],
            tokens=tokens,
        )

    @property
    def count(self) -> int:
        """The number of scored items."""
        return int(self.scored.sum())

    def summary(self) -> dict[str, Any]:
        """Sizes and the fingerprint, for the record."""
        return {
            "documents": len(self.documents),
            "rows": len(self.tokens),
            "tokens": self.count,
            "sources": dict(sorted(Counter(d.source for d in self.documents).items())),
            "fingerprint": self.fingerprint,
        }


def fields_of(examples: Examples) -> dict[str, Any]:
    """The fields of `Examples`, to make a `Task` of them."""
    return {name.name: getattr(examples, name.name) for name in fields(Examples)}


def take(
    examples: Examples, rows: Integer[np.ndarray, "rows"], documents: Integer[np.ndarray, "documents"]
) -> dict[str, Any]:
    """The fields of `Examples` for some rows, whose documents are the given ones (sorted indices)."""
    index = torch.from_numpy(rows)
    return {
        "tokens": examples.tokens[index],
        "scored": examples.scored[index],
        "real": examples.real[index],
        "document": np.searchsorted(documents, examples.document[rows]),
        "offset": examples.offset[rows],
        "documents": tuple(examples.documents[d] for d in documents),
        "counterfactual": None if examples.counterfactual is None else examples.counterfactual[index],
        "answers": None if examples.answers is None else examples.answers[index],
        "columns": {name: column[rows] for name, column in examples.columns.items()},
    }


def content_hash(*arrays: object) -> str:
    """sha256 of arrays' shapes and values."""
    digest = hashlib.sha256()
    for array in arrays:
        plain = np.ascontiguousarray(array)
        if plain.dtype.kind in "iu":
            plain = plain.astype("<i8")
        digest.update(f"{plain.dtype.str}{plain.shape}".encode() + plain.tobytes())
    return digest.hexdigest()


def three_tenths(keys: Sequence[str], what: str) -> tuple[set[str], str]:
    """The hashes that go to the reference: the lowest three tenths of the distinct ones; and how to say that.

    Raises:
        TaskError: when there are not two distinct ones.
    """
    distinct = sorted(set(keys))
    if len(distinct) < 2:
        raise TaskError(
            f"{what} can only be split into reference and scored ones when at least two differ; give 'reference'"
        )
    count = max(1, round(0.3 * len(distinct)))
    return set(distinct[:count]), f"{what} split 30/70 by content hash (reference/scored)"
