"""What two sets of examples share: whole documents, one within another, and runs of 13 tokens. For the refusal of a
reference that overlaps what is scored, and for the leak check."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Integer, UInt64

from assay.errors import TaskError

if TYPE_CHECKING:
    from assay.task.task import Examples

ORDER = 13
_MULTIPLIER = 0x9E3779B97F4A7C15  # odd, so a polynomial hash in it mod 2**64 loses nothing


@dataclass(frozen=True)
class Overlap:
    """What is scored and also stands in the reference.

    Attributes:
        documents: names (scored, reference) of equal documents.
        shared: scored documents' distinct 13-grams that the reference contains too; total: how many there are.
        affected: scored documents in which one of them stands.
    """

    documents: tuple[tuple[str, str], ...]
    shared: int
    total: int
    affected: tuple[str, ...]

    @property
    def share(self) -> float:
        """The share of distinct scored 13-grams that the reference contains."""
        return self.shared / self.total if self.total else 0.0


def ngram_hashes(tokens: Integer[np.ndarray, "length"], order: int = ORDER) -> UInt64[np.ndarray, "_"]:
    """One 64-bit hash for each run of `order` tokens."""
    count = len(tokens) - order + 1
    if count <= 0:
        return np.zeros(0, dtype=np.uint64)
    out = np.zeros(count, dtype=np.uint64)
    with np.errstate(over="ignore"):
        ids = (tokens.astype(np.uint64) + np.uint64(1)) * np.uint64(0xBF58476D1CE4E5B9)
        ids ^= ids >> np.uint64(31)
        for i in range(order):
            out = out * np.uint64(_MULTIPLIER) + ids[i : i + count]
    return out


def shared_13grams(
    scored: Iterable[Integer[np.ndarray, "_"]], reference: Iterable[Integer[np.ndarray, "_"]], order: int = ORDER
) -> list[int]:
    """For each scored sequence the number of its distinct 13-grams that occur anywhere in the reference."""
    known = _unique([ngram_hashes(row, order) for row in reference])
    return [int(np.isin(np.unique(ngram_hashes(row, order)), known, assume_unique=True).sum()) for row in scored]


def overlap(scored: Examples, reference: Examples | None) -> Overlap:
    """What the reference shares with what is scored; for inputs that are not tokens, whole documents only."""
    if reference is None:
        return Overlap((), 0, 0, ())
    by_hash = {document.hash: document.name for document in reference.documents}
    equal = tuple((d.name, by_hash[d.hash]) for d in scored.documents if d.hash in by_hash)
    if scored.tokens.ndim != 2 or scored.tokens.is_floating_point():
        return Overlap(equal, 0, 0, ())
    known = _unique([ngram_hashes(row) for row in rows_of(reference)])
    rows = [ngram_hashes(row) for row in rows_of(scored)]
    owner = np.repeat(scored.document, [len(hashes) for hashes in rows])
    everything = np.concatenate(rows) if rows else known[:0]
    distinct, which = np.unique(everything, return_inverse=True)
    common = np.isin(distinct, known, assume_unique=True)
    affected = np.unique(owner[common[which]])
    return Overlap(equal, int(common.sum()), len(distinct), tuple(scored.documents[d].name for d in affected))


def refuse_contained(scored: Sequence[tuple[str, str]], reference: Sequence[tuple[str, str]]) -> None:
    """Refuses a reference in which a scored document stands word for word, or the other way about.

    Args:
        scored, reference: (name, content); of token ids `ids_text` gives the content.

    Raises:
        TaskError: names both documents.
    """
    for inner, outer in ((scored, reference), (reference, scored)):
        together = "\0".join(content for _, content in outer)  # one search a document; the pair is looked up when found
        for name, content in inner:
            if content not in together:
                continue
            for other, around in outer:
                if content == around:
                    raise TaskError(f"the reference overlaps what is scored: {name} equals {other}")
                if content in around:
                    raise TaskError(f"the reference overlaps what is scored: {name} stands word for word in {other}")


def ids_text(ids: Integer[np.ndarray, "length"]) -> str:
    """Token ids as a text of one character an id, so that one document is found within another by `in`."""
    return ids.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


def rows_of(examples: Examples) -> Iterable[Integer[np.ndarray, "_"]]:
    """The real tokens of each row but the first, which is BOS in most."""
    tokens, real = examples.tokens.numpy(), examples.real.numpy()
    return (row[keep][1:] for row, keep in zip(tokens, real, strict=True))


def _unique(parts: list[np.ndarray]) -> UInt64[np.ndarray, "_"]:
    return np.unique(np.concatenate(parts)) if parts else np.zeros(0, dtype=np.uint64)
