"""Components against a model: range checks, expansion of groups, complements, and which tap carries a site's value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from assay.errors import ComponentError, nearest
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.names import Site, larger, parse_site


def check(name: str, model: Model | ModuleModel) -> Site:
    """Parses a component's name and checks it against the model.

    Raises:
        ComponentError: with the valid range, when the layer, head, group or neuron does not exist.
    """
    if isinstance(model, ModuleModel):
        return model.site(name)
    site = parse_site(name)
    shape = model.config
    layers = shape.layers + 1 if site.kind == "stream" else shape.layers
    if site.layer is not None and site.layer >= layers:
        raise ComponentError(f"{name!r}: layer {site.layer} does not exist; {model.name} has layers 0 to {layers - 1}")
    limit = {"kv": shape.kv_heads, "head": shape.heads, "neuron": None}.get(site.kind, shape.heads)
    if site.kind in ("mlp", "neuron", "hidden"):
        assert site.layer is not None
        limit = shape.d_mlp[site.layer]
        if limit is None:
            raise ComponentError(
                f"{name!r}: layer {site.layer} of {model.name} has no MLP" + nearest(name, model.components)
            )
    if site.index is not None and limit is not None and site.index >= limit:
        what = {"kv": "key/value group", "neuron": "neuron"}.get(site.kind, "head")
        raise ComponentError(
            f"{name!r}: {what} {site.index} does not exist; layer {site.layer} has {what}s 0 to {limit - 1}"
        )
    return site


def expand(names: Iterable[str], model: Model | ModuleModel, *, streams: bool = False) -> list[Site]:
    """Parts that can be ablated: an attention layer becomes its heads, a key/value group the heads that share it, and
    a submodule that is called several times its calls.

    Args:
        streams: whether streams, and the hidden values of MLPs, are parts too.

    Raises:
        ComponentError: for a name that is no ablatable part, and for the same part named twice.
    """
    out: list[Site] = []
    for name in names:
        site = check(name, model)
        heads = range(0)
        if isinstance(model, ModuleModel):
            out += [replace(site, module=call) for call in model.calls(site.module or "")] or [site]
            continue
        if site.kind == "attention":
            heads = range(model.config.heads)
        elif site.kind == "kv":
            assert site.index is not None
            share = model.config.heads // model.config.kv_heads
            heads = range(site.index * share, (site.index + 1) * share)
        if heads:
            out += [Site("head", site.layer, head, position=site.position) for head in heads]
        elif site.kind in ("head", "mlp", "neuron") or (streams and site.kind in ("stream", "hidden")):
            out.append(site)
        elif site.kind == "bias":
            raise ComponentError(f"{name!r}: an attention bias is a constant part that is never ablated")
        else:
            raise ComponentError(
                f"{name!r} is not a component that can be ablated" + nearest(name, model.components[1:])
            )
    every = Counter(out)
    for site in out:
        if every[site] > 1 or any(around in every for around in larger(site)):
            raise ComponentError(f"{str(site)!r} is named twice, alone or within a larger part")
    return out


def complement(kept: Iterable[Site], model: Model | ModuleModel) -> list[Site]:
    """Everything that can be ablated and is not kept. An MLP of which neurons are kept loses its other neurons only.

    A part that is kept at some columns only is not in the complement; `Keep` ablates it at its other columns.
    """
    kept = list(kept)
    if isinstance(model, ModuleModel):
        return _other_modules(kept, model)
    whole = {site.at(None) for site in kept}
    neurons: dict[int, set[int]] = {}
    for site in whole:
        if site.kind == "neuron" and site.layer is not None and site.index is not None:
            neurons.setdefault(site.layer, set()).add(site.index)
    out: list[Site] = []
    for name in model.components:
        site = parse_site(name)
        if site.kind == "input" or site in whole:
            continue
        if site.kind == "mlp" and site.layer in neurons:
            width = model.config.d_mlp[site.layer] or 0
            out += [Site("neuron", site.layer, n) for n in range(width) if n not in neurons[site.layer]]
        else:
            out.append(site)
    return out


def _other_modules(kept: list[Site], model: ModuleModel) -> list[Site]:
    """The model's parts that lie in no kept one; no part that a kept one lies in is among them."""
    for site in kept:
        if site.index is not None:
            raise ComponentError(
                f"{str(site)!r}: a claim of kind keep takes whole submodules; remove and constant take single indices"
            )
    names = {site.module for site in kept}
    return [
        Site("module", module=part)
        for part in model.parts
        if part not in names and not names.intersection(model.places[part].within)
    ]


def tap(site: Site) -> tuple[str, int]:
    """The (kind, layer) of the model's `forward` whose value holds the site; (submodule, 0) for other modules."""
    if site.kind == "module":
        return site.module or "", 0
    kinds = {"head": "z", "neuron": "neurons", "hidden": "neurons", "kv": "v"}
    return kinds.get(site.kind, site.kind), site.layer or 0


def pick(value: Tensor, site: Site) -> Tensor:
    """The site's part of a tapped value: [batch, pos, width]; a neuron has width 1."""
    if site.kind in ("head", "z", "q"):
        return value[:, :, site.index]
    if site.kind == "neuron":
        assert site.index is not None
        return value[:, :, site.index : site.index + 1]
    if site.kind == "pattern":
        return value[:, site.index]
    if site.kind == "kv":
        return value[:, :, site.index]
    if site.kind == "module" and site.index is not None:
        return value[:, site.index]
    return value


def put(target: Float[Tensor, "batch *value"], new: Tensor, columns: Tensor | None) -> None:
    """A new value, in some column of each row or in all."""
    if columns is None:
        target.copy_(new.expand_as(target))
    else:
        rows = torch.arange(len(target), device=target.device)
        target[rows, columns] = new.expand_as(target)[rows, columns].to(target.dtype)


def only(value: Float[Tensor, "batch pos width"], columns: Tensor) -> Tensor:
    """A value in some column of each row, and 0 in all others."""
    out = torch.zeros_like(value)
    rows = torch.arange(len(value), device=value.device)
    out[rows, columns] = value[rows, columns]
    return out
