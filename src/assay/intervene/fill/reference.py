"""Statistics of sites on the reference: what constant, position-wise and Gaussian ablations are filled with.

The first position (BOS) is a class of its own everywhere: its activations differ from all others'.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from assay.errors import TaskError
from assay.intervene.components import pick, tap
from assay.intervene.kept import Kept
from assay.intervene.rows import RowBatches, UneditedRun
from assay.model.transformer import Model
from assay.names import Site, parse_site

ROWS = 192  # reference rows that statistics are taken over; fewer where rows are long (`TOKENS`), more where the model
MOST_ROWS, TOKENS, WORK = 4_096, 65_536, 4e11  # is small: at most so many rows, tokens, operations of matrix products
WIDEST = 4_096  # values of a submodule whose covariance is taken


def affordable(parameters: int, tokens: Shaped[Tensor, "n ..."]) -> int:
    """How many rows of these statistics are taken over, for a model of so many parameters."""
    length = max(int(np.prod(tokens.shape[1:])), 1)
    most = min(TOKENS, WORK / max(2 * parameters, 1))
    return int(max(1, min(ROWS, TOKENS // length), min(most // length, MOST_ROWS)))


def spread(total: int, most: int) -> Int[np.ndarray, "rows"]:
    """At most so many of a number of rows, evenly spread over them, in order."""
    return np.unique(np.linspace(0, total - 1, min(most, total)).round().astype(np.int64))


class Moments(Kept[Site, tuple[Tensor, Tensor, Tensor]]):
    """Means of sites: at the first position, over all others, and at each."""


class Covariances(Kept[Site, tuple[Tensor, Tensor]]):
    """Square roots of sites' covariances: at the first position, and at all others."""


class ReferenceStatistics:
    """Means and covariances of sites over the reference, computed when first asked for and kept.

    Args:
        inputs: the model on the task's reference.
        rows: how many reference rows are used, evenly spread: a reference may be ordered by source.

    Attributes:
        real: which positions of those rows are no padding; tokens: how many.
    """

    def __init__(self, inputs: RowBatches, rows: int | None = None):
        assert inputs.task.reference is not None
        self.inputs = inputs
        rows = affordable(inputs.model.parameters, inputs.task.reference.tokens) if rows is None else rows
        self.rows = spread(len(inputs.task.reference.tokens), rows)
        self.real = inputs.task.reference.real[torch.from_numpy(self.rows)]
        self.tokens = int(self.real.sum())
        every = np.arange(len(inputs.task.reference.tokens))
        self._run, self._second, self._whole = (
            UneditedRun("reference", rows) for rows in (self.rows, self.rows, every)
        )
        self._moments, self._covariances = Moments(), Covariances()

    def need(self, sites: Iterable[Site]) -> None:
        """Gathers the means of all these sites in one pass, and of all components that it goes through anyway."""
        missing = [site for site in dict.fromkeys(s.at(None) for s in sites) if site not in self._moments]
        if missing:
            self._gather(missing, (), self._run)

    def values(self, sites: Sequence[Site]) -> dict[Site, Float[Tensor, "rows pos width"]]:
        """Values of these sites on every reference row. The means of all components that the pass goes through are
        gathered beside them."""
        return self._gather(sites, sites, self._whole)

    def _gather(
        self, sites: Sequence[Site], whole: Sequence[Site], run: UneditedRun
    ) -> dict[Site, Float[Tensor, "rows pos width"]]:
        """One pass: the means that are missing of `sites` and of what is on the way, and all values of `whole`."""
        wanted = dict.fromkeys((*(site.at(None) for site in sites), *self._on_the_way(sites)))
        start = run.starts({tap(site) for site in sites})
        missing = [site for site in wanted if site not in self._moments and (site.layer or 0) >= start]
        sums = {site: torch.zeros(()) for site in missing}
        kept: dict[Site, list[Tensor]] = {site: [] for site in whole}
        count = self.real.double().sum(0)
        for batch, values in run.see(self.inputs, {tap(site) for site in (*missing, *whole)}):
            for site, parts in kept.items():
                parts.append(pick(values[tap(site)], site))
            inside = np.isin(batch, self.rows)
            real = self._real_of(batch[inside]).unsqueeze(-1)
            for site in missing:
                value = pick(values[tap(site)], site)[torch.from_numpy(inside)].double().cpu()
                sums[site] = sums[site] + (value if site.kind == "module" else value * real).sum(0)
        for site, total in sums.items():
            if site.kind == "module":
                mean = total / len(self.rows)
                self._moments.keep(site, (mean, mean, mean))
                continue
            rest = total[1:].sum(0) / count[1:].sum().clamp(min=1)
            per_position = total / count.clamp(min=1).unsqueeze(-1)
            per_position = torch.where((count > 0).unsqueeze(-1), per_position, rest)
            self._moments.keep(site, (per_position[0], rest, per_position))
        return {site: torch.cat(parts) for site, parts in kept.items()}

    def _on_the_way(self, sites: Iterable[Site]) -> list[Site]:
        """Heads and MLPs in the layers that a pass to the deepest of these sites goes through."""
        model = self.inputs.model
        if not isinstance(model, Model):
            return []
        depth = model.depth({tap(site): lambda _: None for site in sites})
        named = map(parse_site, model.components)
        return [site for site in named if site.kind in ("head", "mlp") and (site.layer or 0) < depth]

    def _real_of(self, batch: Int[np.ndarray, "batch"]) -> Bool[Tensor, "batch pos"]:
        return self.real[torch.from_numpy(np.searchsorted(self.rows, batch))]

    def _mean_of(self, site: Site) -> tuple[Tensor, Tensor, Tensor]:
        self.need([site])
        found = self._moments.find(site.at(None))
        assert found is not None
        return found

    def mean(self, site: Site) -> Float[Tensor, "..."]:
        """The mean over reference tokens at every position but the first, which has its own."""
        first, rest, per_position = self._mean_of(site)
        if site.kind == "module":
            return rest.float()
        out = rest.expand_as(per_position).clone()
        out[0] = first
        return out.float()

    def mean_position(self, site: Site) -> Float[Tensor, "..."]:
        """The mean at each position; where the reference never reaches, the overall mean."""
        return self._mean_of(site)[2].float()

    def root_covariance(self, site: Site) -> tuple[Float[Tensor, "width width"], Float[Tensor, "width width"]]:
        """A square root of the covariance at the first position, and at all others."""
        self.need_covariances([site])
        found = self._covariances.find(site.at(None))
        assert found is not None
        return found

    def need_covariances(self, sites: Iterable[Site]) -> None:
        """Gathers the covariances of all these sites in one pass, besides that for their means; with a head's those of
        the heads that it goes through.

        Raises:
            TaskError: for a submodule of too many values.
        """
        missing = [site for site in dict.fromkeys(s.at(None) for s in sites) if site not in self._covariances]
        if not missing:
            return
        beside = self._on_the_way(missing) if any(site.kind == "head" for site in missing) else []
        heads = [site for site in beside if site.kind == "head" and site not in self._covariances]
        missing = list(dict.fromkeys((*missing, *heads)))
        self.need(missing)
        means = {site: self.mean(site).double() for site in missing}
        for site, mean in means.items():
            if site.kind == "module" and mean.numel() > WIDEST:
                raise TaskError(
                    f"a covariance over {mean.numel()} values of {str(site)!r} is needed (the ablation 'noise' takes "
                    f"one); at most {WIDEST} are supported"
                )
        sums = dict.fromkeys(missing, torch.zeros(()))
        for batch, values in self._second.see(self.inputs, set(map(tap, missing))):  # centred, all is seen once more
            real = self._real_of(batch)[:, 1:]
            for site in missing:
                centred = pick(values[tap(site)], site).double().cpu() - means[site]
                whole = site.kind == "module"  # no position stands apart
                parts = [centred.flatten(1)] if whole else [centred[:, 0], centred[:, 1:][real]]
                sums[site] = sums[site] + torch.stack([part.T @ part for part in parts])
        counts = len(self.rows), int(self.real[:, 1:].sum())
        for site, total in sums.items():
            roots = [_root(one / max(n - 1, 1)) for one, n in zip(total, counts, strict=False)]
            self._covariances.keep(site, (roots[0], roots[-1]))


def _root(covariance: Float[Tensor, "width width"]) -> Float[Tensor, "width width"]:
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=0).sqrt()).float()
