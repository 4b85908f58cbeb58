"""What a high-level model sees of a row, and the words that expressions ask it with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.errors import ClaimError, TaskError, nearest

if TYPE_CHECKING:
    from assay.task.task import Task


@dataclass(frozen=True)
class Example:
    """A row of a task, as text; of a classifier, what it is given.

    Attributes:
        tokens: the texts of its tokens, the start-of-text token first, without padding.
        ids: their numbers; columns: named columns; source: its document's language or kind.
        inputs: of a classifier, [...]: its input.
    """

    tokens: tuple[str, ...]
    ids: tuple[int, ...]
    columns: Mapping[str, int]
    source: str
    inputs: np.ndarray | None = None

    def column(self, at: int | str) -> int:
        """The column of a number (negative: from the last token) or a name.

        Raises:
            TaskError: where the row has none.
        """
        if isinstance(at, str):
            if at not in self.columns:
                raise TaskError(f"the task has no column {at!r}" + nearest(at, self.columns))
            return self.columns[at]
        if isinstance(at, bool) or not isinstance(at, int):
            raise TaskError(f"a column is a number or a name, not {at!r}")
        if not -len(self.tokens) <= at < len(self.tokens):
            raise TaskError(f"there is no column {at}: the example has columns 0 to {len(self.tokens) - 1}")
        return at % len(self.tokens)


@dataclass(frozen=True)
class Word:
    """A function of an example that expressions may call."""

    run: Callable[..., Any]

    @cached_property
    def arguments(self) -> list[str]:
        return list(signature(self.run).parameters)[1:]

    def check(self, given: int, text: str) -> None:
        if given != len(self.arguments):
            takes = ", ".join(self.arguments) or "nothing"
            raise ClaimError(f"{text!r}: {self.run.__name__!r} takes {takes}, and {given} were given")

    def __call__(self, example: Example, *given: Any) -> Any:
        return self.run(example, *given)


def token(example: Example, at: int | str) -> str:
    """The text of the token in a column (a number, negative from the end, or a name that the task gives)."""
    return example.tokens[example.column(at)]


def count(example: Example, text: str) -> int:
    """How many tokens have this text."""
    return example.tokens.count(text)


def lowest(example: Example, text: str, other: str) -> int:
    """The least surplus of tokens of one text over those of another, of all beginnings of the example; at most 0."""
    height, least = 0, 0
    for token in example.tokens:
        height += (token == text) - (token == other)
        least = min(least, height)
    return least


def previous(example: Example, at: int | str) -> int | None:
    """The column of the last earlier occurrence of the token in a column; None where there is none."""
    here = example.column(at)
    found = [place for place in range(here) if example.ids[place] == example.ids[here]]
    return found[-1] if found else None


def after_previous(example: Example, at: int | str) -> str | None:
    """The token after the last earlier occurrence of the token in a column; None where there is none."""
    place = previous(example, at)
    return None if place is None else example.tokens[place + 1]


def class_of(example: Example, at: int | str) -> str:
    """The class of the token in a column: "digits", "capitalised", "letters", "space", "punctuation" or "other"."""
    text = token(example, at).strip()
    if not text:
        return "space"
    if text.isdigit():
        return "digits"
    if text.isalpha():
        return "capitalised" if text[:1].isupper() else "letters"
    return "punctuation" if not any(c.isalnum() for c in text) else "other"


def language(example: Example) -> str:
    """The language or kind of the document."""
    return example.source


def number(example: Example, at: int | str) -> int | None:
    """The number that the token in a column is; None where it is none."""
    text = token(example, at).strip()
    return int(text) if text.isdecimal() else None


def length(example: Example) -> int:
    """How many tokens the example has, the start-of-text token among them."""
    return len(example.tokens)


WORDS = {
    "token": Word(token),
    "count": Word(count),
    "lowest": Word(lowest),
    "previous": Word(previous),
    "after_previous": Word(after_previous),
    "class_of": Word(class_of),
    "language": Word(language),
    "number": Word(number),
    "length": Word(length),
}


def examples_of(task: Task) -> Sequence[Example]:
    """Every scored row, as a high-level model sees it."""
    sources = [task.documents[index].source for index in np.asarray(task.document)]
    if task.tokenizer is None:
        return [Example((), (), {}, source, row) for source, row in zip(sources, task.tokens.numpy(), strict=True)]
    texts: dict[int, str] = {}

    def text(token: int) -> str:
        if token not in texts:
            texts[token] = task.tokenizer.decode([token])
        return texts[token]

    out = []
    for row, ids in enumerate(task.tokens.tolist()):
        kept = tuple(ids[: int(task.last[row]) + 1])
        columns = {name: int(at[row]) for name, at in task.columns.items()}
        out.append(Example(tuple(map(text, kept)), kept, columns, sources[row]))
    return out
