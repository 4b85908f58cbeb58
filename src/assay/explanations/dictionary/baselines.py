"""Codes that nobody trained, at a site's own values: random features, dealt decoders, principal directions, the site's
own coordinates, the mean."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from assay.intervene.fill.ablations import PlanContext
from assay.intervene.kept import Kept
from assay.intervene.wide_sites import WideSite
from assay.model.transformer import Model
from assay.stats.keyed import torch_generator
from assay.train.dictionary.code import SparseCode

SEEN = 16_384  # values of the reference that these are fitted on, at most


class SiteValues(Kept[str, Tensor]):
    """Values of sites on the reference, [tokens, width], without rows' first positions."""

    room = 256 << 20


def reference_values(workbench: PlanContext, site: WideSite) -> Float[Tensor, "tokens width"]:
    """A site's values on the reference, without rows' first positions, padding, and values that are many times as
    large as all others."""

    def made() -> Tensor:
        from assay.train.dictionary.trainer import OUTLIER

        task = workbench.task.reference
        assert task is not None
        assert isinstance(workbench.model, Model)
        whole = site.places(workbench.model)
        found = workbench.statistics.values(whole)
        value = torch.cat([found[one] for one in whole], -1)
        real = task.real.clone()
        real[:, 0] = False
        flat = value[real.to(value.device)].float()
        norms = flat.norm(dim=-1)
        flat = flat[norms <= OUTLIER * norms.median()]
        return flat[torch.linspace(0, len(flat) - 1, min(SEEN, len(flat))).long()].contiguous()

    return workbench.store.of(SiteValues).once(str(site), made)


def active(workbench: PlanContext, site: WideSite, code: SparseCode) -> int:
    """How many of a code's features are active on the reference, on average and at least 1."""
    values = reference_values(workbench, site)[:4096]
    with torch.no_grad():
        counts = (code.to(values.device).encode(values) > 0).float().sum(-1)
    return max(1, round(float(counts.mean())))


def random(workbench: PlanContext, site: WideSite, code: SparseCode, k: int, draw: int) -> SparseCode:
    """As many random features, of which the k furthest along are active, all at one scale: that which fits best."""
    values = reference_values(workbench, site)
    generator = torch_generator(workbench.seed, "random dictionary", str(site), draw)
    rows = functional.normalize(torch.randn(code.width, code.d_in, generator=generator), dim=-1).to(values)
    mean = values.mean(0)
    made = _plain(rows, mean, min(k, code.width), code.most)
    some = values[:4096]
    with torch.no_grad():
        said, wanted = made(some) - mean, some - mean
        scale = float((said * wanted).sum() / said.square().sum().clamp(min=1e-30))
    return replace(made, decoder=rows * scale)


def shuffled(workbench: PlanContext, site: WideSite, code: SparseCode, draw: int) -> SparseCode:
    """The code with its decoder's rows dealt to other features."""
    generator = torch_generator(workbench.seed, "shuffled decoder", str(site), draw)
    return replace(code, decoder=code.decoder[torch.randperm(code.width, generator=generator)])


def principal(workbench: PlanContext, site: WideSite, k: int) -> SparseCode:
    """k principal directions of the site's values, each there in both senses."""
    values = reference_values(workbench, site)
    centred = (values - values.mean(0)).double()
    found = torch.linalg.eigh(centred.T @ centred)[1].flip(-1)[:, :k].T.to(values)
    return replace(_plain(torch.cat([found, -found]), values.mean(0), 1, None), rule="relu", k=None)


def coordinates(workbench: PlanContext, site: WideSite, k: int) -> SparseCode:
    """The site's own coordinates, of which the k furthest from their means are there: the neurons themselves at an
    MLP's hidden values."""
    values = reference_values(workbench, site)
    rows = torch.eye(values.shape[-1]).to(values)
    return _plain(torch.cat([rows, -rows]), values.mean(0), min(k, values.shape[-1]), None)


def mean(values: Float[Tensor, "tokens width"]) -> SparseCode:
    """The site's mean, whatever its value is."""
    width = values.shape[-1]
    code = _plain(torch.zeros(2, width).to(values), values.mean(0), 1, None)
    return replace(code, rule="relu", k=None)


def _plain(rows: Tensor, mean: Tensor, k: int, most: float | None) -> SparseCode:
    zeros = torch.zeros(len(rows)).to(rows)
    return SparseCode(rows, zeros, rows, mean, mean, "topk", k, most=most)


def stand_in(code: SparseCode, d_in: int, d_out: int) -> SparseCode:
    """A narrow code in the place of one, for models that stand in for wider ones: only what is run is looked at."""
    return SparseCode(
        torch.zeros(2, d_in), torch.zeros(2), torch.zeros(2, d_out), torch.zeros(d_out), torch.zeros(d_in), "relu"
    )
