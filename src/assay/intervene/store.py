"""What outlives a claim: everything that is known of a model on a reference, each sort with types of its own.

Means, covariances, optimal constants and the values behind fits stand here; runs of scored rows are the runner's
(`edits`). A kind of explanation or a method keeps what it computes under a subclass of `Kept`:
`store.of(Tables).once(key, make)`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from assay.errors import TaskError
from assay.intervene.edits.engine import EditRunner
from assay.intervene.fill.reference import ReferenceStatistics
from assay.intervene.kept import Kept
from assay.model.transformer import Model
from assay.names import Site, SiteKind

Sort = TypeVar("Sort", bound=Kept[Any, Any])


class ReferenceValues(Kept[Site, Tensor]):
    """Parts' values on all reference rows, [rows, pos, width]: programs are fitted on them."""

    room = 1 << 30


class Store:
    """What was computed for a model on a task's reference.

    Args:
        runner: runs the model on the reference.
    """

    def __init__(self, runner: EditRunner):
        self.runner = runner
        self._sorts: dict[type[Kept[Any, Any]], Kept[Any, Any]] = {}

    def of(self, sort: type[Sort]) -> Sort:
        """All that is kept of one sort."""
        found = self._sorts.setdefault(sort, sort(self.runner.model.scale))
        assert isinstance(found, sort)
        return found

    @cached_property
    def statistics(self) -> ReferenceStatistics:
        """Means and covariances.

        Raises:
            TaskError: where the task has no reference.
        """
        task = self.runner.task
        if task.reference is None:
            raise TaskError(f"the task {task.name!r} has no reference examples to take a mean over")
        return ReferenceStatistics(self.runner)

    def gather(self, sites: Iterable[Site]) -> None:
        """Takes the values of all these parts on the reference in one pass, where they fit in memory; with a head those
        of its layer's other heads, which controls ask for, and of the values that heads read, which programs do."""
        model, values = self.runner.model, self.of(ReferenceValues)
        assert isinstance(model, Model)
        missing = [site for site in dict.fromkeys(site.at(None) for site in sites) if site not in values]
        layers = {site.layer for site in missing if site.kind == "head"}
        each: dict[SiteKind, int] = {"head": model.config.heads, "kv": model.config.kv_heads}
        heads = [Site(kind, layer, i) for layer in layers for kind, count in each.items() for i in range(count)]
        beside = [site for site in dict.fromkeys((*missing, *heads)) if site not in values]
        room = values.room or 0
        left = room - model.scale * values.nbytes  # what is there is not to go for what nobody asked for
        for some, most in ((beside, left), (missing, room)):
            if missing and sum(map(self._size, some)) <= most:
                self._take(some)
                return

    def values(self, site: Site) -> Tensor:
        """A part's values on all reference rows, [rows, pos, width]."""
        site = site.at(None)
        found = self.of(ReferenceValues).find(site)
        return self._take([site])[site] if found is None else found

    def known(self, sites: Iterable[Site], rows: Int[np.ndarray, "rows"]) -> dict[Site, Tensor] | None:
        """The parts' values on some reference rows, where those of all parts are kept."""
        kept = self.of(ReferenceValues)
        found = {site: kept.find(site) for site in sites}
        chosen = torch.from_numpy(rows)
        out = {site: value[chosen.to(value.device)] for site, value in found.items() if value is not None}
        return out if len(out) == len(found) else None

    def _take(self, sites: list[Site]) -> dict[Site, Tensor]:
        kept = self.of(ReferenceValues)
        return {site: kept.keep(site, value) for site, value in self.statistics.values(sites).items()}

    def _size(self, site: Site) -> int:
        """Bytes of a part's values on the reference."""
        model = self.runner.model
        assert isinstance(model, Model)
        width = {"head": model.config.d_head, "kv": model.config.d_head, "mlp": model.config.d_model}.get(site.kind, 1)
        return self.runner.examples("reference").tokens.numel() * width * model.dtype.itemsize

    def for_runner(self, runner: EditRunner) -> Store:
        """What is known so far, for other scored rows or a copy of the model; what is added to one stays there."""
        out = Store(runner)
        if self.runner.task.reference is not None:
            out.statistics = self.statistics
        out._sorts = {sort: kept.copied() for sort, kept in self._sorts.items()}
        return out
