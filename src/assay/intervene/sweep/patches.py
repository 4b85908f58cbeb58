"""What a patched component puts into the stream: one new vector at one column, at the next layer that reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.errors import ComponentError
from assay.intervene.components import check, tap
from assay.intervene.sweep.fills import Key
from assay.model.suffix import Trace
from assay.model.transformer import Model
from assay.names import Site

KINDS = ("input", "head", "attention", "mlp", "stream")


def sites_of(names: Iterable[str] | None, model: Model) -> list[Site]:
    """Sites that can be swept, by the layer whose stream they change first; all components by default.

    Raises:
        ComponentError: for a name of another kind, one with a column, and one that comes twice.
    """
    given = list(model.components if names is None else names)
    out: dict[Site, None] = {}
    for name in given:
        site = check(name, model)
        if site.kind not in KINDS or site.position is not None:
            raise ComponentError(
                f"{name!r} cannot be swept over positions; a sweep takes `input`, heads, attention layers, MLPs and "
                f"streams, without '@'"
            )
        if site in out:
            raise ComponentError(f"{name!r} is named twice")
        out[site] = None
    if not out:
        raise ComponentError("a sweep needs at least one component")
    return sorted(out, key=lambda site: (entry(site), {"head": 0, "attention": 1}.get(site.kind, 2)))


def entry(site: Site) -> int:
    """The layer whose incoming stream a patch of this site changes first."""
    assert site.kind == "input" or site.layer is not None
    return 0 if site.layer is None else site.layer + (site.kind != "stream")


class Patches:
    """Some sites of a kept run, each with its fill.

    Args:
        sites: in the order of `sites_of`.
        fills: tap -> [rows, pos, ...] what the site takes.
    """

    def __init__(self, model: Model, kept: Trace, fills: Mapping[Key, Tensor], sites: Sequence[Site]):
        self.model, self.kept, self.fills = model, kept, fills
        self.sites: dict[int, list[Site]] = {}
        for site in sites:
            self.sites.setdefault(entry(site), []).append(site)

    def __call__(
        self, layer: int, rows: Int[Tensor, "points"], columns: Int[Tensor, "points"]
    ) -> Float[Tensor, "points patches d_model"] | None:
        """The streams entering a layer (or leaving the last) at these columns, patch by patch."""
        if layer not in self.sites:
            return None
        sites, below = self.sites[layer], layer - 1
        parts = []
        heads = [site.index for site in sites if site.index is not None]
        if heads:
            parts.append(self._heads(below, heads, rows, columns))
        if any(site.kind == "attention" for site in sites):
            after = self.kept.streams[below][rows, columns] + self.fills["attention", below][rows, columns]
            parts.append(after.unsqueeze(1))
        if parts:
            parts = [self._through_mlp(torch.cat(parts, 1), below, rows, columns)]
        for site in sites:
            if site.kind in ("mlp", "input", "stream"):
                value = self.fills[tap(site)][rows, columns]
                value = value + self.kept.after[below][rows, columns] if site.kind == "mlp" else value
                parts.append(value.unsqueeze(1))
        return torch.cat(parts, 1)

    def _heads(self, layer: int, heads: list[int], rows: Tensor, columns: Tensor) -> Tensor:
        """The stream after the layer's attention with one head's z replaced."""
        delta = (self.fills["z", layer][rows, columns] - self.kept.z[layer][rows, columns])[:, heads].transpose(0, 1)
        written = torch.bmm(delta, self.model.W_O(layer)[heads]).transpose(0, 1)
        return written + self.kept.after[layer][rows, columns].unsqueeze(1)

    def _through_mlp(self, after: Tensor, layer: int, rows: Tensor, columns: Tensor) -> Tensor:
        if self.model.config.parallel:  # the MLP reads what attention has not yet changed
            written = self.kept.streams[layer + 1][rows, columns] - self.kept.after[layer][rows, columns]
            return after + written.unsqueeze(1)
        weights = self.model.weights.layers[layer]
        return after + weights.mlp(weights.norm2(after), quick=True) if weights.has_mlp else after
