"""Exact patching of every component at every position: each takes its fill there, alone, and the metric is read.

One run of the rows is kept; a patch at (layer, position) recomputes later layers at that and later positions only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float64, Int

from assay.errors import ComponentError, TaskError
from assay.intervene.components import check
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.sweep.batch import Position, SweepBatch, together
from assay.intervene.sweep.fills import sources
from assay.intervene.sweep.patches import sites_of
from assay.model.transformer import Model

MEMORY = 256 << 20  # bytes that the activations of patches run together may take, and as many for their logits


@dataclass(frozen=True, eq=False)
class Sweep:
    """What patching did, component by component, position by position, example by example.

    Attributes:
        components: names; positions: columns, names of columns, or None for all columns at once.
        loss: the metric's loss less that of the unpatched run, summed over the example's scored tokens.
        kl: KL(model || patched) in nats, summed over the example's scored tokens.
        rows: [examples] rows of the task; document: [examples] their documents; count: [examples] scored tokens.
        clean_loss: [examples] the model's loss; base_loss, base_kl: of the run that was patched, which is the model's
            own unless the sweep is reversed.
    """

    components: tuple[str, ...]
    positions: tuple[Position, ...]
    loss: Float64[np.ndarray, "components positions examples"]
    kl: Float64[np.ndarray, "components positions examples"]
    rows: Int[np.ndarray, "examples"]
    document: Int[np.ndarray, "examples"]
    count: Int[np.ndarray, "examples"]
    clean_loss: Float64[np.ndarray, "examples"]
    base_loss: Float64[np.ndarray, "examples"]
    base_kl: Float64[np.ndarray, "examples"]

    def by_document(self) -> Sweep:
        """The same with sums over each document's examples in the place of examples; `rows` are each one's first."""
        documents, first, where = np.unique(self.document, return_index=True, return_inverse=True)

        def total(values: np.ndarray) -> np.ndarray:
            out = np.zeros((*values.shape[:-1], len(documents)), dtype=values.dtype)
            for example, document in enumerate(where):
                out[..., document] += values[..., example]
            return out

        names = ("loss", "kl", "count", "clean_loss", "base_loss", "base_kl")
        return replace(self, rows=self.rows[first], document=documents, **{n: total(getattr(self, n)) for n in names})

    def mean(self, which: str = "loss") -> Float64[np.ndarray, "components positions"]:
        """`loss` or `kl` per scored token."""
        return getattr(self, which).sum(-1) / max(int(self.count.sum()), 1)


def sweep(
    workbench: PlanContext,
    ablation: str,
    components: Iterable[str] | None = None,
    positions: Sequence[Position] | None = None,
    *,
    draw: int = 0,
    rows: Int[np.ndarray, "examples"] | None = None,
    reverse: bool = False,
    memory: int = MEMORY,
) -> Sweep:
    """Patches every component at every position, one at a time.

    Args:
        ablation: what a patched component takes there, see `assay.intervene.fill.ablations`.
        components: `input`, heads, attention layers, MLPs and streams (r0, r1, ...); by default all components.
        positions: columns (negative: from the example's end), names of columns, None for all columns at once; by
            default every column. A column beyond an example's end changes nothing there.
        rows: those of the task's that are swept; by default all.
        reverse: run the model on the donor's tokens and patch in the values of the model's own run, which is possible
            for `counterfactual` and `resample_joint`.
        memory: bytes that activations may take; the shapes of what is run together follow from it.

    Raises:
        ComponentError: for a component that cannot be swept, or a model that has none.
        TaskError: for an ablation that the task has no data for, an unknown column, or a reversed sweep that no run
            can be patched for.
    """
    model, task = workbench.model, workbench.task
    if not isinstance(model, Model):
        raise ComponentError(f"{model.name} has no positions to sweep over; a sweep needs a transformer")
    if workbench.frozen_norm or workbench.refit:
        raise TaskError("the options 'frozen_norm' and 'refit' do not apply to a sweep over positions")
    names = model.components if components is None else tuple(components)
    sites = sites_of(names, model)
    given = sources(workbench, sites, ablation, draw)
    rows = np.arange(len(task)) if rows is None else np.asarray(rows, dtype=np.int64)
    longest = int(task.last[rows].max()) + 1 if len(rows) else 0
    columns = tuple(range(longest)) if positions is None else tuple(positions)
    loss, kl = (np.zeros((len(sites), len(columns), len(rows))) for _ in range(2))
    sums = np.zeros((4, len(rows)))
    size = together(workbench, memory)
    with torch.no_grad():
        for start in range(0, len(rows), size):
            some = slice(start, start + size)
            batch = SweepBatch(workbench, sites, given, rows[some], reverse=reverse, memory=memory)
            asked = batch.columns(columns, named=positions is not None)
            loss[:, :, some], kl[:, :, some] = batch.run(asked)
            sums[:, some] = batch.sums
    order = [sites.index(check(name, model)) for name in names]
    count, *others = sums
    return Sweep(names, columns, loss[order], kl[order], rows, task.document[rows], count.astype(np.int64), *others)
