"""Text files, one document each, as strangers may have written them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from assay.errors import TaskError
from assay.store import inputs

LARGEST = 1 << 24  # bytes of a document
TOGETHER = 1 << 26  # bytes of all of them


def read_documents(files: Sequence[str], where: Callable[[int], str] = lambda index: "") -> list[str]:
    """The text of each file.

    Args:
        where: a message about file `index` begins with this.

    Raises:
        TaskError: for a file that is not there, not a regular one, not UTF-8 text, or too large.
    """
    texts, size = [], 0
    for index, file in enumerate(files):
        texts.append(inputs.read_text(file, f"{where(index)}the file", TaskError, most=LARGEST))
        size += len(texts[-1])
        if size > TOGETHER:
            raise TaskError(
                f"{where(index)}the first {index + 1:,} text files have {size:,} characters, and at most {TOGETHER:,} "
                "are read together"
            )
    return texts
