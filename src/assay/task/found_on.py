"""The data that a claim was found on, for the leak check: hashes of its documents and 13-grams, which a search writes
as a small file, or those of a file of the documents themselves."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt64

from assay.errors import ClaimError
from assay.store import inputs
from assay.task.encode import bos_of, encode, read_back
from assay.task.examples import Examples, content_hash
from assay.task.overlap import ORDER, Overlap, contained, in_common, ngram_hashes, rows_of
from assay.task.prompts import parse
from assay.task.prompts import rows_of as rows_as_examples
from assay.task.row_files import ROWS, file_rows
from assay.task.text_files import LARGEST as LARGEST_TEXT

FORMAT, VERSION = "assay found_on", 1
FILE = "the 'found_on' file"
MOST = 1 << 26  # bytes of 13-gram hashes that are read
LARGEST = 1 << 27  # bytes of a file
FILES = (*ROWS, ".json", ".txt")  # what a single word ends in that is meant as a file's name


@dataclass(frozen=True, eq=False)
class FoundOn:
    """What of the data is kept.

    Attributes:
        name: the task's; documents: their hashes; ngrams: sorted hashes of their distinct 13-grams.
        texts: as `read_back` gives them, of a file of texts; a search's file has none.
    """

    name: str
    documents: tuple[str, ...]
    ngrams: UInt64[np.ndarray, "some"]
    texts: tuple[str, ...] = ()

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


def read_found_on(given: str, model: Any) -> FoundOn | None:
    """What a claim's `found_on` names, or None where it is a description in words, which nothing can be compared with.

    A file is what a search wrote (.json), prompts or documents with a field "text" (.csv, .tsv, .jsonl, .ndjson), or
    else the text of one document.

    Raises:
        ClaimError: for a file that is none of these, and for a file's name where there is none.
        TaskError: for prompts that cannot be read.
    """
    path = inputs.place(given)
    if not inputs.is_file(path):
        if inputs.suffix(path) in FILES and not any(letter.isspace() or letter == "\0" for letter in given):
            there = "is not there" if inputs.is_absent(path) else "is no regular file"
            raise ClaimError(f"{FILE} {inputs.shown(given)} {there}; give another, or say in words what it was")
        return None  # a description, however long
    try:
        if path.suffix == ".json":
            return _searched(path)
        if getattr(model, "tokenizer", None) is None:
            return None
        if inputs.suffix(path) in ROWS:
            rows = list(file_rows(path, "prompts or texts"))
            if not all(isinstance(row, dict) and isinstance(row.get("text"), str) for _, row in rows):
                return _prompts(given, model)
            return _texts(given, model, [row["text"] for _, row in rows])
        return _texts(given, model, [inputs.read_text(path, FILE, ClaimError, most=LARGEST_TEXT)])
    except (ValueError, KeyError, TypeError, zlib.error) as problem:
        raise ClaimError(f"{FILE} {inputs.shown(given)} cannot be read: {problem}") from None


def _searched(path: Path) -> FoundOn:
    data: Any = inputs.read_json(path, FILE, ClaimError, most=LARGEST)
    if data["format"] != FORMAT or data["version"] != VERSION:
        raise ValueError(f"it is of the form {data['format']!r}, version {data['version']!r}")
    raw = zlib.decompressobj().decompress(base64.b64decode(data["ngrams"], validate=True), MOST + 8)
    if len(raw) > MOST or len(raw) % 8:
        raise ValueError(f"its 13-grams are {len(raw):,} bytes, or more")
    ngrams = np.unique(np.frombuffer(raw, dtype="<u8").astype(np.uint64))
    return FoundOn(str(data["name"]), tuple(str(one) for one in data["documents"]), ngrams)


def _texts(name: str, model: Any, texts: Sequence[str]) -> FoundOn:
    rows = encode(model, texts)
    hashes = [ngram_hashes(row) for row in rows]
    ngrams = np.unique(np.concatenate(hashes)) if hashes else np.zeros(0, dtype=np.uint64)
    texts = tuple(read_back(model.tokenizer, row) for row in rows)
    return FoundOn(name, tuple(content_hash(row) for row in rows), ngrams, texts)


def _prompts(name: str, model: Any) -> FoundOn:
    start = bos_of(model, "auto")
    prompts, _ = parse(model, name, start)
    width = max(len(prompt.clean) for prompt in prompts) + 1
    return found_on(rows_as_examples(prompts, width, model, start)[0], name)


def shared_with(examples: Examples, found: FoundOn) -> Overlap:
    """What the scored examples share with the data that a claim was found on.

    A document is shared that is one of the data's, or whose rows all stand in it: by every 13-gram, or word for word
    whatever the line breaks.
    """
    common = in_common(examples, found.ngrams)
    inside = common.whole | _read_in(examples, found.texts)
    apart = set(examples.document[~inside].tolist())
    known = set(found.documents)
    shared = tuple((d.name, found.name) for i, d in enumerate(examples.documents) if d.hash in known or i not in apart)
    return Overlap(shared, common.shared, common.total, common.affected)


def _read_in(examples: Examples, texts: Sequence[str]) -> Bool[np.ndarray, "rows"]:
    """Which rows stand word for word in one of some texts; one of under 13 tokens only as whole words."""
    rows = np.zeros(len(examples), dtype=bool)
    tokenizer = getattr(examples, "tokenizer", None)
    if tokenizer is None or not texts:
        return rows
    real = [row[keep] for row, keep in zip(examples.tokens.numpy(), examples.real.numpy(), strict=True)]
    content = [read_back(tokenizer, ids) for ids in real]
    for row in contained(content, texts):
        short = re.compile(rf"(?<!\w){re.escape(content[row])}(?!\w)") if len(real[row]) <= ORDER else None
        rows[row] = short is None or any(short.search(text) for text in texts)
    return rows
