"""Where in the network variables are said to be: sites, whole or in a subspace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from assay.errors import ClaimError, ComponentError, nearest
from assay.explanations.hypothesis.graph import HighLevelModel
from assay.explanations.hypothesis.maps import PlaceMap, apart, same
from assay.intervene.components import check, expand
from assay.intervene.plan import Mix, Source
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.names import Site, larger


@dataclass(frozen=True, eq=False)
class Place:
    """A place that carries a variable.

    Attributes:
        name: as it was given, such as "a1.h3@-1".
        map: what of it carries the variable: a subspace's basis [width, k], orthonormal, or coordinates of a reversible
            map; None: all of it.
    """

    name: str
    map: PlaceMap | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Place) and self.name == other.name and same(self.map, other.map)

    def __hash__(self) -> int:
        return hash(self.name)

    def source(self, carried: Source, rest: Source) -> Source:
        """What the place takes: of what carries the variable, and beside it."""
        return carried if self.map is None else Mix(self.map, carried, rest)


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
            part of another; maps of one place that have no dimension in common are places of their own.
    """
    out: dict[str, list[Carried]] = {}
    taken: list[tuple[Carried, str]] = []
    for name, places in given.items():
        if name not in variables.variables:
            raise ClaimError(f"places are given of {name!r}, which is no variable" + nearest(name, variables.variables))
        for one in places:
            place = one if isinstance(one, Place) else Place(one)
            for site in _sites(name, place, model):
                for other, whose in taken:
                    if _overlap(site, other.site) and not (site == other.site and apart(place.map, other.place.map)):
                        where = str(other.site)
                        raise ClaimError(f"the variable {name!r}: {str(site)!r} overlaps {where!r} of {whose!r}")
                out.setdefault(name, []).append(Carried(site, place))
                taken.append((out[name][-1], name))
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
