"""Where in the network variables are said to be: sites, whole or in a subspace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from assay.errors import ClaimError, ComponentError
from assay.explanations.hypothesis.graph import HighLevelModel, misplaced
from assay.explanations.hypothesis.maps import PlaceMap, Reversible, apart, same
from assay.explanations.subspace.fits import width_of
from assay.explanations.subspace.given import read
from assay.explanations.subspace.spec import Given as Basis
from assay.intervene.components import check, expand
from assay.intervene.plan import Mix, Source
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.names import Site, overlap


@dataclass(frozen=True, eq=False)
class Place:
    """A place that carries a variable.

    Attributes:
        name: as it was given, such as "a1.h3@-1".
        map: what of it carries the variable: a subspace's basis [width, k], orthonormal, or coordinates of a reversible
            map; None: all of it.
        file, tensor: where the basis lies, for a claim file.

    Example:
        >>> Place.read("r3@-1", "basis.npy")  # doctest: +SKIP
    """

    name: str
    map: PlaceMap | None = None
    file: str | None = None
    tensor: str | None = None

    @classmethod
    def read(cls, name: str, file: str, tensor: str | None = None) -> Place:
        """The subspace of a place whose basis [width, k] lies in a .npy or .safetensors file; it is orthonormalised.

        Args:
            tensor: which one of a .safetensors file; None: the only one.

        Raises:
            ClaimError: for a file that is not there, and what is no basis.
        """
        return cls.given(name, read(file, tensor))

    @classmethod
    def given(cls, name: str, basis: Basis) -> Place:
        """The subspace of a basis that was read."""
        return cls(name, torch.from_numpy(basis.basis).float(), basis.file, basis.tensor)

    @property
    def entry(self) -> str | dict[str, dict[str, str]]:
        """As a claim file has it.

        Raises:
            ClaimError: for a map that is in no file.
        """
        if self.map is None:
            return self.name
        if self.file is None:
            what = "reversible map" if isinstance(self.map, Reversible) else "subspace"
            more = "" if what == "reversible map" else "; save its basis as .npy, and give Place.read(NAME, FILE)"
            raise ClaimError(f"a {what} of {self.name!r}, which a claim file cannot hold{more}")
        return {self.name: {"file": self.file} | ({} if self.tensor is None else {"tensor": self.tensor})}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Place) and self.name == other.name and same(self.map, other.map)

    def __hash__(self) -> int:
        return hash(self.name)

    def source(self, carried: Source, rest: Source) -> Source:
        """What the place takes: of what carries the variable, and beside it."""
        return carried if self.map is None else Mix(self.map, carried, rest)


Given = Mapping[str, Sequence[str | Place]]
INSIDE = ("pattern", "q")  # of a head: where it looks, and by what


@dataclass(frozen=True, eq=False)
class Carried:
    """A place in a model."""

    site: Site
    place: Place

    @property
    def edge(self) -> bool:
        """Whether it is an edge; its site is the writer's."""
        return "->" in self.place.name

    @property
    def depth(self) -> int:
        """Where it lies on the way: what a run up to it has to go through."""
        layer, kind = self.site.layer or 0, self.site.kind
        return 3 * layer + {"stream": 0, "head": 1, "pattern": 1, "q": 1, "module": 0}.get(kind, 2)

    @property
    def part(self) -> Site:
        """What the rest does without: the place itself, or the head that goes on from its pattern or queries."""
        return replace(self.site, kind="head") if self.site.kind in INSIDE else self.site


def beside(one: Place, other: Place) -> bool:
    """Whether two places that have one name have no dimension in common."""
    return apart(one.map, other.map)


def checked(given: Given, variables: HighLevelModel) -> dict[str, tuple[Place, ...]]:
    """The places of every variable that has some, checked as far as names tell.

    Raises:
        ClaimError: with the variable's name.
    """
    wrong = next((name for name, some in given.items() if isinstance(some, str) or not some), None)
    if wrong is not None:
        raise ClaimError(f"the variable {wrong!r} takes a list of at least one place, not {given[wrong]!r}")
    made = {name: tuple(one if isinstance(one, Place) else Place(one) for one in some) for name, some in given.items()}
    problem = misplaced(made, variables, beside=beside)
    if problem is not None:
        raise ClaimError(problem.sentence)
    return made


def alignment(given: Given, variables: HighLevelModel, model: Model | ModuleModel) -> dict[str, list[Carried]]:
    """The places of every variable that has some, checked against a model.

    Raises:
        ClaimError: with the variable's name, for a place that does not exist, one that is named twice, and one that is
            part of another; maps of one place that have no dimension in common are places of their own.
    """
    out: dict[str, list[Carried]] = {}
    taken: list[tuple[Carried, str]] = []
    for name, places in checked(given, variables).items():
        for place in places:
            for site in _sites(name, place, model):
                for other, whose in taken:  # heads that share keys and values only a model knows
                    if other.edge and whose == name:
                        continue
                    if overlap(site, other.site) and not (site == other.site and beside(place, other.place)):
                        where = str(other.site)
                        raise ClaimError(f"the variable {name!r}: {str(site)!r} overlaps {where!r} of {whose!r}")
                if place.map is not None and (site.kind in INSIDE or "->" in place.name):
                    what = "is a place as a whole alone; subspaces are of heads, MLPs and streams"
                    raise ClaimError(f"the variable {name!r}: {place.name!r} {what}")
                width = width_of(model, site) if isinstance(place.map, Tensor) else None
                if isinstance(place.map, Tensor) and width not in (None, len(place.map)):
                    what = f"a basis of vectors of {len(place.map)} numbers, and it has {width}"
                    raise ClaimError(f"the variable {name!r}: {place.name!r} is given {what}")
                out.setdefault(name, []).append(Carried(site, place))
                taken.append((out[name][-1], name))
    return out


def _sites(name: str, place: Place, model: Model | ModuleModel) -> list[Site]:
    try:
        if "->" in place.name:
            if not isinstance(model, Model):
                raise ClaimError(f"the variable {name!r}: {place.name!r} is an edge, and {model.name} has none")
            model.edges.mask([place.name])
            return [check(place.name.partition("->")[0], model)]
        site = check(place.name, model)
        return [site] if site.kind in ("stream", *INSIDE) else expand([place.name], model)
    except ComponentError as problem:
        raise ClaimError(f"the variable {name!r}: {problem}") from problem


def before(depth: int, site: Site) -> bool:
    """Whether a site lies on the way to a place of this depth."""
    return Carried(site, Place(str(site))).depth < depth
