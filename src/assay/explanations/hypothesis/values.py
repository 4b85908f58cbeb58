"""Values of a high-level model's variables on every row of a task, and rows that agree with others on some of them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Int

from assay.errors import TaskError
from assay.explanations.hypothesis.example import Example, examples_of
from assay.explanations.hypothesis.graph import HighLevelModel
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.kept import Kept
from assay.intervene.plan import Data, Inputs
from assay.task.task import Task

NOBODY = Example((), (), {}, "")  # of no row: the values of all variables that read the input are given
MANY = 10**9  # that more possibilities than so many are counted as


class Codes:
    """Rows sorted by what they agree on.

    Args:
        of: [rows] the same number for rows that agree, from 0 on, none left out.
        drawn: the rows that may be drawn; None: all.
    """

    def __init__(self, of: Int[np.ndarray, "rows"], drawn: Int[np.ndarray, "some"] | None = None):
        self.of = of
        able = np.arange(len(of)) if drawn is None else drawn
        self._members = able[np.argsort(of[able], kind="stable")]
        self._size = np.bincount(of[able], minlength=int(of.max()) + 1)
        self._start = np.cumsum(self._size) - self._size
        self._place = np.full(len(of), -1)
        self._place[self._members] = np.arange(len(able)) - np.repeat(self._start, self._size)

    def other(self, rows: Int[np.ndarray, "n"], random: np.random.Generator) -> Int[np.ndarray, "n"]:
        """For each of these rows another that agrees with it, at random; itself where there is no other."""
        group, place, left = self.of[rows], self._place[rows], self.others(rows)
        own = place >= 0
        step = own + (random.random(len(rows)) * np.maximum(left, 1)).astype(np.int64)
        at = self._start[group] + (np.where(own, place, 0) + step) % np.maximum(self._size[group], 1)
        return np.where(left > 0, self._members[np.minimum(at, len(self._members) - 1)], rows)

    def others(self, rows: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        """How many others may be drawn that agree with each of these rows."""
        return self._size[self.of[rows]] - (self._place[rows] >= 0)

    def any(self, rows: Int[np.ndarray, "n"], random: np.random.Generator) -> Int[np.ndarray, "n"]:
        """For each of these rows any that agrees with it, itself too: the same for all rows that agree."""
        group = self.of[rows]
        return self._members[self._start[group] + (random.random(len(rows)) * self._size[group]).astype(np.int64)]

    def pool(self, most: int, random: np.random.Generator) -> Codes:
        """The same of which at most so many rows may be drawn, but two of all that agree with each other: of each group
        its share, at random."""
        mixed = self._members[random.permutation(len(self._members))]
        mixed = mixed[np.argsort(self.of[mixed], kind="stable")]  # each group in an order of chance
        share = np.maximum(np.minimum(self._size, 2), most * self._size // max(len(mixed), 1))
        place = np.arange(len(mixed)) - np.repeat(self._start, self._size)
        return Codes(self.of, mixed[place < np.repeat(share, self._size)])

    @property
    def size(self) -> int:
        """How many rows may be drawn."""
        return len(self._members)


def coded(values: Sequence[Hashable]) -> Int[np.ndarray, "rows"]:
    """The same number for equal values, from 0 on."""
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(typed(value), len(known)) for value in values], dtype=np.int64)


def typed(value: Hashable) -> Hashable:
    """True is no 1, and 1 no 1.0: values agree where they are of one type."""
    return type(value), tuple(map(typed, value)) if isinstance(value, tuple) else value


@dataclass(frozen=True, eq=False)
class Generated:
    """Inputs that were generated for conditions that few rows of a task satisfy (`matches`).

    Attributes:
        inputs: the task's rows, and behind them what was generated; rows: values of each of these by variable.
        of: the row that each was generated for, as which it is laid out.
        wanted: the variables of a condition -> which of them were generated for it; asked: of how many groups of rows.
        short: how many of these groups still have too few.
    """

    inputs: Inputs
    rows: tuple[dict[str, Hashable], ...]
    of: Int[np.ndarray, "made"]
    wanted: Mapping[tuple[str, ...], Int[np.ndarray, "some"]]
    asked: int
    short: int

    @property
    def counts(self) -> dict[str, int]:
        """How many were generated, by the variables of the condition."""
        return {" and ".join(names): len(some) for names, some in self.wanted.items()}


@dataclass(frozen=True, eq=False)
class TaskValues:
    """A high-level model's variables on all rows of a task.

    Attributes:
        rows: each row's values by variable; layout: [rows] the same number for rows whose columns mean the same.
        beside: inputs that were generated for conditions that few rows satisfy.
    """

    model: HighLevelModel
    rows: tuple[dict[str, Hashable], ...]
    layout: Int[np.ndarray, "rows"]
    beside: Generated | None = None

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

    @property
    def data(self) -> Data:
        """What rows are numbers of: the task's, or those and behind them what was generated."""
        return "scored" if self.beside is None else self.beside.inputs

    @cached_property
    def _codes(self) -> dict[str, Int[np.ndarray, "rows"]]:
        return {name: coded([row[name] for row in self.rows]) for name in self.model.variables}

    @cached_property
    def _every(self) -> TaskValues:
        """The same with what was generated as rows of its own."""
        if self.beside is None:
            return self
        layout = np.concatenate([self.layout, self.layout[self.beside.of]])
        return TaskValues(self.model, (*self.rows, *self.beside.rows), layout)

    def codes(self, names: Sequence[str], *, layout: bool) -> Codes:
        """Rows by their values of these variables, of no variable all rows alike.

        Args:
            layout: whether rows also have to agree in their columns.
        """
        parts = [self._codes[name] for name in names] + ([self.layout] if layout else [])
        if not parts:
            return Codes(np.zeros(len(self.rows), dtype=np.int64))
        return Codes(np.unique(np.stack(parts), axis=1, return_inverse=True)[1].reshape(-1))

    def drawable(self, names: Sequence[str], *, layout: bool) -> Codes:
        """The same of all data that a scrubbed run may take: drawn are the task's rows, and what was generated for just
        these variables."""
        if self.beside is None:
            return self.codes(names, layout=layout)
        found = self._every.codes(names, layout=layout)
        made = len(self.rows) + self.beside.wanted.get(tuple(names), np.zeros(0, dtype=np.int64))
        return Codes(found.of, np.concatenate([np.arange(len(self.rows)), made]))

    def orders(self, names: Sequence[str]) -> int:
        """In how many other ways these variables' values can be put on the rows, each apart; at most `MANY`."""
        log = 0.0
        for name in names:
            log += math.lgamma(len(self.rows) + 1) - sum(math.lgamma(n + 1) for n in np.bincount(self._codes[name]))
        return MANY if log > math.log(MANY) else round(math.exp(log)) - 1

    def permuted(self, name: str, random: np.random.Generator, within: Sequence[str] = ()) -> TaskValues:
        """The same with one variable's values put on other rows, which agree on the variables `within`; what depends on
        it is left."""
        order = random.permutation(len(self.rows))
        if within:
            group, drawn = self.codes(within, layout=False).of, order
            order = np.empty_like(drawn)
            order[np.argsort(group, kind="stable")] = np.lexsort((drawn, group))
        rows = tuple({**row, name: self.rows[other][name]} for row, other in zip(self.rows, order, strict=True))
        return replace(self, rows=rows)

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
        codes = self._every._codes[name]
        codes = codes // by if by else np.zeros_like(codes)
        rows = tuple({**row, name: int(code)} for row, code in zip(self._every.rows, codes, strict=True))
        count = len(self.rows)
        beside = None if self.beside is None else replace(self.beside, rows=rows[count:])
        return replace(self, rows=rows[:count], beside=beside)

    def numbers(self, name: str) -> Int[np.ndarray, "rows"]:
        """Each row's value of a variable as a number, from 0 on, in the order in which values occur."""
        return self._codes[name]

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
