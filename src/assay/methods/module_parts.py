"""What a claim about any module could have named instead: its submodules and their channels, and how many there are."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from assay.intervene.fill.ablations import PlanContext
from assay.model.calls import split
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.names import Site

Slot = tuple[str, int | str | None, int | str | None]  # (kind, what it is chosen from, position)


def shapes(workbench: PlanContext) -> dict[str, tuple[int, ...]]:
    """The shape of every place's value for one example; only of those that the forward pass calls, and whose value is a
    tensor of numbers that can be made others."""
    model = workbench.model
    assert isinstance(model, ModuleModel)
    return {p.name: p.shape for p in model.places.values() if p.shape is not None and p.fault is None}


def channels(workbench: PlanContext) -> int:
    """How many names such as `conv1[3]` there are: channels of all submodules that are called."""
    return sum(shape[0] for shape in shapes(workbench).values() if shape)


def slot_of(workbench: PlanContext, site: Site, anywhere: bool = False) -> Slot:
    """What a part can be exchanged for: a channel of its submodule, or a submodule of its class.

    Args:
        anywhere: a channel of any submodule of that class; any submodule without children.
    """
    model, name = workbench.model, site.module or ""
    assert isinstance(model, ModuleModel)
    kind = type(model.submodules[split(name)[0]]).__name__
    if site.index is not None:
        return ("channel", f"every {kind}" if anywhere else name, site.position)
    if not any(name in place.within for place in model.places.values()):
        # what has no parameters is exchanged with its like: it is no part elsewhere
        return ("submodule" if model.weighs(name) else "function", None if anywhere else kind, site.position)
    depth = len(model.places[name].within)
    return (f"container {depth}", kind, site.position)  # of one depth: none lies in another


def population(workbench: PlanContext, slot: Slot) -> list[Site]:
    """Every part that has this slot, in the order of definition."""
    model = workbench.model
    assert isinstance(model, ModuleModel)
    out: list[Site] = []
    kind, origin, position = slot
    for name, shape in shapes(workbench).items():
        if kind == "channel" and shape:
            some = Site("module", module=name, index=0, position=position)
            if origin in (name, slot_of(workbench, some, True)[1]):
                out += [Site("module", module=name, index=i, position=position) for i in range(shape[0])]
        whole = Site("module", module=name, position=position)
        if kind != "channel" and slot in (slot_of(workbench, whole), slot_of(workbench, whole, True)):
            out.append(whole)
    return out


def words(slots: Iterable[Slot], anywhere: bool) -> str:
    """What the parts of these slots share with the claim's."""
    kinds = {slot[0] for slot in slots}
    channel = "channels of any submodule of the same class" if anywhere else "channels of the same submodules"
    whole = "any submodules without children" if anywhere else "submodules of the same class"
    return " and ".join([channel] * ("channel" in kinds) + [whole] * bool(kinds - {"channel"}))


def nested(model: Model | ModuleModel, sites: Iterable[Site]) -> bool:
    """Whether one part lies within another: together they would be fewer than they count for."""
    if isinstance(model, Model):
        return False
    sites = list(sites)
    whole = {site.module for site in sites if site.index is None}
    return any(
        whole.intersection(model.places[site.module or ""].within) or (site.index is not None and site.module in whole)
        for site in sites
    )


def need(workbench: PlanContext, sites: Iterable[Site]) -> None:
    """Gathers the reference means of many parts, a submodule at a time: all values at once could fill the memory."""
    groups: dict[str | None, list[Site]] = {}
    for site in sites:
        groups.setdefault(site.module, []).append(site)
    for group in groups.values():
        workbench.statistics.need(group)


def flat(value: Tensor) -> Tensor:
    """A part's value as [rows, numbers]."""
    return value.reshape(len(value), -1)


def has_matrices(model: ModuleModel) -> bool:
    """Whether there is a weight matrix that a randomised copy could differ in."""
    kept = {id(p) for m in model.network.modules() if isinstance(m, torch.nn.Embedding) for p in m.parameters()}
    return any(p.ndim >= 2 and id(p) not in kept for p in model.network.parameters())
