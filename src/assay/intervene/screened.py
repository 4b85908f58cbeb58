"""Screening: some places at a cut hold what they are on the scored row, and all else on the way takes other rows'.

A cut is a stream. What lies upstream of it are the input's embedding and the heads and MLPs of the layers before: the
stream is their sum. Or it is held as one, in some columns or in a subspace. What is downstream is computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeGuard

from torch import Tensor

from assay.errors import ComponentError
from assay.intervene.components import check, expand
from assay.intervene.fill.ablations import NEEDS_STREAM, PlanContext
from assay.intervene.plan import Coordinates, Edit, From, Mix, Own, Plan, Source
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.names import Site, parse_site

Kept = Tensor | Coordinates | None  # of a place an orthonormal basis [width, k], other coordinates, or all of it
Places = Iterable[str] | Mapping[str, Kept]
DONORS = "resample_independent"  # a row of the reference for each part, in each draw another one
INPUT = Site("stream", 0)


def cut_of(model: Model | ModuleModel, cut: str) -> Site:
    """A cut's stream.

    Raises:
        ComponentError: for what is no stream of the model.
    """
    if isinstance(model, ModuleModel):
        raise ComponentError(f"a cut {NEEDS_STREAM}; {model.name} is none")
    site = Site("stream", model.config.layers) if cut == "logits" else check(cut, model)
    if site.kind != "stream" or site.position is not None:
        last = model.config.layers
        raise ComponentError(f"{cut!r} is no cut; a cut is a whole stream, 'r0' to 'r{last}', or 'logits'")
    return site


def upstream(model: Model | ModuleModel, cut: str) -> list[str]:
    """The parts whose sum a cut's stream is, but for biases: 'input', and the heads and MLPs of the layers before."""
    layer = cut_of(model, cut).layer or 0
    return ["input", *(name for name in model.components if name != "input" and (parse_site(name).layer or 0) < layer)]


def screened(workbench: PlanContext, places: Places, cut: str, draw: int = 0) -> Plan:
    """The plan in which these places hold what they are on the scored row, and everything else upstream of the cut
    takes its value on a row of the reference: each part a row of its own, keyed by part, document and draw.

    Args:
        places: 'input', heads, MLPs and attention layers before the cut; or of the cut's own stream columns ('r4@-1')
            or a subspace: a mapping gives places a basis [width, k], or other coordinates. All of the stream
            is everything.
        cut: a stream, such as 'r4', or 'logits'.

    Raises:
        ComponentError: for a place that does not exist, that does not lie upstream of the cut or is named twice.

    Example:
        >>> from assay import Task, Workbench, load
        >>> model = load("zoo:novel-1l")
        >>> plan = screened(Workbench(model, Task.repeat(model, n=2, length=4)), ["input", "a0.h1"], "r1")
        >>> [(str(edit.site), edit.source.run) for edit in plan.final.edits][:4]
        [('r0', 'donor'), ('r0', 'clean'), ('a0.h0', 'donor'), ('a0.h1', 'donor')]
    """
    model, stream = workbench.model, cut_of(workbench.model, cut)
    assert isinstance(model, Model)
    held = _held(places, stream, model)
    if any(site.at(None) == stream for site in held) and stream != INPUT:
        if stray := next((site for site in held if site.at(None) != stream), None):
            raise ComponentError(f"{str(stray)!r} and {str(stream)!r} are both held, and one is part of the other")
        parts = [stream]
    else:
        parts = [INPUT, *expand(upstream(model, cut)[1:], model)]
    edits = list[Edit]()
    for part in parts:
        fill = workbench.source(DONORS, part, draw)
        if part == stream != INPUT and part in held:
            edits.append(Edit(part, _mixed(held[part], Own(), fill)))
            continue
        edits.append(Edit(part, fill))  # what is held comes on top: so donors of all sets are the same, and run once
        edits += [Edit(site, _mixed(held[site], From("clean"), fill)) for site in held if site.at(None) == part]
    return workbench.plan(tuple(edits), "screened")


def _held(places: Places, stream: Site, model: Model) -> dict[Site, Kept]:
    given = places if _named(places) else dict.fromkeys(places)
    out = dict[Site, Kept]()
    for name, kept in given.items():
        site = check(name, model)
        if site.kind == "input":
            sites = [INPUT.at(site.position)]
        elif site.kind == "stream":
            if site.at(None) != stream:
                raise ComponentError(f"{name!r} is not the stream of the cut, {str(stream)!r}; name parts before it")
            sites = [site]
        else:
            sites = expand([name], model)
            if sites[0].kind == "neuron" or (site.layer or 0) >= (stream.layer or 0):
                why = "is a neuron" if sites[0].kind == "neuron" else f"does not lie before the cut {str(stream)!r}"
                raise ComponentError(f"{name!r} {why}; what can be held there are {', '.join(_some(stream, model))}")
        for one in sites:
            if one in out or (one.position is not None and one.at(None) in out):
                raise ComponentError(f"{name!r} is held twice, alone or within a larger part")
            out[one] = kept
    if twice := next((site for site in out if site.position is None and any(_within(o, site) for o in out)), None):
        raise ComponentError(f"{str(twice)!r} is held twice, alone or within a larger part")
    return out


def _named(places: Places) -> TypeGuard[Mapping[str, Kept]]:
    return isinstance(places, Mapping)


def _within(one: Site, whole: Site) -> bool:
    return one != whole and one.at(None) == whole


def _some(stream: Site, model: Model) -> list[str]:
    names = upstream(model, str(stream))
    return [*names[:3], "...", names[-1]] if len(names) > 4 else names


def _mixed(kept: Kept, own: Source, fill: Source) -> Source:
    return own if kept is None else Mix(kept, own, fill)
