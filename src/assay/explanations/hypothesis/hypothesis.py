"""`Hypothesis`: named variables of a high-level model, and the places of the network that are said to carry them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from assay.errors import ClaimError
from assay.explanations.answers import MOST_USES, Neighbours, Use, Uses
from assay.explanations.base import AnyModel, Explanation, listed
from assay.explanations.bits import ClaimBits, names_bits, text_bits
from assay.explanations.hypothesis import LEVEL
from assay.explanations.hypothesis.block import alone, hypothesis_block
from assay.explanations.hypothesis.elsewhere import elsewhere, possible
from assay.explanations.hypothesis.graph import Definition, HighLevelModel
from assay.explanations.hypothesis.maps import BITS, Reversible, numbers
from assay.explanations.hypothesis.matches import Matches, matched
from assay.explanations.hypothesis.places import INSIDE, Given, Place, alignment, checked
from assay.explanations.hypothesis.scrub import Graph, Scrub
from assay.explanations.hypothesis.swaps import at_its_worst, swapped
from assay.explanations.hypothesis.values import MANY, values_of
from assay.explanations.levels import Level
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import Edit, Plan
from assay.model.module import ModuleModel
from assay.names import Site
from assay.record.headline import RunScores
from assay.record.interchange import Interchange
from assay.record.pieces import Pieces
from assay.score.score import score
from assay.stats.estimate import Undefined
from assay.stats.keyed import generator

PERTURBED = "resample_independent"  # what everything takes that carries nothing, where interchange leads


@dataclass(frozen=True, eq=False, repr=False)
class Hypothesis(Explanation):
    """The claim that the network computes a high-level model, each variable of which some places carry.

    Its explained run is the scrubbed one; its floor is the same with data that are drawn without condition.

    Attributes:
        high_level: the high-level model; places: of its variables, those that have some.
        treeify: a variable that two others read has a datum of its own for each of them.
        pool, matches: from how many data each variable draws at most; what generates inputs where too few agree.

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
    pool: int | None = None
    matches: Matches | None = None

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
        pool: int | None = None,
        matches: Matches | Callable[..., Any] | None = None,
    ):
        """
        Args:
            variables: name -> an expression (docs/claim-files.md#expressions), or a Python function whose parameters
                are named after variables, or whose one parameter is named "example".
            places: variable -> names of components ("a1.h3", "m2"), streams ("r3") and neurons, each everywhere or in
                a column ("a1.h3@-1"), or a `Place` with a map: a subspace's basis (`Place.read` takes it from a file),
                or some coordinates of a reversible map. Of the answer: the parts that form it, which are left to
                compute it.
            answer: the variable that the network's output is; None: the last one.
            pool: from how many different data each variable draws at most, two of each value at least: runs that are
                equal are then run once, and the score is the same on average over seeds; None: from all that agree.
            matches: a generator of inputs for conditions that no other row satisfies, called with an `Example` and the
                names of the variables on which they must agree; `Matches` has more to say.

        Raises:
            ClaimError: for what is no high-level model, where no variable has a place, for a place that is named
                twice or is no part of any network, and for a pool of fewer than two.
        """
        if not places:
            raise ClaimError("a hypothesis names no places, so it says nothing about the network")
        given = variables if isinstance(variables, HighLevelModel) else HighLevelModel.of(variables, answer)
        object.__setattr__(self, "high_level", given)
        object.__setattr__(self, "places", checked(places, given))
        object.__setattr__(self, "treeify", treeify)
        if pool is not None and (isinstance(pool, bool) or not isinstance(pool, int) or pool < 2):
            raise ClaimError(f"a pool takes at least 2 data, and is given {pool!r}")
        object.__setattr__(self, "pool", pool)
        made = matches if isinstance(matches, Matches | None) else Matches(matches)
        object.__setattr__(self, "matches", made)

    def __repr__(self) -> str:
        return f"Hypothesis({', '.join(self.high_level.variables)}; {len(self.place_names)} places)"

    @property
    def place_names(self) -> list[str]:
        return [one.name for some in self.places.values() for one in some]

    def scope(self, model: AnyModel) -> list[Site]:
        return [one.site for some in alignment(self.places, self.high_level, model).values() for one in some]

    def graph(self, workbench: PlanContext) -> Graph:
        """The hypothesis on the workbench's model and task."""
        places = alignment(self.places, self.high_level, workbench.model)
        plain = Graph(values_of(workbench, self.high_level), places, self.pool)
        if self.matches is None:
            return plain
        return matched(workbench, plain, self.matches, self)

    def placed(self, places: Given) -> Hypothesis:
        """The same high-level model, whose data are drawn in the same way, in other places."""
        return Hypothesis(self.high_level, places, treeify=self.treeify, pool=self.pool, matches=self.matches)

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
        return swapped(workbench, self.graph(workbench), PERTURBED, advance)

    def harder(self, workbench: PlanContext, found: Interchange) -> Interchange:
        return at_its_worst(workbench, self.graph(workbench), found)

    def matched_alone(self, workbench: PlanContext) -> dict[str, float]:
        return alone(self.graph(workbench))

    def uses(self, workbench: PlanContext, ablation: str, rows: Int[np.ndarray, "rows"]) -> Uses:
        """Each place left to the rest: scrubbed without it, and with no other."""
        sites = list(dict.fromkeys(self.scope(workbench.model)))
        if len(sites) > MOST_USES:
            return Uses((), 0.0, f"{len(sites)} places; at most {MOST_USES} are left to the rest one by one")
        whole, none = self.plan(workbench, ablation), self._scrub(workbench, ablation, 0, dropped=frozenset(sites))
        without = {site: self._scrub(workbench, ablation, 0, dropped=frozenset({site})).plan() for site in sites}
        alone = {site: self._scrub(workbench, ablation, 0, dropped=frozenset(sites) - {site}).plan() for site in sites}
        pairs = {None: (whole, none.plan()), **{site: (whole, one) for site, one in without.items()}}
        targets = {("left out", site): first for site, (first, _) in pairs.items()}
        targets |= dict.fromkeys((("alone", site) for site in sites), pairs[None][1])
        systems = {("left out", site): second for site, (_, second) in pairs.items()}
        systems |= {("alone", site): one for site, one in alone.items()}
        found = score(workbench, systems, rows=rows, targets=targets)
        uses = [
            Use(str(site), found.mean_kl(("left out", site)), {"alone": found.mean_kl(("alone", site))})
            for site in sites
        ]
        return Uses(tuple(uses), found.mean_kl(("left out", None)), ablation=ablation)

    def coarser(self, workbench: PlanContext, ablation: str) -> dict[str, Plan]:
        """Each variable with its values not told apart: of every two, and of all."""
        graph, out = self.graph(workbench), dict[str, Plan]()
        for name in graph.carried:
            count = graph.values.different(name)
            for by in (2, 0) if count > 3 else (0,) if count > 1 else ():
                merged = replace(graph, values=graph.values.merged(name, by))
                what = f"{name}: {count} → {math.ceil(count / by) if by else 1} values"
                out[what] = Scrub(workbench, merged, ablation, treeify=self.treeify).plan()
        return out

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
        if self.matches is not None:
            raise ClaimError(
                f"the generator of matches {self.matches.name!r} of this hypothesis is a Python function, which a "
                "claim file cannot hold; leave it out of the file, or keep the claim in Python"
            )
        variables: dict[str, str] = {}
        for name, variable in self.high_level.variables.items():
            if variable.text is None:
                raise ClaimError(
                    f"the variable {name!r} of this hypothesis is a Python function, which a claim file cannot hold; "
                    "write it as an expression, or keep the claim in Python"
                )
            variables[name] = variable.text
        try:
            places = {name: [one.entry for one in some] for name, some in self.places.items()}
        except ClaimError as problem:
            name = next(n for n, some in self.places.items() if any(p.map is not None and p.file is None for p in some))
            raise ClaimError(f"the variable {name!r} is carried by {problem}") from None
        out: dict[str, Any] = {"variables": variables, "places": places, "answer": self.high_level.answer}
        out |= {} if self.treeify else {"treeify": False}
        return out if self.pool is None else {**out, "pool": self.pool}

    # -- its length and its controls

    def claim_bits(self, model: AnyModel, channels: int = 0) -> ClaimBits | Undefined:
        texts = {name: variable.text for name, variable in self.high_level.variables.items()}
        python = next((name for name, text in texts.items() if text is None), None)
        if python is not None:
            return Undefined(f"the variable {python!r} is a Python function, for which no code is defined")
        total = self._total(model)
        count = len(self.place_names) if "->" in self.place_names[0] else len(self.scope(model))
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
        if any("->" in name for name in self.place_names):
            return len(model.edges)
        sites = self.scope(model)
        total = len(model.components) - 1
        total += (model.config.layers + 1) * any(site.kind == "stream" for site in sites)
        total += sum(width or 0 for width in model.config.d_mlp) * any(site.kind == "neuron" for site in sites)
        total += model.config.layers * model.config.heads * len({site.kind for site in sites}.intersection(INSIDE))
        return total * (model.config.context + 1 if any(site.position is not None for site in sites) else 1)

    def neighbours(self, workbench: PlanContext, ablation: str, most: int) -> Iterator[Neighbours]:
        """The same places said to carry variables whose values were put on other inputs, and the same variables said
        to be carried by other places."""
        names = [name for name in self.places if name != self.high_level.answer]

        def permuted(draw: int) -> Callable[[PlanContext], Plan]:
            def make(aside: PlanContext) -> Plan:
                graph = self.graph(aside)
                for name in names:
                    random = generator(aside.seed, "permuted variable", draw, name)
                    graph = replace(graph, values=graph.values.permuted(name, random))
                return Scrub(aside, graph, ablation, treeify=self.treeify).plan()

            return make

        what = "each variable's values put on other inputs at random: the places carry them no more than by chance"
        others = values_of(workbench, self.high_level).orders(names)
        permutations = [(f"permutation {i}", permuted(i)) for i in range(min(most, others))]
        reason = None if permutations else "each variable has one value on all inputs"
        yield Neighbours("permuted variable", what, permutations, others, reason=reason)
        if any(isinstance(one.map, Tensor) for some in self.places.values() for one in some):
            yield self._random_subspaces(ablation, most)
        others = self.elsewhere(workbench.model, most, workbench.seed)
        if isinstance(others, Undefined):
            yield Neighbours("other places", "the same variables in other places", (), 0, reason=others.reason)
            return
        what = "the same variables in other places of the same layers, at random"
        items = [
            (", ".join(other.place_names), lambda aside, other=other: other.plan(aside, ablation)) for other in others
        ]
        count = possible(alignment(self.places, self.high_level, workbench.model), workbench.model)
        yield Neighbours("other places", what, items, count)

    def _random_subspaces(self, ablation: str, most: int) -> Neighbours:
        """The same variables in other subspaces of the same places, of as many dimensions; those of one place stay
        apart."""

        def drawn(draw: int) -> Callable[[PlanContext], Plan]:
            def make(aside: PlanContext) -> Plan:
                at: dict[str, list[Tensor]] = {}
                for one in (one for some in self.places.values() for one in some):
                    if isinstance(one.map, Tensor):
                        at.setdefault(one.name, []).append(one.map)
                bases = {name: iter(_drawn(some, aside.seed, draw, name)) for name, some in at.items()}
                places = {
                    name: [Place(p.name, next(bases[p.name])) if isinstance(p.map, Tensor) else p for p in some]
                    for name, some in self.places.items()
                }
                return self.placed(places).plan(aside, ablation)

            return make

        what = "the same variables in other subspaces of the same places, of as many dimensions, at random"
        return Neighbours("random subspaces", what, [(f"draw {i}", drawn(i)) for i in range(most)], MANY)

    def elsewhere(self, model: AnyModel, most: int, seed: int, overlap: float = 1.0) -> list[Hypothesis] | Undefined:
        """The same high-level model with each place put on another part of its layer and sort, at random.

        Args:
            overlap: the share of its places in common with these that each stays under.
        """
        found = elsewhere(alignment(self.places, self.high_level, model), model, most, seed, overlap)
        if isinstance(found, Undefined):
            return found
        return [self.placed(places) for places in found]


def _drawn(maps: list[Tensor], seed: int, draw: int, name: str) -> list[Tensor]:
    """Random bases as wide as these, no two with a dimension in common."""
    width, sizes = len(maps[0]), [one.shape[1] for one in maps]
    random = generator(seed, "random subspaces", draw, name).normal(size=(width, sum(sizes)))
    return list(torch.from_numpy(np.linalg.qr(random)[0]).to(maps[0]).split(sizes, 1))
