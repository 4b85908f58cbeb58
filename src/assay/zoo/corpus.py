"""The text that the built-in models were trained and are tested on: novels and Python's library, and TinyStories.

Three splits: `train`, `test` (the tails of the training novels, and library modules held out by name) and `unseen`
(works of which nothing was trained on). A row is one work: a novel or one Python module.
"""

from __future__ import annotations

import bz2
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from assay.zoo.spec import NOVEL, SPLITS

FOLDER = Path(__file__).parent / "novel"


@dataclass(frozen=True)
class Work:
    """One work of the corpus, or the part of it that lies in a split."""

    name: str
    source: str  # "en", "fr" or "python"
    text: str


@cache
def works(split: str) -> tuple[Work, ...]:
    """The works of a split ("train", "test" or "unseen"), in a fixed order.

    Raises:
        KeyError: for a split that the corpus does not have.
    """
    if split not in SPLITS[NOVEL]:
        raise KeyError(split)
    with bz2.open(FOLDER / f"{split}.jsonl.bz2", "rt", encoding="utf-8") as lines:
        return tuple(Work(**json.loads(line)) for line in lines)


STORIES = Path(__file__).parent / "stories"
STORY_SPLITS = {"train": "train", "test": "valid", "valid": "valid"}
OPENING = "Once upon a time"


@cache
def stories(split: str) -> tuple[Work, ...]:
    """The stories of an excerpt of TinyStories ("train", or "test" for its validation part), one work each.

    Story boundaries are not marked in the source: a story begins at each "Once upon a time" and is stripped.

    Raises:
        KeyError: for another split.
    """
    part = STORY_SPLITS[split]
    with bz2.open(STORIES / f"{part}.txt.bz2", "rt", encoding="utf-8") as file:
        pieces = (piece.strip() for piece in re.split(f"(?={OPENING})", file.read()))
    texts = [piece for piece in pieces if piece]
    return tuple(Work(f"stories/{part}#{index}", "en", text) for index, text in enumerate(texts))
