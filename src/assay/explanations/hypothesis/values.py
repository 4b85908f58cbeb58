"""Values of a high-level model's variables on every row of a task, and rows that agree with others on some of them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int

from assay.errors import TaskError
from assay.explanations.hypothesis.example import Example, examples_of
from assay.explanations.hypothesis.graph import HighLevelModel
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.kept import Kept
from assay.task.task import Task

NOBODY = Example((), (), {}, "")  # of no row: the values of all variables that read the input are given
MANY = 10**9  # that more possibilities than so many are counted as


class Codes:
    """Rows sorted by what they agree on.

    Args:
        of: [rows] the same number for rows that agree, from 0 on, none left out.
    """

    def __init__(self, of: Int[np.ndarray, "rows"]):
        self.of = of
        self._members = np.argsort(of, kind="stable")
        _, self._start, self._size = np.unique(of[self._members], return_index=True, return_counts=True)
        self._place = np.empty(len(of), dtype=np.int64)
        self._place[self._members] = np.arange(len(of)) - np.repeat(self._start, self._size)

    def other(self, rows: Int[np.ndarray, "n"], random: np.random.Generator) -> Int[np.ndarray, "n"]:
        """For each of these rows another that agrees with it, at random; itself where it is the only one."""
        group, place = self.of[rows], self._place[rows]
        size = self._size[group]
        step = 1 + (random.random(len(rows)) * np.maximum(size - 1, 1)).astype(np.int64)
        return self._members[self._start[group] + np.where(size > 1, (place + step) % size, place)]

    def any(self, rows: Int[np.ndarray, "n"], random: np.random.Generator) -> Int[np.ndarray, "n"]:
        """For each of these rows any that agrees with it, itself too: the same for all rows that agree."""
        group = self.of[rows]
        return self._members[self._start[group] + (random.random(len(rows)) * self._size[group]).astype(np.int64)]

    @property
    def alone(self) -> float:
        """The share of rows that agree with no other."""
        return float(self._size[self._size == 1].sum() / len(self.of))


def coded(values: Sequence[Hashable]) -> Int[np.ndarray, "rows"]:
    """The same number for equal values, from 0 on."""
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(_typed(value), len(known)) for value in values], dtype=np.int64)


def _typed(value: Hashable) -> Hashable:
    """True is no 1, and 1 no 1.0: values agree where they are of one type."""
    return type(value), tuple(map(_typed, value)) if isinstance(value, tuple) else value


@dataclass(frozen=True, eq=False)
class TaskValues:
    """A high-level model's variables on all rows of a task.

    Attributes:
        rows: each row's values by variable; layout: [rows] the same number for rows whose columns mean the same.
    """

    model: HighLevelModel
    rows: tuple[dict[str, Hashable], ...]
    layout: Int[np.ndarray, "rows"]

    @classmethod
    def of(cls, model: HighLevelModel, task: Task) -> TaskValues:
        """The values.

        Raises:
            TaskError: at the first row for which a variable has none, with its number.
        """
        found: list[dict[str, Hashable]] = []
        for row, example in enumerate(examples_of(task)):
            try:
                found.append(model.values(example))
            except TaskError as problem:
                raise TaskError(f"{problem} (row {row} of the task {task.name!r})") from problem
        layouts = [(int(last), *(int(at[row]) for at in task.columns.values())) for row, last in enumerate(task.last)]
        return cls(model, tuple(found), coded(layouts))

    @cached_property
    def _codes(self) -> dict[str, Int[np.ndarray, "rows"]]:
        return {name: coded([row[name] for row in self.rows]) for name in self.model.variables}

    def codes(self, names: Sequence[str], *, layout: bool) -> Codes:
        """Rows by their values of these variables, of no variable all rows alike.

        Args:
            layout: whether rows also have to agree in their columns.
        """
        parts = [self._codes[name] for name in names] + ([self.layout] if layout else [])
        if not parts:
            return Codes(np.zeros(len(self.rows), dtype=np.int64))
        return Codes(np.unique(np.stack(parts), axis=1, return_inverse=True)[1].reshape(-1))

    def orders(self, names: Sequence[str]) -> int:
        """In how many other ways these variables' values can be put on the rows, each apart; at most `MANY`."""
        log = 0.0
        for name in names:
            log += math.lgamma(len(self.rows) + 1) - sum(math.lgamma(n + 1) for n in np.bincount(self._codes[name]))
        return MANY if log > math.log(MANY) else round(math.exp(log)) - 1

    def permuted(self, name: str, random: np.random.Generator) -> TaskValues:
        """The same with one variable's values put on other rows; what depends on it is left."""
        order = random.permutation(len(self.rows))
        rows = tuple({**row, name: self.rows[other][name]} for row, other in zip(self.rows, order, strict=True))
        return TaskValues(self.model, rows, self.layout)

    def answer(self, row: int, sources: Mapping[str, int]) -> Hashable:
        """What the model answers of a row in which these variables are what they are in other rows.

        What depends on none of them stays the row's; where it depends on one it is computed.
        """
        model, base = self.model, self.rows[row]
        behind = model.behind(*sources)
        given = {name: value for name, value in base.items() if name not in behind}
        return model.values(NOBODY, given | {name: self.rows[at][name] for name, at in sources.items()})[model.answer]

    def merged(self, name: str, by: int = 0) -> TaskValues:
        """The same where values of one variable are not told apart: of so many in the order in which they occur, or of
        all; what depends on it is left."""
        codes = self._codes[name] // by if by else np.zeros(len(self.rows), dtype=np.int64)
        rows = tuple({**row, name: int(code)} for row, code in zip(self.rows, codes, strict=True))
        return TaskValues(self.model, rows, self.layout)

    def different(self, name: str) -> int:
        """How many values a variable has."""
        return int(self._codes[name].max()) + 1


class KnownValues(Kept[tuple[int, str], TaskValues]):
    """Values of high-level models on tasks, by the model's identity and the task's fingerprint."""


def values_of(workbench: PlanContext, model: HighLevelModel) -> TaskValues:
    """The model's values on the workbench's task; they are computed once."""
    key = id(model), workbench.task.fingerprint
    found = workbench.store.of(KnownValues).once(key, lambda: TaskValues.of(model, workbench.task))
    return found if found.model is model else TaskValues.of(model, workbench.task)  # an id that was used before
