"""The data that a claim was found on, as a small file: hashes of its documents and 13-grams, for the leak check."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt64

from assay.errors import ClaimError
from assay.task.overlap import Overlap, ngram_hashes, rows_of
from assay.task.task import Examples

FORMAT, VERSION = "assay found_on", 1
MOST = 1 << 26  # bytes of 13-gram hashes that are read


@dataclass(frozen=True, eq=False)
class FoundOn:
    """What of the data is kept.

    Attributes:
        name: of the task; documents: their hashes; ngrams: sorted hashes of their distinct 13-grams.
    """

    name: str
    documents: tuple[str, ...]
    ngrams: UInt64[np.ndarray, "some"]

    def to_text(self) -> str:
        """The file's contents."""
        packed = base64.b64encode(zlib.compress(self.ngrams.astype("<u8").tobytes(), 6)).decode("ascii")
        head = {"format": FORMAT, "version": VERSION, "name": self.name}
        return json.dumps({**head, "documents": list(self.documents), "ngrams": packed}, indent=1) + "\n"


def found_on(examples: Examples, name: str) -> FoundOn:
    """What is kept of some data."""
    hashes = [] if examples.tokens.is_floating_point() else [ngram_hashes(row) for row in rows_of(examples)]
    ngrams = np.unique(np.concatenate(hashes)) if hashes else np.zeros(0, dtype=np.uint64)
    return FoundOn(name, tuple(document.hash for document in examples.documents), ngrams)


def read_found_on(path: str | Path) -> FoundOn | None:
    """What a claim's `found_on` names: a file of this form, or None where it is a description in words.

    Raises:
        ClaimError: for a file that ends in .json and is not of this form.
    """
    file = Path(path)
    if file.suffix != ".json" or not file.is_file():
        return None
    try:
        data: Any = json.loads(file.read_text(encoding="utf-8"))
        if data["format"] != FORMAT or data["version"] != VERSION:
            raise ValueError(f"it is of the form {data['format']!r}, version {data['version']!r}")
        raw = zlib.decompressobj().decompress(base64.b64decode(data["ngrams"], validate=True), MOST + 8)
        if len(raw) > MOST or len(raw) % 8:
            raise ValueError(f"its 13-grams are {len(raw):,} bytes, or more")
        ngrams = np.frombuffer(raw, dtype="<u8").astype(np.uint64)
        return FoundOn(str(data["name"]), tuple(str(one) for one in data["documents"]), ngrams)
    except (OSError, ValueError, KeyError, TypeError, zlib.error) as problem:
        raise ClaimError(f"the file {str(path)!r}, named by 'found_on', cannot be read: {problem}") from None


def shared_with(examples: Examples, found: FoundOn) -> Overlap:
    """What the scored examples share with the data that a claim was found on."""
    known = set(found.documents)
    equal = tuple((d.name, found.name) for d in examples.documents if d.hash in known)
    if examples.tokens.ndim != 2 or examples.tokens.is_floating_point():
        return Overlap(equal, 0, 0, ())
    hashes = [ngram_hashes(row) for row in rows_of(examples)]
    owner = np.repeat(examples.document, [len(row) for row in hashes])
    distinct, which = np.unique(np.concatenate(hashes), return_inverse=True)
    common = np.isin(distinct, found.ngrams, assume_unique=True)
    affected = np.unique(owner[common[which]])
    return Overlap(equal, int(common.sum()), len(distinct), tuple(examples.documents[d].name for d in affected))
