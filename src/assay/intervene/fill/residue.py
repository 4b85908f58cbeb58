"""Residuals of explained parts: y − ŷ, a part's own value less what a source gives for it, both in the clean run.

Values come from the clean run of the same rows, so that ŷ = y leaves nothing and ŷ = μ leaves all of y, however many
layers the parts lie in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import Batch, Call, Data, Edit, EditRun, Own, Plan, Source, Stream, Value
from assay.model.transformer import Model
from assay.names import Site

WIDEST_JOINT = 2048  # parts whose widths add up to more have their covariances taken one by one


@dataclass(eq=False)
class CleanBatch:
    """Rows of some data with values of sites in the unedited run; a `Batch` that a program can be called on."""

    tokens: Int[Tensor, "batch pos"]
    rows: Int[np.ndarray, "batch"]
    data: Data
    values: dict[Site, Tensor]

    def read(self, site: Site) -> Tensor:
        return self.values[site.at(None)]


class CleanRun:
    """Values of sites in the clean run of whatever rows are asked for: one forward pass serves all sites."""

    def __init__(self, workbench: PlanContext, sites: Iterable[Site]):
        self.workbench, self.sites = workbench, tuple(dict.fromkeys(site.at(None) for site in sites))
        self._last: tuple[tuple[Data, bytes], CleanBatch] | None = None

    def of(self, data: Data, rows: Int[np.ndarray, "batch"]) -> CleanBatch:
        """The clean values of these rows; those of the last rows asked for are kept."""
        key = (data, rows.tobytes())
        if self._last is None or self._last[0] != key:
            runner, run = self.workbench.runner, EditRun("clean", data)
            values = self.workbench.store.known(self.sites, rows) if data == "reference" else None
            if values is None:
                with torch.no_grad():
                    values = runner.values(Plan((run,)), run, self.sites, rows)
            self._last = key, CleanBatch(runner.inputs(data, rows), rows, data, values)
        return self._last[1]

    def source(self, site: Site) -> Source:
        """The site's clean value, as the source of an edit."""
        return Call(lambda batch: self.of(batch.data, batch.rows).read(site))


class Residue:
    """y − ŷ of every part that some edits explain.

    Args:
        edits: one edit a part, whose source gives ŷ: a `Value`, a `Call` or `Own`. A head whose program answers in the
            stream is worked on in the stream.

    Raises:
        TypeError: for a source that is not a function of the clean run (another run's value, a subspace).
    """

    def __init__(self, workbench: PlanContext, edits: Sequence[Edit]):
        assert isinstance(workbench.model, Model)
        for edit in edits:
            if not isinstance(edit.source, (Value, Call, Own)):
                raise TypeError(f"{str(edit.site)!r} takes a {type(edit.source).__name__}, which leaves no residual")
        self.workbench, self.model, self.edits = workbench, workbench.model, tuple(edits)
        sites = [edit.site for edit in edits]
        reads = [site for edit in edits if isinstance(edit.source, Call) for site in edit.source.reads]
        self._clean = CleanRun(workbench, [*sites, *reads])
        self._last: tuple[tuple[Data, bytes], list[Tensor]] | None = None
        workbench.statistics.need(sites)
        probe = np.arange(1)
        self._stream = [isinstance(self._claimed(edit, self._clean.of("scored", probe)), Stream) for edit in self.edits]
        self.means = [self._written(i, workbench.statistics.mean(edit.site)) for i, edit in enumerate(self.edits)]
        self.widths = [mean.shape[-1] for mean in self.means]
        self._moments: tuple[list[Tensor], list[tuple[Tensor, Tensor]]] | None = None

    def raw(self, data: Data, rows: Int[np.ndarray, "rows"]) -> list[Tensor]:
        """y − ŷ of each part, [rows, pos, width], not yet centred."""
        key = (data, rows.tobytes())
        if self._last is None or self._last[0] != key:
            batch = self._clean.of(data, rows)
            out = []
            with torch.no_grad():
                for index, edit in enumerate(self.edits):
                    claimed = self._claimed(edit, batch)
                    claimed = claimed.tensor if isinstance(claimed, Stream) else claimed
                    out.append(self._written(index, batch.read(edit.site)) - claimed)
            self._last = key, out
        return self._last[1]

    def centred(self, data: Data, rows: Int[np.ndarray, "rows"]) -> list[Tensor]:
        """(y − ŷ) − E[y − ŷ], the expectation over the reference with the first position apart."""
        centres = self._statistics()[0]
        return [value - centre.to(value) for value, centre in zip(self.raw(data, rows), centres, strict=True)]

    def sample(self, white: Float[Tensor, "batch pos total"]) -> list[Tensor]:
        """White noise coloured with the residuals' covariance (joint over parts, the first position apart)."""
        roots = self._statistics()[1]
        groups = [white] if len(roots) == 1 else list(white.split(self.widths, -1))
        out = []
        for values, (first, rest) in zip(groups, roots, strict=True):
            coloured = values @ rest.T
            coloured[:, 0] = values[:, 0] @ first.T
            out.append(coloured)
        return list(out[0].split(self.widths, -1)) if len(roots) == 1 else out

    def plan(self, residuals: Callable[[Batch], list[Tensor]], name: str = "residual") -> Plan:
        """The run in which every part takes μ plus what the function gives for it."""
        last: list[tuple[tuple[Data, bytes], list[Tensor]]] = []

        def shared(batch: Batch) -> list[Tensor]:
            key = (batch.data, batch.rows.tobytes())
            if not last or last[0][0] != key:
                last[:] = [(key, residuals(batch))]
            return last[0][1]

        def edit(index: int) -> Edit:
            def value(batch: Batch) -> Tensor | Stream:
                out = shared(batch)[index]
                out = self.means[index].to(out) + out
                return Stream(out) if self._stream[index] else out

            return Edit(self.edits[index].site, Call(value))

        return self.workbench.plan(tuple(edit(index) for index in range(len(self.edits))), name)

    def _claimed(self, edit: Edit, batch: CleanBatch) -> Tensor | Stream:
        match edit.source:
            case Value(tensor):
                return tensor.to(batch.read(edit.site))
            case Call(program, _):
                return program(batch)
            case _:
                return batch.read(edit.site)

    def _written(self, index: int, value: Tensor) -> Tensor:
        """The part's value in the space that its residual is taken in."""
        site = self.edits[index].site
        if not self._stream[index]:
            return value
        assert site.layer is not None
        return value @ self.model.W_O(site.layer)[site.index].to(value)

    def _statistics(self) -> tuple[list[Tensor], list[tuple[Tensor, Tensor]]]:
        """E[y − ŷ] of each part, [pos, width], and roots of the covariance at the first and at other positions."""
        if self._moments is None:
            reference = self.workbench.task.reference
            assert reference is not None
            rows = self.workbench.statistics.rows  # the rows that μ is over, so that E[y − μ] is exactly 0
            real = self.workbench.statistics.real
            joint = sum(self.widths) <= WIDEST_JOINT
            sums = [_CovarianceSums(width) for width in ([sum(self.widths)] if joint else self.widths)]
            firsts = [_CovarianceSums(total.width) for total in sums]
            for batch in self.workbench.runner.batches(rows):
                values = [value.double().cpu() for value in self.raw("reference", batch)]
                values = [torch.cat(values, -1)] if joint else values
                seen = real[torch.from_numpy(np.searchsorted(rows, batch))]
                for value, first, rest in zip(values, firsts, sums, strict=True):
                    first.add(value[:, :1], seen[:, :1])
                    rest.add(value[:, 1:], seen[:, 1:])
            length = reference.tokens.shape[1]
            means = []
            for first, rest in zip(firsts, sums, strict=True):
                mean = rest.mean.expand(length, -1).clone()
                mean[0] = first.mean
                means.append(mean.float())
            means = list(means[0].split(self.widths, -1)) if joint else means
            self._moments = means, [(first.root(), rest.root()) for first, rest in zip(firsts, sums, strict=True)]
        return self._moments


class _CovarianceSums:
    """Mean and covariance of rows, as sums."""

    def __init__(self, width: int):
        self.width, self.count = width, 0
        self.total = torch.zeros(width, dtype=torch.float64)
        self.square = torch.zeros(width, width, dtype=torch.float64)

    def add(self, value: Float[Tensor, "rows pos width"], real: Bool[Tensor, "rows pos"]) -> None:
        chosen = value[real]
        self.count += len(chosen)
        self.total += chosen.sum(0)
        self.square += chosen.T @ chosen

    @property
    def mean(self) -> Tensor:
        return self.total / max(self.count, 1)

    def root(self) -> Tensor:
        covariance = self.square / max(self.count, 1) - torch.outer(self.mean, self.mean)
        values, vectors = torch.linalg.eigh(covariance)
        # what rounding leaves of a constant residual is no variance
        floor = 1e-10 * float(self.square.diagonal().max()) / max(self.count, 1)
        return (vectors * torch.where(values > floor, values, 0.0).sqrt()).float()
