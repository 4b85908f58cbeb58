"""Where in the network variables are said to be: sites, whole or in a subspace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from assay.errors import ClaimError, ComponentError, nearest
from assay.explanations.hypothesis.graph import HighLevelModel
from assay.intervene.components import check, expand
from assay.intervene.plan import Mix, Source
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.names import Site, larger


@dataclass(frozen=True, eq=False)
class Place:
    """A place that carries a variable.

    Attributes:
        name: as it was given, such as "a1.h3@-1"; basis: [width, k] orthonormal, where only a subspace carries it.
    """

    name: str
    basis: Tensor | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Place) or self.name != other.name or (self.basis is None) != (other.basis is None):
            return False
        return self.basis is None or other.basis is None or torch.equal(self.basis, other.basis)

    def __hash__(self) -> int:
        return hash(self.name)

    def source(self, carried: Source, rest: Source) -> Source:
        """What the place takes: in the subspace, and beside it."""
        return carried if self.basis is None else Mix(self.basis, carried, rest)


Given = Mapping[str, Sequence[str | Place]]


@dataclass(frozen=True, eq=False)
class Carried:
    """A place in a model."""

    site: Site
    place: Place

    @property
    def depth(self) -> int:
        """Where it lies on the way: what a run up to it has to go through."""
        layer, kind = self.site.layer or 0, self.site.kind
        return 2 * layer + {"stream": 0, "head": 1, "module": 0}.get(kind, 2)


def alignment(given: Given, variables: HighLevelModel, model: Model | ModuleModel) -> dict[str, list[Carried]]:
    """The places of every variable that has some, checked against a model.

    Raises:
        ClaimError: with the variable's name, for a place that does not exist, one that is named twice, and one that is
            part of another.
    """
    out: dict[str, list[Carried]] = {}
    taken: dict[Site, str] = {}
    for name, places in given.items():
        if name not in variables.variables:
            raise ClaimError(f"places are given of {name!r}, which is no variable" + nearest(name, variables.variables))
        if name == variables.answer:
            raise ClaimError(f"the answer {name!r} is the network's output, so no places are given of it")
        for one in places:
            place = one if isinstance(one, Place) else Place(one)
            for site in _sites(name, place, model):
                for other, whose in taken.items():
                    if _overlap(site, other):
                        raise ClaimError(f"the variable {name!r}: {str(site)!r} overlaps {str(other)!r} of {whose!r}")
                taken[site] = name
                out.setdefault(name, []).append(Carried(site, place))
    return out


def _sites(name: str, place: Place, model: Model | ModuleModel) -> list[Site]:
    try:
        site = check(place.name, model)
        return [site] if site.kind == "stream" else expand([place.name], model)
    except ComponentError as problem:
        raise ClaimError(f"the variable {name!r}: {problem}") from problem


def _overlap(one: Site, other: Site) -> bool:
    """Whether two sites are one place, or one is a part of the other, in some column."""
    a, b = one.at(None), other.at(None)
    inside = a == b or a in larger(b) or b in larger(a)
    return inside and (one.position == other.position or None in (one.position, other.position))


def before(depth: int, site: Site) -> bool:
    """Whether a site lies on the way to a place of this depth."""
    return Carried(site, Place(str(site))).depth < depth
