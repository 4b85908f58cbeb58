"""Values that edits take from unedited runs of other rows: each such run is made once, for all who take from it.

How far it was run and what was seen on the way are kept: who asks for a deeper layer goes on there. Plans that draw
from the scored rows take others of them each; one run of all rows serves them all, where it fits.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from assay.intervene.components import pick, tap
from assay.intervene.kept import Kept, nbytes
from assay.intervene.plan import Data, From, Plan, Run, origins
from assay.intervene.rows import Key, RowBatches, UneditedRun
from assay.model.transformer import Model
from assay.names import Site

MOST = 512  # donor rows that are run once and kept; more are run beside the rows they fill


@dataclass(eq=False)
class Donated:
    """An unedited run as far as it was made, and values of taps in it, [rows, pos, ...] each."""

    run: UneditedRun
    values: dict[Key, Tensor] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        return self.run.nbytes + nbytes(self.values)

    def gather(self, inputs: RowBatches, keys: Collection[Key], room: int, every: bool = False) -> None:
        """Takes these taps in one run and, where all of them fit into so many bytes, their like in every layer that it
        comes through: the next claim asks for those. `every`: heads, MLPs and streams, whatever is asked for."""
        wanted = set(keys)
        if isinstance(inputs.model, Model):
            shape = inputs.model.config
            layers = range(self.run.starts(keys), inputs.model.depth(dict.fromkeys(keys, lambda _: None)))
            kinds = {"z": shape.heads * shape.d_head, "mlp": shape.d_model, "stream": shape.d_model}
            like = kinds if every else kinds.keys() & {kind for kind, _ in keys}
            beside = {(kind, layer): kinds[kind] for kind in like for layer in layers}
            bare = {("mlp", layer) for layer in layers if shape.d_mlp[layer] is None}
            beside = {key: width for key, width in beside.items() if key not in self.values and key not in bare}
            tokens = len(self.run.rows) * inputs.task.tokens.shape[1] * inputs.model.dtype.itemsize
            if inputs.model.scale * nbytes(self.values) + tokens * sum(beside.values()) <= room:
                wanted |= beside.keys()
        found: dict[Key, list[Tensor]] = {key: [] for key in wanted}
        for _, values in self.run.see(inputs, wanted):
            for key in wanted:
                found[key].append(values[key])
        self.values |= {key: torch.cat(parts) for key, parts in found.items()}


class Donors(Kept[tuple[Data, bytes], Donated]):
    """Runs of donor rows, by those rows: the same for every claim under a joint draw."""

    room = 512 << 20


class OtherData(Kept[tuple[Data, bytes], Donated]):
    """Runs of other data on the rows of a micro-batch, such as their counterfactuals."""

    room = 128 << 20


@dataclass(frozen=True)
class _Wanted:
    """All sites that a plan takes from an unedited run, all of that run's rows that they are taken from, and whether
    every site takes the same."""

    sites: frozenset[Site]
    rows: np.ndarray
    joint: bool


def _nbytes(inputs: RowBatches, sites: frozenset[Site], rows: int) -> float:
    """Of such sites' whole values in so many rows, in every layer: a floor takes them where the claim does not. Of a
    module none that would be told; more than `MOST` rows of it are too many."""
    model = inputs.model
    if not isinstance(model, Model):
        return 0.0 if rows <= MOST else math.inf
    shape = model.config
    width = sum(
        shape.heads * shape.d_head if kind == "z" else shape.d_model for kind in {tap(site)[0] for site in sites}
    )
    return float(rows * inputs.task.tokens.shape[1] * shape.layers * width * model.dtype.itemsize * model.scale)


class DonorRuns:
    """The unedited runs that plans take values from."""

    def __init__(self, scale: float):
        self.donors, self.other_data = Donors(scale), OtherData(scale)
        self._last: tuple[Plan, str, _Wanted] | None = None

    def value(
        self,
        inputs: RowBatches,
        plan: Plan,
        run: Run,
        site: Site,
        rows: Int[np.ndarray, "rows"] | None,
        ids: Int[np.ndarray, "batch"],
    ) -> Tensor | None:
        """The site's value in these rows of an unedited run of the plan; None where that has too many rows to be kept.

        Args:
            inputs: runs the model; rows: the donor of every row; None: the same row of the other data.
        """
        wanted = self._wanted(plan, run)
        sites, pool = wanted.sites, wanted.rows
        own = rows is None  # once a micro-batch, for all sites
        room, count = Donors.room or 0, len(inputs.task)
        every = run.data == "scored" and 2 * len(pool) >= count and 2 * _nbytes(inputs, sites, count) <= room
        if every:
            own, pool = False, np.arange(count)
        elif not own and wanted.joint and 4 * _nbytes(inputs, sites, len(pool)) > room:  # there are four draws
            pool = np.unique(ids)  # else each draw would push the others out, micro-batch after micro-batch
        if not (own or every) and len(pool) > MOST:
            return None
        unique = ids if own else pool
        key: tuple[Data, bytes] = run.data, unique.tobytes()
        kept = self.other_data if own else self.donors
        found = kept.once(key, lambda: Donated(UneditedRun(run.data, unique)))
        missing = {tap(site) for site in sites}.difference(found.values)
        if missing:
            found.gather(inputs, missing, (kept.room or 0) // (2 if every else 4), every)
            kept.keep(key, found)  # anew, as it has grown
        value = pick(found.values[tap(site)], site)
        return value if own else value[torch.from_numpy(np.searchsorted(unique, ids))]

    def _wanted(self, plan: Plan, run: Run) -> _Wanted:
        """What the plan takes from an unedited run."""
        if self._last is None or self._last[0] is not plan or self._last[1] != run.name:
            sites = sites_from(plan, run)
            pools = [s.rows for several in sites.values() for s in several if s.rows is not None]
            distinct = [*{id(rows): rows for rows in pools}.values()]  # few arrays serve all sites of a joint draw
            pool = np.unique(np.concatenate([*distinct])) if pools else np.zeros(0, dtype=np.int64)
            self._last = (
                plan,
                run.name,
                _Wanted(frozenset(sites), pool, all(np.array_equal(rows, distinct[0]) for rows in distinct)),
            )
        return self._last[2]


def sites_from(plan: Plan, run: Run) -> dict[Site, list[From]]:
    """Every site that some edit of the plan takes from this run, with all that take it (columns may have their own)."""
    out: dict[Site, list[From]] = {}
    for other in plan.runs:
        for edit in other.edits:
            for source in origins(edit.source):
                if isinstance(source, From) and source.run == run.name:
                    out.setdefault((source.site or edit.site).at(None), []).append(source)
    return out
