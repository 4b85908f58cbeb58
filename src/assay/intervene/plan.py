"""Plans: an explanation and an ablation made concrete. Which runs it takes, and where every edited value comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.errors import ComponentError
from assay.model.edge_sets import EdgeSet
from assay.names import Site
from assay.task.examples import Examples


@dataclass(frozen=True, eq=False)
class Inputs:
    """Rows that are no part of a task, such as generated ones; where they lie behind the scored rows, those keep their
    numbers."""

    examples: Examples


Data = Literal["scored", "reference", "counterfactual"] | Inputs


@runtime_checkable
class Batch(Protocol):
    """What a called program sees of the micro-batch that is being run."""

    tokens: Int[Tensor, "batch pos"]
    rows: Int[np.ndarray, "batch"]
    data: Data

    def read(self, site: Site) -> Tensor:
        """The value of a site that the `Call` said it reads, in this very run, which computes it no later than what the
        program stands for."""
        ...


@dataclass(frozen=True)
class Own:
    """The site's own value in this run: a no-op edit, which measures the meter's noise."""


@dataclass(frozen=True, eq=False)
class Value:
    """A constant that broadcasts to [batch, pos, *site]; usually [pos, width]."""

    tensor: Tensor


@dataclass(frozen=True, eq=False)
class From:
    """The value of a site in another run of the plan, which may itself be edited.

    Attributes:
        run: the name of the run that the value is taken from.
        rows: for each row of this run's data the row of that run's data; None: the same row.
        site: the site to read there; None: the edited site itself.
        aligned: the column that the edited site's position names is looked up in the row that gives the value, and not
            in the one that takes it: the end of another prompt is where that one ends.
    """

    run: str
    rows: Int[np.ndarray, "rows"] | None = None
    site: Site | None = None
    aligned: bool = False


@dataclass(frozen=True, eq=False)
class Call:
    """Whatever a program computes from the tokens and the sites it reads.

    The result may be a tensor [batch, pos, width], or a `Stream` when a head's output is given in the residual stream.
    """

    program: Callable[[Batch], Tensor | Stream]
    reads: tuple[Site, ...] = ()


@dataclass(frozen=True, eq=False)
class Stream:
    """A head's output as what it writes to the residual stream, [batch, pos, d_model], instead of as z."""

    tensor: Tensor


@runtime_checkable
class Coordinates(Protocol):
    """Some coordinates of a one-to-one map of a part's value."""

    def mix(self, inside: Float[Tensor, "*some width"], outside: Float[Tensor, "*some width"]) -> Tensor:
        """The value that has these coordinates of `inside`, and all others of `outside`."""
        ...


@dataclass(frozen=True, eq=False)
class Mix:
    """Some coordinates from one source and all others from another.

    Attributes:
        basis: [width, k], orthonormal: a subspace; or coordinates of another one-to-one map.
    """

    basis: Tensor | Coordinates
    inside: Source
    outside: Source

    def of(self, inside: Tensor, outside: Tensor) -> Tensor:
        """The value of both sides' values, which may broadcast."""
        if not isinstance(self.basis, Tensor):
            return self.basis.mix(*torch.broadcast_tensors(inside, outside))
        return outside + (inside - outside) @ self.basis @ self.basis.T


Source = Own | Value | From | Call | Mix


Origin = Own | Value | From | Call


def origins(source: Source) -> Iterator[Origin]:
    """What a source takes its values from; of a mix, both sides' origins."""
    if isinstance(source, Mix):
        yield from origins(source.inside)
        yield from origins(source.outside)
    else:
        yield source


def outside(basis: Tensor | None, source: Source) -> Source:
    """A source for the orthogonal complement of a subspace, in which the site keeps its own value; without a basis for
    all of it."""
    return source if basis is None else Mix(basis, Own(), source)


def changed(source: Source, change: Callable[[Origin], Source]) -> Source:
    """The source with each of its origins changed."""
    if isinstance(source, Mix):
        return Mix(source.basis, changed(source.inside, change), changed(source.outside, change))
    return change(source)


@dataclass(frozen=True, eq=False)
class Edit:
    """Gives a site a value; `site.position` restricts it to one column."""

    site: Site
    source: Source


@dataclass(frozen=True, eq=False)
class EditRun:
    """The model on rows of some data, with edits.

    Attributes:
        frozen_norm: take every norm's scale from the model's clean run on the same rows.
        at: for each of its rows the row of the data that the model reads there; None: the same row. What is taken from
            this run is numbered by its own rows.
        shared: many rows of other runs take from each of its rows, which is run once and kept.
    """

    name: str
    data: Data = "scored"
    edits: tuple[Edit, ...] = ()
    frozen_norm: bool = False
    at: Int[np.ndarray, "rows"] | None = None
    shared: bool = False


def once(run: EditRun, count: int) -> tuple[EditRun, Int[np.ndarray, "rows"]]:
    """A run of so many rows without those that are equal to another, and which one each of them then is."""
    every = np.arange(count)
    taken = [s.rows for edit in run.edits for s in origins(edit.source) if isinstance(s, From)]
    index = {id(rows): every if rows is None else rows for rows in (run.at, *taken)}
    _, first, back = np.unique(np.stack([*index.values()], 1), axis=0, return_index=True, return_inverse=True)

    def fewer(source: Origin) -> Source:
        return replace(source, rows=index[id(source.rows)][first]) if isinstance(source, From) else source

    edits = tuple(replace(edit, source=changed(edit.source, fewer)) for edit in run.edits)
    return replace(run, edits=edits, at=index[id(run.at)][first], shared=True), back.reshape(-1)


@dataclass(frozen=True, eq=False)
class CircuitRun:
    """A circuit on the scored rows: which edges carry their writer's own value, and the run that fills all others.

    Attributes:
        fill: that run's name.
        edits: what heads and MLPs are given in place of what they compute in the circuit.
        frozen_norm: as in `EditRun`.
    """

    name: str
    edges: EdgeSet
    fill: str
    edits: tuple[Edit, ...] = ()
    frozen_norm: bool = False
    data: ClassVar[Data] = "scored"


Run = EditRun | CircuitRun


@dataclass(frozen=True, eq=False)
class Plan:
    """An ordered set of runs; the last one is scored."""

    runs: tuple[Run, ...] = field(default_factory=lambda: (EditRun("explained"),))

    @property
    def final(self) -> Run:
        return self.runs[-1]

    def run(self, name: str) -> Run:
        """The run of that name.

        Raises:
            KeyError: when no run has it.
        """
        for run in self.runs:
            if run.name == name:
                return run
        raise KeyError(f"the plan has no run {name!r}, only {[r.name for r in self.runs]}")

    def fill_of(self, run: CircuitRun) -> EditRun:
        """The run that fills a circuit's edges.

        Raises:
            ComponentError: where that is a circuit itself.
        """
        found = self.run(run.fill)
        if isinstance(found, CircuitRun):
            raise ComponentError(
                f"the circuit {run.name!r} is filled from the circuit {run.fill!r}; give a run of edits"
            )
        return found
