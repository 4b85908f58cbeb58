"""Fitted on the reference by gradient through the runner: optimal constants (least KL) and the affine refit."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from assay.errors import TaskError
from assay.intervene.fill.fit_context import Fit, FitContext
from assay.intervene.fill.least_kl import fit_by_kl
from assay.intervene.fill.reference import spread
from assay.intervene.kept import Kept
from assay.intervene.plan import Batch, Call, Edit, EditRun, From, Origin, Plan, Source, Value, changed, outside
from assay.model.transformer import Model
from assay.names import Site

REFIT_ROWS, RIDGE = 64, 1e-4


class OptimalConstants(Kept[tuple[tuple[tuple[Site, bytes], ...], bool], tuple[dict[Site, Tensor], Fit]]):
    """Constants by the parts that they were fitted for together, in order, each with the subspace that it keeps, and
    whether norms were frozen."""


def optimal_constants(
    workbench: FitContext, sites: tuple[Site, ...], but: Mapping[Site, Tensor] | None = None
) -> list[Tensor]:
    """The constant of each part ([pos, width], the first position apart) that together minimise KL on the reference.

    Args:
        but: of some parts an orthonormal basis of a subspace in which they keep their own value.
    """
    if not sites:
        return []
    but = but or {}
    ordered = tuple(sorted(sites, key=str))  # one fit of the same parts in whatever order
    subspaces = (_digest(but[site]) if site in but else b"" for site in ordered)
    key = tuple(zip(ordered, subspaces, strict=True)), workbench.frozen_norm
    constants, fit = workbench.store.of(OptimalConstants).once(key, lambda: _fitted(workbench, ordered, but))
    workbench.note(fit)
    return [constants[site] for site in sites]


def _digest(basis: Tensor) -> bytes:
    return hashlib.sha256(basis.cpu().double().numpy().tobytes()).digest()


def _fitted(
    workbench: FitContext, sites: tuple[Site, ...], but: Mapping[Site, Tensor]
) -> tuple[dict[Site, Tensor], Fit]:
    workbench.statistics.need(sites)
    means = [workbench.statistics.mean(site) for site in sites]
    scale = [(mean.std() if mean.numel() > 1 else mean.abs().sum()).clamp(min=1e-3) for mean in means]
    # a shift in units of the component's own spread, so that one rate suits all
    shifts = [torch.zeros(mean.shape if site.kind == "module" else (2, mean.shape[-1]))
              for site, mean in zip(sites, means, strict=True)]  # fmt: skip

    def constants(values: list[Tensor]) -> list[Tensor]:
        return [
            mean
            + unit * (shift if site.kind == "module" else torch.cat([shift[:1], shift[1:].expand(len(mean) - 1, -1)]))
            for site, mean, unit, shift in zip(sites, means, scale, values, strict=True)
        ]

    def edits() -> tuple[Edit, ...]:
        values = map(Value, constants(shifts))
        return tuple(Edit(site, outside(but.get(site), value)) for site, value in zip(sites, values, strict=True))

    best, fit = fit_by_kl(workbench, shifts, edits, f"optimal constants of {len(sites)} part{'s' * (len(sites) > 1)}")
    return {site: value.detach() for site, value in zip(sites, constants(best), strict=True)}, fit


def refitted(workbench: FitContext, edits: tuple[Edit, ...]) -> tuple[Edit, ...]:
    """The edits and, after the last edited layer, the affine map of the stream that best undoes them.

    One ridge regression of the clean stream on the edited one, over all real positions of at most `REFIT_ROWS`
    reference rows, which are edited as scored rows are: constants (zero, means, `optimal` as it was fitted) are the
    same there, programs and noise are run on the reference row itself, and a resampled value comes from another
    reference row, one for all sites that share a donor. Nothing but the map is fitted here.

    Raises:
        TaskError: for edits that take values from runs that reference rows do not have, such as counterfactuals, and
            for those of the last stream.
    """
    assert isinstance(workbench.model, Model)
    assert workbench.task.reference is not None
    layer = max(edit.site.layer or 0 for edit in edits) + 1
    if layer > workbench.model.config.layers:
        raise TaskError(
            f"the option 'refit' adds a map of the stream behind the last edited layer, and behind 'r{layer - 1}' of "
            f"{workbench.model.name} there is none; leave 'refit' out"
        )
    site = Site("stream", layer)
    rows = spread(len(workbench.task.reference.tokens), REFIT_ROWS)
    clean = EditRun("clean", "reference")
    edited = EditRun("edited", "reference", edits_on_reference(workbench, edits), frozen_norm=workbench.frozen_norm)
    with torch.no_grad():
        plan = Plan((EditRun("donor", "reference"), clean, edited))
        target = workbench.runner.values(plan, clean, [site], rows)[site]
        value = workbench.runner.values(plan, edited, [site], rows)[site]
    real = workbench.task.reference.real[torch.from_numpy(rows)]
    x, y = value[real].double(), target[real].double()
    mean_x, mean_y = x.mean(0), y.mean(0)
    gram = (x - mean_x).T @ (x - mean_x)
    gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    slope = torch.linalg.solve(gram, (x - mean_x).T @ (y - mean_y))
    offset = mean_y - mean_x @ slope

    def affine(batch: Batch) -> Tensor:
        own = batch.read(site)
        out = own @ slope.to(own.dtype) + offset.to(own.dtype)
        out[:, 0] = own[:, 0]  # the first position has statistics of its own and is not scored
        return out

    return (*edits, Edit(site, Call(affine, (site,))))


def edits_on_reference(workbench: FitContext, edits: tuple[Edit, ...]) -> tuple[Edit, ...]:
    """The same edits for reference rows: a donor of a reference row is another reference row, one for all sites that
    share theirs."""
    assert workbench.task.reference is not None
    total = len(workbench.task.reference.tokens)
    random = np.random.default_rng([workbench.seed, 72])
    donors: dict[bytes, np.ndarray] = {}

    def other(source: Origin) -> Source:
        if not isinstance(source, From):
            return source
        if source.run != "donor":
            raise TaskError(
                f"the option 'refit' is fitted on the reference, whose examples have no {source.run} run to take "
                "values from; leave 'refit' out, or that ablation"
            )
        key = b"" if source.rows is None else source.rows.tobytes()
        if key not in donors:
            turn = random.permutation(total)
            donors[key] = np.empty(total, dtype=np.int64)
            donors[key][turn] = np.roll(turn, 1)  # one cycle: no row is its own donor
        return From("donor", donors[key], source.site)

    return tuple(Edit(edit.site, changed(edit.source, other)) for edit in edits)
