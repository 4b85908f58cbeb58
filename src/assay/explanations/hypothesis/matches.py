"""Generated matches: inputs of a user's generator, for conditions that few rows of a task satisfy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assay.errors import ClaimError, TaskError
from assay.explanations.hypothesis.example import Example, examples_of
from assay.explanations.hypothesis.scrub import Graph
from assay.explanations.hypothesis.values import Generated, TaskValues, typed
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.kept import Kept
from assay.intervene.plan import Inputs
from assay.task.examples import Examples, take
from assay.task.task import Task

TRIED = 100  # inputs that are looked at for each that is wanted
# variables that are agreed on, whether data also have to agree in their columns, and the conditions whose data are
# readers, beside the task's rows: what agrees with them is drawn
Conditions = Sequence[tuple[tuple[str, ...], bool, frozenset[tuple[str, ...]]]]


@dataclass(frozen=True)
class Matches:
    """A user's generator of inputs that agree with a row.

    Attributes:
        make: called with an `Example` and the names of the variables that it must agree on; yields inputs, each a text
            (behind the start-of-text token, where rows begin with one) or all token ids, as long as the example; of a
            classifier an array like its input.
        least: how many others a datum is drawn from, at least, as far as the generator goes on.

    Raises:
        ClaimError: for what cannot be called, and for fewer than one.
    """

    make: Callable[[Example, tuple[str, ...]], Iterable[Any]]
    least: int = 1

    def __post_init__(self) -> None:
        if not callable(self.make):
            raise ClaimError(f"a generator of matches is a function of an example and of names, not {self.make!r}")
        if isinstance(self.least, bool) or not isinstance(self.least, int) or self.least < 1:
            raise ClaimError(f"a generator of matches is asked for at least 1 other input, not for {self.least!r}")

    @property
    def name(self) -> str:
        return getattr(self.make, "__name__", type(self.make).__name__)

    def given(self, example: Example, names: tuple[str, ...], where: str) -> Iterator[Any]:
        """What it yields for an example.

        Raises:
            TaskError: where it fails, or gives nothing that can be gone through.
        """
        try:
            yield from self.make(example, names)
        except Exception as problem:
            what = " ".join(f"{type(problem).__name__}: {problem}".split())
            raise TaskError(f"the generator of matches {self.name!r} fails for {where}: {what}") from problem


class MatchedValues(Kept[tuple[object, str], TaskValues]):
    """Values with generated inputs beside them, by the hypothesis and the task's fingerprint."""


def matched(workbench: PlanContext, graph: Graph, matches: Matches, claim: object) -> Graph:
    """The graph with inputs generated for every condition under which some datum has too few others; once for a claim.

    Raises:
        TaskError: for a generator that fails, and for an input that does not agree, is of another length, or no input.
    """

    def made() -> TaskValues:
        found = _Made(graph.values, workbench.task, matches)
        for names, layout, before in conditions_of(graph):
            found.ask(names, layout, before)
        return found.values

    key = claim, workbench.task.fingerprint
    return replace(graph, values=workbench.store.of(MatchedValues).once(key, made))


class _Made:
    """Inputs as they are generated, condition by condition."""

    def __init__(self, values: TaskValues, task: Task, matches: Matches):
        self._plain, self._task, self._matches = values, task, matches
        self._examples = list(examples_of(task))
        self._inputs: list[Tensor] = []
        self._rows: list[dict[str, Any]] = []
        self._of: list[int] = []
        self._wanted: dict[tuple[str, ...], list[int]] = {}
        self._asked = self._short = 0

    @property
    def values(self) -> TaskValues:
        if not self._asked:
            return self._plain
        of = np.array(self._of, dtype=np.int64)
        wanted = {names: np.array(some, dtype=np.int64) for names, some in self._wanted.items()}
        rows = np.concatenate([np.arange(len(self._task)), of])
        found = take(self._task, rows, np.arange(len(self._task.documents)))
        found["tokens"] = torch.cat([self._task.tokens, *(one.unsqueeze(0) for one in self._inputs)])
        beside = Generated(Inputs(Examples(**found)), tuple(self._rows), of, wanted, self._asked, self._short)
        return TaskValues(self._plain.model, self._plain.rows, self._plain.layout, beside)

    def ask(self, names: tuple[str, ...], layout: bool, before: Iterable[tuple[str, ...]]) -> None:
        """Generates what is lacking under one condition."""
        count, values = len(self._task), self.values
        codes = values.drawable(names, layout=layout)
        readers = [*range(count), *(count + made for other in before for made in self._wanted.get(other, ()))]
        others = codes.others(np.array(readers))
        lacking: dict[int, tuple[int, int]] = {}  # group -> a reader, and how many others it lacks
        for reader, there in zip(readers, others.tolist(), strict=True):
            group, more = int(codes.of[reader]), self._matches.least - there
            if more > lacking.get(group, (0, 0))[1]:
                lacking[group] = reader, more
        for reader, more in lacking.values():
            self._asked += 1
            self._short += self._one(names, reader, more) < more

    def _one(self, names: tuple[str, ...], reader: int, most: int) -> int:
        """Generates inputs that agree with one row; how many there were."""
        count = len(self._task)
        row = reader if reader < count else self._of[reader - count]
        wanted = self._plain.rows[row] if reader < count else self._rows[reader - count]
        example, found = self._examples[reader], 0
        known = {self._examples[reader].ids} if self._task.tokenizer is not None else set[tuple[int, ...]]()
        where = f"row {row} of the task {self._task.name!r}"
        for given in islice(self._matches.given(example, names, where), TRIED * most):
            tokens, one = self._read(given, row, where)
            if one.ids in known:
                continue
            try:
                its = self._plain.model.values(one)
            except TaskError as problem:
                raise TaskError(f"{self._said(given, where)}: {problem}") from None
            wrong = next((name for name in names if typed(its[name]) != typed(wanted[name])), None)
            if wrong is not None:
                raise TaskError(
                    f"{self._said(given, where)}, with which it does not agree: its {wrong!r} is {its[wrong]!r}, and "
                    f"not {wanted[wrong]!r}"
                )
            known |= {one.ids} if self._task.tokenizer is not None else set()
            self._wanted.setdefault(names, []).append(len(self._of))
            self._inputs.append(tokens)
            self._rows.append(its)
            self._of.append(row)
            self._examples.append(one)
            found += 1
            if found == most:
                break
        return found

    def _said(self, given: Any, where: str) -> str:
        text = " ".join(repr(given).split())
        return f"the generator of matches {self._matches.name!r} gives {text[:80]}{'…' * (len(text) > 80)} for {where}"

    def _read(self, given: Any, row: int, where: str) -> tuple[Tensor, Example]:
        """An input as the model reads it, and as a high-level model does.

        Raises:
            TaskError: for what is no input, and one of another length.
        """
        task, own = self._task, self._examples[row]
        if task.tokenizer is None:
            try:
                found = torch.as_tensor(np.asarray(given)).to(task.tokens.dtype)
            except (TypeError, ValueError):
                raise TaskError(f"{self._said(given, where)}, which is no input") from None
            if found.shape != task.tokens[row].shape:
                shapes = f"of shape {tuple(found.shape)}, and inputs are {tuple(task.tokens[row].shape)}"
                raise TaskError(f"{self._said(given, where)}, {shapes}")
            return found, Example((), (), {}, own.source, found.numpy())
        if isinstance(given, str):
            ids = task.tokenizer.encode(given, add_special_tokens=False)
            ids = [own.ids[0], *ids] if len(ids) == len(own.ids) - 1 else ids
        else:
            ids = given.tolist() if isinstance(given, Tensor | np.ndarray) else given
            vocab = len(task.tokenizer)
            whole = isinstance(ids, list | tuple) and all(isinstance(i, int) and not isinstance(i, bool) for i in ids)
            if not whole or not all(0 <= i < vocab for i in ids):
                raise TaskError(
                    f"{self._said(given, where)}, which is neither a text nor a list of token ids under {vocab}"
                )
        if len(ids) != len(own.ids):
            raise TaskError(f"{self._said(given, where)}, which is of {len(ids)} tokens, and the row of {len(own.ids)}")
        tokens = task.tokens[row].clone()
        tokens[: len(ids)] = torch.tensor(ids, dtype=tokens.dtype)
        texts = tuple(task.tokenizer.decode([token]) for token in ids)
        return tokens, Example(texts, tuple(ids), own.columns, own.source)


def conditions_of(graph: Graph) -> Conditions:
    """Every condition under which a scrubbed run draws data, those of a variable behind those of all that read it."""
    readers: dict[str, set[tuple[str, ...]]] = {}
    free: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    out: list[tuple[tuple[str, ...], bool, frozenset[tuple[str, ...]]]] = []
    for name in reversed(list(graph.values.model.variables)):
        own = set[tuple[str, ...]]()
        if name != graph.answer:
            if name not in readers:
                continue
            own = {(name,)}
            out.append(((name,), graph.whole(name), frozenset(readers[name])))
        for parent in graph.reads[name]:
            readers.setdefault(parent, set()).update(own)
        if graph.loose[name]:
            free.setdefault(graph.loose[name], set()).update(own)
    return (*out, *((names, True, frozenset(before)) for names, before in free.items()))
