"""Sites that a dictionary stands at: a stream, an MLP's output, what it reads or its hidden values, one head, or all
heads of a layer side by side; what their values are made of in a pass."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from assay.errors import ComponentError
from assay.intervene.components import check
from assay.model.transformer import Model
from assay.names import Site

Part = Literal["out", "in", "hidden"]
_MLP = re.compile(r"^(m\d{1,9})\.(in|hidden)$")
Key = tuple[str, int]


@dataclass(frozen=True)
class WideSite:
    """One of them.

    Attributes:
        site: `r2`, `m2`, `a1.h3`, or `a1` for all heads of a layer; part: of an MLP, its output, what it
            reads (behind its norm), or its hidden values.
    """

    site: Site
    part: Part = "out"

    def __str__(self) -> str:
        return str(self.site) if self.part == "out" else f"{self.site}.{self.part}"

    def places(self, model: Model) -> tuple[Site, ...]:
        """The sites that it is made of, side by side: itself, or the heads of a layer."""
        if self.site.kind == "attention":
            return tuple(Site("head", self.site.layer, head) for head in range(model.config.heads))
        return (Site("hidden", self.site.layer) if self.part == "hidden" else self.site,)

    @property
    def taps(self) -> tuple[Key, ...]:
        """Taps of a pass that its value is read from."""
        layer = self.site.layer or 0
        match self.site.kind, self.part:
            case "mlp", "in":
                return ("stream", layer), ("attention", layer)
            case "mlp", "hidden":
                return (("neurons", layer),)
            case (("head" | "attention"), _):
                return (("z", layer),)
        return ((self.site.kind, layer),)

    def width(self, model: Model) -> int:
        """Numbers of its value at a position."""
        shape = model.config
        match self.site.kind, self.part:
            case "mlp", "hidden":
                return shape.d_mlp[self.site.layer or 0] or 0
            case "head", _:
                return shape.d_head
            case "attention", _:
                return shape.heads * shape.d_head
        return shape.d_model


def wide_site(name: str, model: Model | None = None) -> WideSite:
    """Reads a name: `r2`, `m2`, `m2.in`, `m2.hidden`, `a1.h3`, `a1`.

    Raises:
        ComponentError: for what is no such site, or not one of the model.
    """
    from assay.names import parse_site

    found = _MLP.match(name)
    bare, part = (found[1], found[2]) if found else (name, "out")
    site = parse_site(bare)
    if site.kind not in ("stream", "mlp", "head", "attention") or site.position is not None:
        raise ComponentError(
            f"{name!r} is no site of a dictionary; give a stream ('r2'), an MLP ('m2', 'm2.in' for what it reads, "
            "'m2.hidden' for its hidden values), a head ('a1.h3') or all heads of a layer ('a1')"
        )
    if model is not None:
        check(bare, model)
    return WideSite(site, part)  # type: ignore[arg-type]


def read_wide(model: Model, site: WideSite, value: Callable[[Key], Tensor]) -> Float[Tensor, "batch pos width"]:
    """Its value, of the values of its taps."""
    layer = site.site.layer or 0
    match site.site.kind, site.part:
        case "mlp", "in":
            stream = value(("stream", layer))
            read = stream if model.config.parallel else stream + value(("attention", layer))
            return model.weights.layers[layer].norm2(read)
        case "mlp", "hidden":
            return value(("neurons", layer))
        case "head", _:
            return value(("z", layer))[:, :, site.site.index]
        case "attention", _:
            return value(("z", layer)).flatten(2)
    return value((site.site.kind, layer))
