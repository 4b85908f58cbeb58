"""What two sets of examples share: whole documents, one within another, and runs of 13 tokens. For the refusal of a
reference that overlaps what is scored, and for the leak check."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Integer, UInt64

from assay.errors import TaskError

if TYPE_CHECKING:
    from assay.task.documents import Document
    from assay.task.examples import Examples

ORDER = 13
HALF = 0.5  # of a scored document's 13-grams in the reference: refused
LEAST = 32  # 13-grams of a document for which that is asked
PROBES = 8  # runs of a text's characters that are looked up before all of it is
CHUNK = 1 << 20  # characters that are hashed at once
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
    scored: Iterable[Integer[np.ndarray, "_"]], reference: Iterable[Integer[np.ndarray, "_"]]
) -> list[tuple[int, int]]:
    """For each scored sequence how many of its distinct 13-grams occur anywhere in the reference, and how many it
    has."""
    known = _unique([ngram_hashes(row, ORDER) for row in reference])
    distinct = [np.unique(ngram_hashes(row, ORDER)) for row in scored]
    return [(int(_among(known, hashes).sum()), len(hashes)) for hashes in distinct]


@dataclass(frozen=True)
class Common:
    """What some examples share with known 13-grams.

    Attributes:
        shared, total, affected: as in `Overlap`.
        whole: [rows] whether every 13-gram of the row, and at least one, is known.
    """

    shared: int
    total: int
    affected: tuple[str, ...]
    whole: Bool[np.ndarray, "rows"]


def in_common(scored: Examples, known: UInt64[np.ndarray, "_"]) -> Common:
    """What the scored examples share with sorted hashes of 13-grams; nothing where they are not tokens."""
    count = len(scored.document)
    if scored.tokens.ndim != 2 or scored.tokens.is_floating_point():
        return Common(0, 0, (), np.zeros(count, dtype=bool))
    rows = [ngram_hashes(row) for row in rows_of(scored)]
    sizes = np.array([len(hashes) for hashes in rows], dtype=np.int64)
    distinct, which = np.unique(np.concatenate(rows) if rows else known[:0], return_inverse=True)
    common = _among(known, distinct)
    row = np.repeat(np.arange(count), sizes)[common[which]]
    return Common(
        int(common.sum()),
        len(distinct),
        tuple(scored.documents[d].name for d in np.unique(scored.document[row])),
        (np.bincount(row, minlength=count) == sizes) & (sizes > 0),
    )


def overlap(scored: Examples, reference: Examples | None) -> Overlap:
    """What the reference shares with what is scored; for inputs that are not tokens, whole documents only."""
    if reference is None:
        return Overlap((), 0, 0, ())
    by_hash = {document.hash: document.name for document in reference.documents}
    equal = tuple((d.name, by_hash[d.hash]) for d in scored.documents if d.hash in by_hash)
    tokens = reference.tokens.ndim == 2 and not reference.tokens.is_floating_point()
    common = in_common(scored, _unique([ngram_hashes(row) for row in rows_of(reference)] if tokens else []))
    return Overlap(equal, common.shared, common.total, common.affected)


def refuse_contained(scored: Sequence[tuple[str, str]], reference: Sequence[tuple[str, str]]) -> None:
    """Refuses a reference in which a scored document stands word for word, or the other way about.

    Args:
        scored, reference: (name, content); of a text `plain` gives the content, of token ids `ids_text`.

    Raises:
        TaskError: names both documents.
    """
    for inner, outer in ((scored, reference), (reference, scored)):
        for index in contained([content for _, content in inner], [content for _, content in outer]):
            name, content = inner[index]
            other, around = next(one for one in outer if content in one[1])
            how = "equals" if content == around else "stands word for word in"
            raise TaskError(f"the reference overlaps what is scored: {name} {how} {other}")


def refuse_half(scored: Sequence[Document], reference: Sequence[Document]) -> None:
    """Refuses a reference that holds half of a scored document's runs of 13 tokens, or more.

    Documents of fewer than `LEAST` of them are left alone: short texts made from one template share half of their
    tokens by design.

    Raises:
        TaskError: names the document and the share.
    """
    both = shared_13grams([d.tokens for d in scored], [d.tokens for d in reference])
    for document, (shared, total) in zip(scored, both, strict=True):
        if total >= LEAST and shared >= HALF * total:
            raise TaskError(
                f"the reference overlaps what is scored: {100 * shared // total} % of the runs of {ORDER} tokens of "
                f"{document.name} stand in it"
            )


def contained(inner: Sequence[str], outer: Sequence[str]) -> Iterator[int]:
    """Which of some texts stand word for word in one of others.

    A few runs of characters of each are looked up in one pass over the others, so that only what is nearly always
    there is searched for as a whole: the time is linear in the length of both.
    """
    probes = [_probes(text) for text in inner]
    wanted = _unique(probes)
    together = "\0".join(outer)  # a text has no such character, and an id of 0 is no seam: each pair is looked up
    seen = np.zeros(len(wanted), dtype=bool)
    for begin in range(0, len(together) if len(wanted) else 0, CHUNK):
        hashes = ngram_hashes(_characters(together[begin : begin + CHUNK + ORDER - 1]))
        at = np.searchsorted(wanted, hashes).clip(max=len(wanted) - 1)
        seen[at[wanted[at] == hashes]] = True
    for index, (text, hashes) in enumerate(zip(inner, probes, strict=True)):
        if (
            text
            and seen[np.searchsorted(wanted, hashes)].all()
            and text in together
            and any(text in one for one in outer)
        ):
            yield index


def plain(text: str) -> str:
    """A text with single spaces for whatever stands between its words, so that other line breaks are no difference."""
    return " ".join(text.split())


def ids_text(ids: Integer[np.ndarray, "length"]) -> str:
    """Token ids as a text of one character an id, so that one document is found within another by `in`."""
    return ids.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


def rows_of(examples: Examples) -> Iterable[Integer[np.ndarray, "_"]]:
    """The real tokens of each row but the first, which is BOS in most."""
    tokens, real = examples.tokens.numpy(), examples.real.numpy()
    return (row[keep][1:] for row, keep in zip(tokens, real, strict=True))


def _probes(text: str) -> UInt64[np.ndarray, "_"]:
    """Hashes of runs of characters spread over a text."""
    places = np.unique(np.linspace(0, len(text) - ORDER, PROBES).astype(int)) if len(text) >= ORDER else ()
    return _unique([ngram_hashes(_characters(text[place : place + ORDER])) for place in places])


def _characters(text: str) -> Integer[np.ndarray, "length"]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _among(known: UInt64[np.ndarray, "_"], hashes: UInt64[np.ndarray, "some"]) -> Bool[np.ndarray, "some"]:
    """Which of some hashes are among sorted ones, without sorting these again."""
    if not len(known):
        return np.zeros(len(hashes), dtype=bool)
    return known[np.searchsorted(known, hashes).clip(max=len(known) - 1)] == hashes


def _unique(parts: list[np.ndarray]) -> UInt64[np.ndarray, "_"]:
    return np.unique(np.concatenate(parts)) if parts else np.zeros(0, dtype=np.uint64)
