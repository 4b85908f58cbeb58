"""`Hypothesis`: named variables of a high-level model, and the places of the network that are said to carry them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int

from assay.errors import ClaimError, TaskError
from assay.explanations.answers import Neighbours
from assay.explanations.base import AnyModel, Explanation, listed
from assay.explanations.bits import ClaimBits, names_bits, text_bits
from assay.explanations.hypothesis import LEVEL
from assay.explanations.hypothesis.block import hypothesis_block
from assay.explanations.hypothesis.graph import Definition, HighLevelModel
from assay.explanations.hypothesis.interchange import interchange, unswapped
from assay.explanations.hypothesis.maps import BITS, Reversible, numbers
from assay.explanations.hypothesis.places import Carried, Given, Place, alignment, checked
from assay.explanations.hypothesis.scrub import LEFT, Graph, Scrub
from assay.explanations.hypothesis.values import MANY, values_of
from assay.explanations.levels import Level
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import Edit, Plan
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.names import Site
from assay.record.headline import RunScores
from assay.record.interchange import Agreed, Interchange, SwappedRow
from assay.record.pieces import Pieces
from assay.stats.estimate import Estimate, Undefined
from assay.stats.keyed import generator

PERTURBED = "resample_independent"  # what everything takes that carries nothing, where interchange leads
TRIES = 20  # draws of other places for each that is wanted


@dataclass(frozen=True, eq=False, repr=False)
class Hypothesis(Explanation):
    """The claim that the network computes a high-level model, each variable of which some places carry.

    Its explained run is the scrubbed one; its floor is the same with data that are drawn without condition.

    Attributes:
        high_level: the high-level model; places: of its variables, those that have some.
        treeify: a variable that two others read has a datum of its own for each of them.

    Example:
        >>> claim = Hypothesis(
        ...     {"first": "token(1)", "second": "token(2)", "same": "first == second"},
        ...     places={"first": ["a0.h1"]},
        ... )
        >>> claim.high_level.answer
        'same'
    """

    high_level: HighLevelModel
    places: Mapping[str, tuple[Place, ...]]
    treeify: bool = True

    kind: ClassVar[str] = "hypothesis"
    level: ClassVar[Level] = LEVEL
    headline_floor = "unconditioned"
    floor_takes = "everything"

    def __init__(
        self,
        variables: Mapping[str, Definition] | HighLevelModel,
        places: Given,
        answer: str | None = None,
        *,
        treeify: bool = True,
    ):
        """
        Args:
            variables: name -> an expression (docs/claim-files.md#expressions), or a Python function whose parameters
                are named after variables, or whose one parameter is named "example".
            places: variable -> names of components ("a1.h3", "m2"), streams ("r3") and neurons, each everywhere or in
                a column ("a1.h3@-1"), or a `Place` with a map: a subspace's basis, or some coordinates of a reversible
                map. Of the answer: the parts that form it, which are left to compute it.
            answer: the variable that the network's output is; None: the last one.

        Raises:
            ClaimError: for what is no high-level model, where no variable has a place, and for a place that is named
                twice or is no part of any network.
        """
        if not places:
            raise ClaimError("a hypothesis names no places, so it says nothing about the network")
        given = variables if isinstance(variables, HighLevelModel) else HighLevelModel.of(variables, answer)
        object.__setattr__(self, "high_level", given)
        object.__setattr__(self, "places", checked(places, given))
        object.__setattr__(self, "treeify", treeify)

    def __repr__(self) -> str:
        return f"Hypothesis({', '.join(self.high_level.variables)}; {len(self.place_names)} places)"

    @property
    def place_names(self) -> list[str]:
        return [one.name for some in self.places.values() for one in some]

    def scope(self, model: AnyModel) -> list[Site]:
        return [one.site for some in alignment(self.places, self.high_level, model).values() for one in some]

    def graph(self, workbench: PlanContext) -> Graph:
        """The hypothesis on the workbench's model and task."""
        return Graph(values_of(workbench, self.high_level), alignment(self.places, self.high_level, workbench.model))

    # -- what is run

    def plan(self, workbench: PlanContext, ablation: str, draw: int = 0) -> Plan:
        return self._scrub(workbench, ablation, draw).plan()

    def floor(self, workbench: PlanContext, ablation: str, draw: int = 0) -> Plan:
        return self._scrub(workbench, ablation, draw, conditioned=False).plan()

    def _scrub(self, workbench: PlanContext, ablation: str, draw: int, **options: Any) -> Scrub:
        return Scrub(workbench, self.graph(workbench), ablation, draw, **{"treeify": self.treeify, **options})

    def edits(self, workbench: PlanContext, ablation: str, draw: int = 0) -> tuple[Edit, ...]:
        return self.plan(workbench, ablation, draw).final.edits

    def restorable(self, workbench: PlanContext, ablation: str) -> list[Site]:
        return self.scope(workbench.model)

    def restored(self, workbench: PlanContext, ablation: str, site: Site, draw: int = 0) -> Plan:
        return self._scrub(workbench, ablation, draw, own=frozenset({site})).plan()

    def interchange(
        self, workbench: PlanContext, advance: Callable[[int, int], None] = lambda done, total: None
    ) -> Interchange:
        advance(0, 1)
        try:
            agree = unswapped(workbench, self.graph(workbench))
            found = interchange(workbench, self.graph(workbench), (LEFT, PERTURBED), workbench.seed, advance=advance)
        except TaskError as problem:
            none = Estimate.undefined(str(problem))
            return Interchange(
                accuracy=none, plain=none, variables=(), perturbed=PERTURBED, rows=(), reason=str(problem)
            )
        defined = [one for one in found if one.value(PERTURBED).value is not None]
        worst = min(defined or found, key=lambda one: one.value(PERTURBED).value or 0.0)
        return Interchange(
            accuracy=worst.value(PERTURBED),
            plain=worst.value(LEFT),
            variables=worst.names,
            perturbed=PERTURBED,
            unswapped=agree,
            rows=tuple(
                SwappedRow(
                    variables=one.names,
                    swaps=one.swaps,
                    changed=one.changed,
                    majority=one.majority,
                    by_rest={rest: Agreed(raw=raw, accuracy=one.value(rest)) for rest, raw in one.raw.items()},
                )
                for one in found
            ),
        )

    def block(
        self,
        workbench: PlanContext,
        ablation: str,
        rows: Int[np.ndarray, "rows"],
        sides: Callable[[], tuple[RunScores, RunScores] | None],
    ) -> Pieces:
        return hypothesis_block(workbench, self.graph(workbench), self.treeify, rows, PERTURBED)

    # -- in words and files

    def sentence(self, model_name: str) -> str:
        said = [
            f"{listed([one.name for one in some])} {'carries' if len(some) == 1 else 'carry'} {name!r}"
            for name, some in self.places.items()
            if name != self.high_level.answer
        ]
        forming = [one.name for one in self.places.get(self.high_level.answer, ())]
        said += [f"{listed(forming)} {'forms' if len(forming) == 1 else 'form'} the answer"] if forming else []
        return f"{'; '.join(said)}; the output of {model_name} is {self.high_level.answer!r}"

    def named(self, model: AnyModel) -> list[str]:
        return self.place_names

    def fields(self, model: AnyModel | None = None) -> dict[str, Any]:
        variables: dict[str, str] = {}
        for name, variable in self.high_level.variables.items():
            if variable.text is None:
                raise ClaimError(
                    f"the variable {name!r} of this hypothesis is a Python function, which a claim file cannot hold; "
                    "write it as an expression, or keep the claim in Python"
                )
            variables[name] = variable.text
        for name, some in self.places.items():
            mapped = next((one.map for one in some if one.map is not None), None)
            if mapped is not None:
                what = "reversible map" if isinstance(mapped, Reversible) else "subspace"
                raise ClaimError(f"the variable {name!r} is carried by a {what}, which a claim file cannot hold")
        places = {name: [one.name for one in some] for name, some in self.places.items()}
        out: dict[str, Any] = {"variables": variables, "places": places, "answer": self.high_level.answer}
        return out if self.treeify else {**out, "treeify": False}

    # -- its length and its controls

    def claim_bits(self, model: AnyModel, channels: int = 0) -> ClaimBits | Undefined:
        texts = {name: variable.text for name, variable in self.high_level.variables.items()}
        python = next((name for name, text in texts.items() if text is None), None)
        if python is not None:
            return Undefined(f"the variable {python!r} is a Python function, for which no code is defined")
        total = self._total(model)
        count = len(self.scope(model))
        width, nets = 0.0, dict[int, float]()
        for some in self.places.values():
            for one in some:
                if isinstance(one.map, Reversible):
                    nets[id(one.map.net)] = BITS * numbers(one.map)
                    width += 2 * math.log2(one.map.net.width + 1)
                elif one.map is not None:
                    width += BITS * numbers(one.map)
        width += sum(nets.values())
        functions = sum(text_bits(f"{name}={text}") for name, text in texts.items())
        which = count * math.log2(max(len(self.places), 1))
        return ClaimBits(
            names_bits(total, count) + which + width + functions,
            f"2 + log2({total}+1) + log2 C({total}, {count}) + {count} log2 {len(self.places)} variables + "
            f"{functions:.0f} of expressions" + (f" + {width:.0f} of maps" if width else ""),
        )

    def _total(self, model: AnyModel) -> int:
        """How many places there are of the kinds that the claim names."""
        if isinstance(model, ModuleModel):
            return len(model.components)
        sites = self.scope(model)
        total = len(model.components) - 1
        total += (model.config.layers + 1) * any(site.kind == "stream" for site in sites)
        total += sum(width or 0 for width in model.config.d_mlp) * any(site.kind == "neuron" for site in sites)
        return total * (model.config.context + 1 if any(site.position is not None for site in sites) else 1)

    def neighbours(self, workbench: PlanContext, ablation: str, most: int) -> Iterator[Neighbours]:
        """The same places said to carry variables whose values were put on other inputs, and the same variables said
        to be carried by other places."""
        names = [name for name in self.places if name != self.high_level.answer]

        def permuted(draw: int) -> Callable[[PlanContext], Plan]:
            def make(aside: PlanContext) -> Plan:
                values = values_of(aside, self.high_level)
                for name in names:
                    values = values.permuted(name, generator(aside.seed, "permuted variable", draw, name))
                places = alignment(self.places, self.high_level, aside.model)
                return Scrub(aside, Graph(values, places), ablation, treeify=self.treeify).plan()

            return make

        what = "each variable's values put on other inputs at random: the places carry them no more than by chance"
        others = values_of(workbench, self.high_level).orders(names)
        permutations = [(f"permutation {i}", permuted(i)) for i in range(min(most, others))]
        reason = None if permutations else "each variable has one value on all inputs"
        yield Neighbours("permuted variable", what, permutations, others, reason=reason)
        others = self.elsewhere(workbench.model, most, workbench.seed)
        if isinstance(others, Undefined):
            yield Neighbours("other places", "the same variables in other places", (), 0, reason=others.reason)
            return
        what = "the same variables in other places of the same layers, at random"
        items = [
            (", ".join(other.place_names), lambda aside, other=other: other.plan(aside, ablation)) for other in others
        ]
        possible = _possible(alignment(self.places, self.high_level, workbench.model), workbench.model)
        yield Neighbours("other places", what, items, possible)

    def elsewhere(self, model: AnyModel, most: int, seed: int) -> list[Hypothesis] | Undefined:
        """The same high-level model with each place put on another part of its layer and sort, at random."""
        if isinstance(model, ModuleModel):
            return Undefined("a module's parts have no others of their sort")
        placed = alignment(self.places, self.high_level, model)
        if any(one.place.map is not None for some in placed.values() for one in some):
            return Undefined("a map of one part is none of another")
        if all(one.site.kind not in ("head", "neuron") for some in placed.values() for one in some):
            return Undefined("the hypothesis names MLPs and streams, of which a layer has one")
        mine = {(name, one.site) for name, some in placed.items() for one in some}
        out: dict[frozenset[tuple[str, Site]], Hypothesis] = {}
        for draw in range(TRIES * most):
            if len(out) == most:
                break
            moved = _moved(placed, model, generator(seed, "other places", draw))
            if moved is None:
                continue
            key = frozenset((name, site) for name, some in moved.items() for site in some)
            if key != mine and key not in out:
                names = {name: list(map(str, some)) for name, some in moved.items()}
                out[key] = Hypothesis(self.high_level, names, treeify=self.treeify)
        return list(out.values())


def _possible(placed: Mapping[str, Sequence[Carried]], model: AnyModel) -> int:
    """How many other ways there are to place heads and neurons within their layers, no two on one in any column."""
    assert isinstance(model, Model)
    sites = [(name, one.site) for name, some in placed.items() for one in some]
    alike = Counter((name, site.kind, site.layer, site.position) for name, site in sites)
    slots: dict[tuple[str, int | None], Counter[int | str | None]] = {}
    for (_, kind, layer, position), count in alike.items():
        if kind in ("head", "neuron"):
            slots.setdefault((kind, layer), Counter())[position] += count
    ways = 1
    for (kind, layer), columns in slots.items():
        total = model.config.heads if kind == "head" else model.config.d_mlp[layer or 0] or 1
        whole = columns.pop(None, 0)  # which are apart from all others; those of two columns may be one part
        ways *= math.perm(total, whole) * math.prod(math.perm(total - whole, count) for count in columns.values())
    for (_, kind, _, _), count in alike.items():
        ways //= math.factorial(count) if kind in ("head", "neuron") else 1
    return min(ways - 1, MANY)


def _moved(
    placed: Mapping[str, Sequence[Carried]], model: Model, random: np.random.Generator
) -> dict[str, list[Site]] | None:
    """Each head and neuron put on any of its layer, no two on one in any column; none: one was left without room."""
    out: dict[str, list[Site]] = {name: [] for name in placed}
    taken: set[Site] = set()
    for name, some in placed.items():
        for site in (one.site for one in some):
            if site.kind in ("head", "neuron"):
                total = model.config.heads if site.kind == "head" else model.config.d_mlp[site.layer or 0] or 1
                beside = (t for t in taken if (t.kind, t.layer) == (site.kind, site.layer))
                used = {t.index for t in beside if t.position == site.position or None in (t.position, site.position)}
                free = [index for index in range(total) if index not in used]
                if not free:
                    return None
                site = replace(site, index=free[int(random.integers(len(free)))])
            taken.add(site)
            out[name].append(site)
    return out
