"""Statistics of sites on the reference: what constant, position-wise and Gaussian ablations are filled with.

The first position (BOS) is a class of its own everywhere: its activations differ from all others'.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from assay.errors import TaskError
from assay.intervene.edit_runner import EditRunner
from assay.intervene.plan import Plan, Run
from assay.model.transformer import Model
from assay.names import Site, parse_site

ROWS = 192  # reference rows that statistics are taken over, at least; more where the model is small or rows are short:
MOST_ROWS, TOKENS, WORK = 4_096, 65_536, 4e11  # at most so many rows, tokens and operations of matrix products
WIDEST = 4_096  # values of a submodule whose covariance is taken


def affordable(parameters: int, tokens: Shaped[Tensor, "n ..."]) -> int:
    """How many rows of these statistics are taken over, for a model of so many parameters."""
    length = max(int(np.prod(tokens.shape[1:])), 1)
    most = min(TOKENS, WORK / max(2 * parameters, 1))
    return int(max(ROWS, min(most // length, MOST_ROWS)))


def spread(total: int, most: int) -> Int[np.ndarray, "rows"]:
    """At most so many of a number of rows, evenly spread over them, in order."""
    return np.unique(np.linspace(0, total - 1, min(most, total)).round().astype(np.int64))


class ReferenceStatistics:
    """Means and covariances of sites over the reference, computed when first asked for and kept.

    Args:
        runner: runs the model on the task's reference.
        rows: how many reference rows are used, evenly spread: a reference may be ordered by source.

    Attributes:
        tokens: in those rows, without padding.
    """

    def __init__(self, runner: EditRunner, rows: int | None = None):
        assert runner.task.reference is not None
        self.runner = runner
        rows = affordable(runner.model.parameters, runner.task.reference.tokens) if rows is None else rows
        self.rows = spread(len(runner.task.reference.tokens), rows)
        self._real = runner.task.reference.real[torch.from_numpy(self.rows)]
        self.tokens = int(self._real.sum())
        self._moments: dict[Site, tuple[Tensor, Tensor, Tensor]] = {}
        self._covariance: dict[Site, tuple[Tensor, Tensor]] = {}

    def need(self, sites: Iterable[Site]) -> None:
        """Gathers the means of all these sites in one pass, and of all components that it goes through anyway."""
        missing = [site for site in dict.fromkeys(s.at(None) for s in sites) if site not in self._moments]
        if missing:
            self._gather(missing, (), self.rows)

    def values(self, sites: Sequence[Site]) -> dict[Site, Float[Tensor, "rows pos width"]]:
        """Values of these sites on every reference row. The means of all components that the pass goes through are
        gathered beside them."""
        assert self.runner.task.reference is not None
        return self._gather(sites, sites, np.arange(len(self.runner.task.reference)))

    def _gather(
        self, sites: Sequence[Site], whole: Sequence[Site], rows: Int[np.ndarray, "rows"]
    ) -> dict[Site, Float[Tensor, "rows pos width"]]:
        """One pass over these rows: the means that are missing of `sites` and of what is on the way, and all values of
        `whole`."""
        wanted = dict.fromkeys((*(site.at(None) for site in sites), *self._on_the_way(sites)))
        missing = [site for site in wanted if site not in self._moments]
        run = Run("reference", "reference")
        sums = {site: torch.zeros(()) for site in missing}
        kept: dict[Site, list[Tensor]] = {site: [] for site in whole}
        count = self._real.double().sum(0)
        with torch.no_grad():
            for batch in self.runner.batches(rows):
                values = self.runner.values(Plan((run,)), run, dict.fromkeys((*missing, *whole)), batch)
                for site, parts in kept.items():
                    parts.append(values[site])
                inside = np.isin(batch, self.rows)
                real = self._real[torch.from_numpy(np.searchsorted(self.rows, batch[inside]))].unsqueeze(-1)
                for site in missing:
                    value = values[site][torch.from_numpy(inside)].double().cpu()
                    sums[site] = sums[site] + (value if site.kind == "module" else value * real).sum(0)
        for site, total in sums.items():
            if site.kind == "module":
                mean = total / len(self.rows)
                self._moments[site] = (mean, mean, mean)
                continue
            rest = total[1:].sum(0) / count[1:].sum().clamp(min=1)
            per_position = total / count.clamp(min=1).unsqueeze(-1)
            per_position = torch.where((count > 0).unsqueeze(-1), per_position, rest)
            self._moments[site] = (per_position[0], rest, per_position)
        return {site: torch.cat(parts) for site, parts in kept.items()}

    def _on_the_way(self, sites: Iterable[Site]) -> list[Site]:
        """Heads and MLPs whose values a pass to the deepest of these sites computes."""
        if not isinstance(self.runner.model, Model):
            return []
        kinds = {"mlp": 1, "neuron": 1, "stream": -1, "input": -1}  # of a layer, heads come first; a stream enters it
        last = max((site.layer or 0, kinds.get(site.kind, 0)) for site in sites)
        named = map(parse_site, self.runner.model.components)
        return [
            site
            for site in named
            if site.kind in ("head", "mlp") and (site.layer or 0, kinds.get(site.kind, 0)) <= last
        ]

    def mean(self, site: Site) -> Float[Tensor, "..."]:
        """The mean over reference tokens at every position but the first, which has its own."""
        self.need([site])
        first, rest, per_position = self._moments[site.at(None)]
        if site.kind == "module":
            return rest.float()
        out = rest.expand_as(per_position).clone()
        out[0] = first
        return out.float()

    def mean_position(self, site: Site) -> Float[Tensor, "..."]:
        """The mean at each position; where the reference never reaches, the overall mean."""
        self.need([site])
        return self._moments[site.at(None)][2].float()

    def root_covariance(self, site: Site) -> tuple[Float[Tensor, "width width"], Float[Tensor, "width width"]]:
        """A square root of the covariance at the first position, and at all others."""
        self.need_covariances([site])
        return self._covariance[site.at(None)]

    def need_covariances(self, sites: Iterable[Site]) -> None:
        """Gathers the covariances of all these sites in one pass, besides that for their means.

        Raises:
            TaskError: for a submodule of too many values.
        """
        missing = [site for site in dict.fromkeys(s.at(None) for s in sites) if site not in self._covariance]
        if not missing:
            return
        means = {site: self.mean(site).double() for site in missing}
        for site, mean in means.items():
            if site.kind == "module" and mean.numel() > WIDEST:
                raise TaskError(
                    f"the ablation 'noise' takes a covariance over {mean.numel()} values of {str(site)!r}; at most "
                    f"{WIDEST} are supported"
                )
        run, sums = Run("reference", "reference"), dict.fromkeys(missing, torch.zeros(()))
        with torch.no_grad():
            for batch in self.runner.batches(self.rows):
                real = self._real[torch.from_numpy(np.searchsorted(self.rows, batch))][:, 1:]
                for site, value in self.runner.values(Plan((run,)), run, missing, batch).items():
                    centred = value.double().cpu() - means[site]
                    whole = site.kind == "module"  # no position stands apart
                    parts = [centred.flatten(1)] if whole else [centred[:, 0], centred[:, 1:][real]]
                    sums[site] = sums[site] + torch.stack([part.T @ part for part in parts])
        counts = len(self.rows), int(self._real[:, 1:].sum())
        for site, total in sums.items():
            roots = [_root(one / max(n - 1, 1)) for one, n in zip(total, counts, strict=False)]
            self._covariance[site] = (roots[0], roots[-1])


def _root(covariance: Float[Tensor, "width width"]) -> Float[Tensor, "width width"]:
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=0).sqrt()).float()
