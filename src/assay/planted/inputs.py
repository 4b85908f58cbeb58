"""Where a planted network's inputs come from: rows of words with their answers, as examples and tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Int

from assay.errors import TaskError
from assay.stats.keyed import generator
from assay.task import bounds
from assay.task.examples import DocumentInfo, Examples, content_hash, fields_of
from assay.task.metrics import metric_of
from assay.task.task import Task

DataSplit = Literal["scored", "reference"]
TRIES = 50
REFERENCE_ROWS = 128


@dataclass(frozen=True)
class DrawnExample:
    """One example.

    Attributes:
        words: the row, the right answers in their columns.
        other: the row of its counterfactual, equally long.
        incorrect: a wrong answer, where the row has only one right one.
    """

    words: tuple[str, ...]
    other: tuple[str, ...]
    incorrect: str | None = None


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a planted network is run on.

    Attributes:
        name: keys the rows; words: the vocabulary, BOS first.
        draw: (random stream, split) -> an example; all rows are equally long.
        columns: where the answers stand: each is predicted from the column before it.
        alphabet: for each column the words that can stand there, in any split or counterfactual.
    """

    name: str
    words: tuple[str, ...]
    draw: Callable[[np.random.Generator, DataSplit], DrawnExample]
    columns: tuple[int, ...]
    alphabet: tuple[tuple[str, ...], ...]

    def rows(
        self, n: int, seed: int = 0, split: DataSplit = "scored", seen: set[tuple[str, ...]] | None = None
    ) -> tuple[Int[np.ndarray, "n pos"], Int[np.ndarray, "n pos"], list[DrawnExample]]:
        """Ids of n different examples and of their counterfactuals; none of `seen`, to which they are added.

        Raises:
            TaskError: when there are not so many.
        """
        seen = set() if seen is None else seen
        ids = {word: i for i, word in enumerate(self.words)}
        drawn: list[DrawnExample] = []
        for row in range(n):
            for attempt in range(TRIES):
                example = self.draw(generator(seed, "planted", self.name, split, row, attempt), split)
                if example.words not in seen:
                    break
            else:
                raise TaskError(f"planted:{self.name} does not have {n} different {split} rows; take fewer")
            seen.add(example.words)
            drawn.append(example)
        tokens, others = ([[ids[w] for w in words] for words in side]
                          for side in ([d.words for d in drawn], [d.other for d in drawn]))  # fmt: skip
        return np.array(tokens, dtype=np.int64), np.array(others, dtype=np.int64), drawn

    def real(self, n: int) -> Bool[np.ndarray, "n pos"]:
        """What the model reads of each row: all but a last answer."""
        real = np.ones((n, len(self.alphabet)), dtype=bool)
        real[:, -1] = len(self.columns) > 1
        return real

    def task(self, tokenizer: Any, n: int, seed: int, *, reference: int, metric: str) -> Task:
        """See `CompiledWorld.task`."""
        if problem := bounds.problem("n", n, bounds.ROWS, " of a planted task"):
            raise TaskError(problem)
        seen: set[tuple[str, ...]] = set()
        scored = self._examples(*self.rows(n, seed, "scored", seen), "scored")
        other = self._examples(*self.rows(reference, seed, "reference", seen), "reference")
        return Task(
            kind="text" if scored.answers is None else "prompts",
            name=f"planted:{self.name}, {n} rows",
            metric=metric_of(metric, 1 if scored.answers is None else scored.answers.shape[1]),
            tokenizer=tokenizer,
            reference=other,
            aligned=True,
            notes={"seed": seed, "bos": True, "reference": "other rows, another random stream"},
            **fields_of(scored),
        )

    def _examples(self, tokens: np.ndarray, others: np.ndarray, drawn: list[DrawnExample], name: str) -> Examples:
        n = len(tokens)
        scored = np.zeros(tokens.shape, dtype=bool)
        scored[:, list(self.columns)] = True
        answers = None
        if len(self.columns) == 1:
            ids = {word: i for i, word in enumerate(self.words)}
            both = [[row[self.columns[0]], ids[d.incorrect]] for row, d in zip(tokens, drawn, strict=True)
                    if d.incorrect is not None]  # fmt: skip
            answers = torch.tensor(both)
        return Examples(
            tokens=torch.from_numpy(tokens),
            scored=torch.from_numpy(scored),
            real=torch.from_numpy(self.real(n)),
            document=np.arange(n),
            offset=np.zeros(n, dtype=np.int64),
            documents=tuple(DocumentInfo(f"{name}[{i}]", self.name, content_hash(row)) for i, row in enumerate(tokens)),
            counterfactual=torch.from_numpy(others),
            answers=answers,
        )
