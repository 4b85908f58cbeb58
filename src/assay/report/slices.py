"""Where an explanation fails: takes a record's slices, gives their names in words and the one that stands out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from assay.record.measurement import MeasurementRecord
from assay.record.residual import Slice
from assay.report import words
from assay.report.plain import plain_text

PARTITIONS = {
    "repeat": "earlier in the window",
    "token_class": "token class",
    "frequency": "frequency in the reference",
    "source": "source",
    "position": "position",
}
WORST_ONLY = {"document": "document", "token": "token"}  # those with the largest share of the KL, no partitions
_PHRASES = {
    "after the same token before": "tokens that follow the same token as before in the window",
    "elsewhere in the window before": "tokens that stood earlier in the window after another token",
    "new in the window": "tokens that are new in the window",
    "word start": "tokens that begin a word",
    "continuation": "tokens inside a word",
    "digit": "digits",
    "punctuation": "punctuation",
    "whitespace": "white space",
    "newline": "line breaks",
    "frequent": "tokens that are frequent in the reference",
    "middle": "tokens of middling frequency in the reference",
    "rare": "tokens that are rare in the reference",
    "unseen": "tokens that the reference does not have",
}
_LEAST = 0.03  # of the KL that a slice must hold beyond its share of the tokens to stand out
_FEWEST = 20  # tokens


@dataclass(frozen=True)
class Telling:
    """A slice that holds more of the KL than its share of the tokens.

    Attributes:
        by, name: its partition and its name there; tokens, share: its shares of the tokens and of the KL.
        kl, elsewhere: KL of its tokens and of all others, nats a token.
    """

    by: str
    name: str
    tokens: float
    share: float
    kl: float
    elsewhere: float


def phrase(by: str, name: str, item: str = "token") -> str:
    """The tokens of a slice in words.

    Example:
        >>> phrase("token_class", "word start"), phrase("source", "en"), phrase("position", "4–7")
        ('tokens that begin a word', 'tokens of “en”', 'tokens at positions 4–7')
    """
    if by == "position":
        return f"{item}s at position{'s' * ('–' in name)} {plain_text(name)}"
    return _PHRASES.get(name) or f"{item}s of “{plain_text(name)}”"


def telling(record: MeasurementRecord) -> Telling | None:
    """The slice that stands out most: its share of the KL is furthest above that of the tokens, and the lower end of
    its KL is above the KL elsewhere. Positions, which say least, only where no other one stands out; else None."""
    found = [one for by in PARTITIONS for one in _candidates(by, record.residual.slices.get(by, ()))]
    return max(found, key=lambda one: (one.by != "position", one.share - one.tokens), default=None)


def _candidates(by: str, rows: Sequence[Slice]) -> list[Telling]:
    known = [row for row in rows if row.kl.value is not None and row.share is not None]
    tokens = sum(row.tokens for row in known)
    total = sum(row.tokens * (row.kl.value or 0.0) for row in known)
    found = []
    for row in known:
        kl, share = row.kl.value or 0.0, row.share or 0.0
        if not _FEWEST <= row.tokens < tokens or share - row.tokens / tokens < _LEAST:
            continue
        elsewhere = max(0.0, total - row.tokens * kl) / (tokens - row.tokens)
        if row.kl.low is not None and row.kl.low > elsewhere:
            found.append(Telling(by, row.slice, row.tokens / tokens, share, kl, elsewhere))
    return found


def telling_line(record: MeasurementRecord) -> str:
    """The same in words."""
    found, item = telling(record), words.item(record)
    if found is None:
        return "No slice stands out" if any(record.residual.slices.get(by) for by in PARTITIONS) else ""
    kl, elsewhere = (words.value_text(x, 3) for x in (found.kl, found.elsewhere))
    what = "the KL" if record.removal else "the KL that is left"
    return (
        f"{words.number(100 * found.share, 0)} % of {what} falls on {phrase(found.by, found.name, item)}, "
        f"which are {words.number(100 * found.tokens, 0)} % of all ({kl} nats each against {elsewhere} elsewhere)"
    )
