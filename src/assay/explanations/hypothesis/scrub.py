"""Causal scrubbing: the run in which every place takes its value from data that agree on what it is said to carry.

At each variable a datum is drawn that agrees with its reader's datum on the variable's value, and the places that carry
the variable take the values that they have there; whatever carries nothing is ablated, or taken from data that agree
on the variables that nobody carries (docs/definitions.md#hypotheses). The recursion is Chan et al.'s (2022).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int

from assay.explanations.hypothesis.edge_places import edge_runs, writers_of
from assay.explanations.hypothesis.places import Carried, before
from assay.explanations.hypothesis.values import Codes, TaskValues
from assay.intervene.components import complement
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import Data, Edit, EditRun, From, Own, Plan, Run, Source, once, origins
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.names import Site
from assay.stats.keyed import generator

LEFT = "left"  # the strength at which what carries nothing keeps its own value
SHARED = "resample_shared"  # one row for all runs
RESAMPLED = (SHARED, "resample_joint", "resample_independent")
HELPERS: dict[str, Data] = {"donor": "reference", "counterfactual": "counterfactual"}

Rows = Int[np.ndarray, "rows"]


@dataclass(frozen=True, eq=False)
class Graph:
    """Which variable is read from which, through those that no place carries.

    Attributes:
        values: on all rows; places: of the variables that have some; the answer's are those that form it.
        reads: variable (the answer too) -> those with places that it is a function of.
        loose: variable -> those without places that it is a function of, and that nothing with places is before.
        pool: from how many different data each variable draws at most (two of each value at least); None: from all.
    """

    values: TaskValues
    places: Mapping[str, Sequence[Carried]]
    pool: int | None = None
    reads: Mapping[str, tuple[str, ...]] = field(init=False)
    loose: Mapping[str, tuple[str, ...]] = field(init=False)

    def __post_init__(self) -> None:
        variables = self.values.model.variables
        reads: dict[str, tuple[str, ...]] = {}
        loose: dict[str, tuple[str, ...]] = {}
        for name, variable in variables.items():
            carried: dict[str, None] = {}
            free: dict[str, None] = {}
            for parent in variable.parents:
                if parent in self.places:
                    carried[parent] = None
                elif reads[parent]:
                    carried |= dict.fromkeys(reads[parent])
                    free |= dict.fromkeys(loose[parent])
                else:
                    free[parent] = None
            reads[name], loose[name] = tuple(carried), tuple(free)
        object.__setattr__(self, "reads", reads)
        object.__setattr__(self, "loose", loose)

    @property
    def answer(self) -> str:
        return self.values.model.answer

    @property
    def carried(self) -> tuple[str, ...]:
        """The variables that places carry: all that have some but the answer."""
        return tuple(name for name in self.places if name != self.answer)

    @property
    def edges(self) -> bool:
        """Whether its places are edges."""
        return any(one.edge for some in self.places.values() for one in some)

    def whole(self, name: str) -> bool:
        """Whether some place carries a variable everywhere, or looks at every column, so that its data have to agree in
        their columns."""
        return any(one.site.position is None or one.site.kind == "pattern" for one in self.places[name])

    @property
    def first(self) -> tuple[str, ...]:
        """Those of them that depend on no other of them."""
        behind = set().union(*map(self.values.model.behind, self.carried))
        return tuple(name for name in self.carried if name not in behind)


class Edits:
    """The edits of a run: what everything takes that carries nothing, and then what places take. Several places may be
    maps of one part: each takes its own, and all that is beside them what the rest takes there."""

    def __init__(self, rest: Mapping[Site, Edit]):
        self._rest, self._own = rest, dict[Site, Edit]()

    def put(self, one: Carried, source: Source) -> None:
        part = one.site.at(None)
        if one.part != one.site and one.part.at(None) in self._rest:  # the head is computed from what it is given
            self._own[one.part] = Edit(one.part, Own())
        beside = self._own.get(one.site) or self._rest.get(part)
        if isinstance(source, Own) and beside is None:
            return
        self._own[one.site] = Edit(one.site, one.place.source(source, Own() if beside is None else beside.source))

    def whole(self, site: Site, source: Source) -> None:
        self._own[site] = Edit(site, source)

    @property
    def all(self) -> tuple[Edit, ...]:
        return (*self._rest.values(), *self._own.values())


class Scrub:
    """Makes the scrubbed run's plan.

    Args:
        rest: the ablation of what carries nothing, or "left".
        conditioned: False: data are drawn without condition, which is the floor.
        treeify: a variable that two others read has a datum for each; else one, that agrees with the scored row.
        own: places that keep what the scored row's unedited run has; dropped: places that are left to the rest.
        redrawn: path -> for each scored row which draw its datum there is of, where that is not `draw`.
    """

    def __init__(
        self,
        workbench: PlanContext,
        graph: Graph,
        rest: str,
        draw: int = 0,
        *,
        conditioned: bool = True,
        treeify: bool = True,
        own: frozenset[Site] = frozenset(),
        dropped: frozenset[Site] = frozenset(),
        redrawn: Mapping[tuple[str, ...], Rows] | None = None,
    ):
        self.workbench, self.graph, self.rest, self.draw = workbench, graph, rest, draw
        self.conditioned, self.treeify, self.own, self.dropped = conditioned, treeify, own, dropped
        self.redrawn = redrawn or {}
        self.every = np.arange(len(graph.values.rows))
        self.runs: list[EditRun] = []
        self._shared: dict[str, Rows] = {}
        self._back: dict[str, Rows | None] = {}  # of runs: which of their rows each scored row's is
        self._codes: dict[tuple[tuple[str, ...], bool], Codes] = {}
        self.paths: dict[tuple[str, ...], Rows] = {}

    def plan(self) -> Plan:
        """The runs, the scored one last; `paths` then has every path's datum of each scored row."""
        if self.graph.edges:
            taken: dict[Site, Rows] = {}
            for name in self.graph.reads[self.graph.answer]:
                places, data = self._kept(name), self._datum(name, self.every, ("scrubbed", name))
                taken |= {one.site: data for one in places if one.site not in self.own}
            return self.edge_plan("scrubbed", taken)
        final = self._run(self.graph.answer, self.every, ("scrubbed",), None)
        return with_helpers([*self.runs, final], self.graph.values)

    def edge_plan(self, name: str, taken: Mapping[Site, Rows]) -> Plan:
        """The run in which edges carry what their writers have on these rows, and all others what the rest takes."""
        model = self.workbench.model
        assert isinstance(model, Model)
        carriers = [one for variable in self.graph.carried for one in self._kept(variable)]
        sites, fill = writers_of(model), tuple[Edit, ...]()
        if self.rest in RESAMPLED:
            loose = self.graph.loose[self.graph.answer]
            path = ("rest",) if self.rest == SHARED else (name, "rest")
            rows = self.agreeing(loose, True, self.every, path)
            for site in sites:
                if self.rest == "resample_independent":
                    rows = self.agreeing(loose, True, self.every, (*path, str(site)))
                fill += (Edit(site, From("clean", rows)),)
        elif self.rest != LEFT:
            fill = self.workbench.ablate(sites, self.rest, self.draw)
        runs = edge_runs(
            name,
            model,
            carriers,
            self._kept(self.graph.answer),
            taken,
            fill or None,
            self.workbench.frozen_norm,
        )
        return with_helpers(runs, self.graph.values)

    def read(self, at: Rows | None) -> Data:
        """The data that a run of these rows reads."""
        return "scored" if at is None else self.graph.values.data

    def _run(self, name: str, data: Rows, path: tuple[str, ...], reached: Sequence[Carried] | None) -> EditRun:
        """The run in which a variable's places (or the output) have what those that it is read from give them.

        Args:
            data: each scored row's datum of the variable; reached: the variable's places; None: the output.
        """
        module = isinstance(self.workbench.model, ModuleModel)  # whose parts stand in no known order
        depth = None if reached is None or module else max(one.depth for one in reached)
        at, rest = self.rest_of((name,), data, path, depth)
        edits = Edits(rest)
        if name == self.graph.answer:
            for one in self._kept(name):
                edits.put(one, Own())
        for parent in self.graph.reads[name]:
            self._carried(parent, data, (*path, parent), edits)
        frozen = self.workbench.frozen_norm
        return EditRun(" < ".join(path), self.read(at), edits.all, frozen_norm=frozen, at=at)

    def _carried(self, name: str, reader: Rows, path: tuple[str, ...], edits: Edits) -> None:
        """What the places of a variable take in the run of one that reads it, whose data are given."""
        places = self._kept(name)
        if not places:
            return
        data = self._datum(name, reader, path)
        if self.graph.reads[name]:
            if not self.treeify:
                path = (name,)
            known = " < ".join(path)
            if known not in self._back:
                run, self._back[known] = self._run(name, data, path, places), None
                if self.graph.pool is not None:
                    run, self._back[known] = once(run, len(data))
                self.runs.append(run)
            rows = self._back[known]
            carried: dict[bool, Source] = {aligned: From(known, rows, aligned=aligned) for aligned in (False, True)}
        else:
            carried = {aligned: From("clean", data, aligned=aligned) for aligned in (False, True)}
        for one in places:
            if one.site in self.own:
                edits.whole(one.site, From("clean", None))
            else:
                edits.put(one, carried[one.site.position is not None])

    def _kept(self, name: str) -> list[Carried]:
        return [one for one in self.graph.places.get(name, ()) if one.site not in self.dropped]

    def _datum(self, name: str, reader: Rows, path: tuple[str, ...]) -> Rows:
        """A datum for each scored row that agrees with the reader's datum on the variable."""
        layout = self.graph.whole(name)
        if self.treeify:
            return self.agreeing((name,), layout, reader, path)
        if name not in self._shared:
            self._shared[name] = self.agreeing((name,), layout, self.every, (name,))
        return self._shared[name]

    def agreeing(self, names: tuple[str, ...], layout: bool, data: Rows, path: tuple[str, ...]) -> Rows:
        names = names if self.conditioned else ()
        if (names, layout) not in self._codes:
            self._codes[names, layout] = self.graph.values.drawable(names, layout=layout)
        codes, pool = self._codes[names, layout], self.graph.pool

        def drawn(draw: int) -> Rows:
            random = generator(self.workbench.seed, "scrub", draw, *path)
            if path == ("rest",):
                return codes.any(data, random)
            if pool is None:
                return codes.other(data, random)
            some = codes if "rest" in path else codes.pool(pool, generator(self.workbench.seed, "pool", draw, *path))
            known, back = np.unique(data, return_inverse=True)  # of one datum the same, so that its run is
            return some.other(known, random)[back]

        found = drawn(self.draw)
        if path in self.redrawn:
            for draw in np.unique(self.redrawn[path]).tolist():
                found = np.where(self.redrawn[path] == draw, drawn(draw), found)
        self.paths[path] = found
        return found

    def rest_of(
        self, computed: Sequence[str], data: Rows, path: tuple[str, ...], depth: int | None
    ) -> tuple[Rows | None, dict[Site, Edit]]:
        """The rows whose tokens a run to a depth reads, and what everything on the way takes that carries nothing.

        Args:
            computed: variables that the run computes: what is loose before any of them is held.
        """
        if self.rest == LEFT:
            return (None if data is self.every else data), {}
        carriers = [one for variable in self.graph.places for one in self._kept(variable)]
        whole = [one.part for one in carriers if one.site.position is None and one.place.map is None]
        sites = [
            site
            for site in dict.fromkeys(
                (*complement([s for s in whole if s.kind != "stream"], self.workbench.model),
                 *(one.part.at(None) for one in carriers if one.part not in whole and one.site.kind != "stream"))
            )
            if depth is None or before(depth, site)
        ]  # fmt: skip
        if self.rest not in RESAMPLED:
            at = None if data is self.every else data
            return at, {edit.site: edit for edit in self.workbench.ablate(sites, self.rest, self.draw)}
        loose = tuple(dict.fromkeys(one for name in computed for one in self.graph.loose[name]))
        tokens = self.agreeing(loose, True, data, ("rest",) if self.rest == SHARED else (*path, "rest"))
        if self.rest != "resample_independent":
            return tokens, {site: Edit(site, From("clean", tokens)) for site in sites}
        rows = {site: self.agreeing(loose, True, data, (*path, "rest", str(site))) for site in sites}
        return tokens, {site: Edit(site, From("clean", rows[site])) for site in sites}


def with_helpers(runs: Sequence[Run], values: TaskValues) -> Plan:
    """The runs behind those that they take values from."""
    used = {s.run for run in runs for edit in run.edits for s in origins(edit.source) if isinstance(s, From)}
    helpers: dict[str, Data] = {**HELPERS, "clean": values.data}
    return Plan((*(EditRun(name, data) for name, data in helpers.items() if name in used), *runs))
