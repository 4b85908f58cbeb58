"""Which coordinates of a place carry variables: a map that is fitted on swaps by gradient, and what it is worth.

A subspace is Geiger et al.'s (2023) distributed alignment search; a reversible map is there to show how little the
usual score says (docs/definitions.md#hypotheses). A map is fitted on one task, chosen on another and scored on a third;
beside it stand the same fit in a network with random weights, and of variables whose values were put on other inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from assay.errors import ClaimError, nearest
from assay.explanations.hypothesis.hypothesis import PERTURBED, Hypothesis
from assay.explanations.hypothesis.interchange import NEVER, Answers, Swapper, Swaps, draw_swaps
from assay.explanations.hypothesis.maps import BITS, Couplings, PlaceMap, Reversible, numbers, rounded
from assay.explanations.hypothesis.places import Place, alignment
from assay.explanations.hypothesis.scrub import LEFT, Graph
from assay.explanations.hypothesis.values import TaskValues, values_of
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import EditRun, Plan
from assay.model.transformer import Model
from assay.names import parse_site
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate
from assay.stats.keyed import generator

Kind = Literal["linear", "reversible"]
SWAPS = 8  # draws of each set of variables that are fitted on
LOOK, PATIENCE = 50, 6  # steps between two looks at the selection, and looks without gain until a fit ends
LOST = 0.01  # of accuracy, that fewer bits may cost


@dataclass(frozen=True, eq=False)
class MapFit:
    """A fitted map.

    Attributes:
        claim: the hypothesis with the map's coordinates in place.
        start, reached: nats of the right answer after swaps of the selection; steps: until the best of it.
    """

    claim: Hypothesis
    start: float
    reached: float
    steps: int


@dataclass(frozen=True)
class Fitting:
    """How a map is fitted.

    Attributes:
        kind: "linear", a subspace for each variable; "reversible", `depth` couplings of `hidden` neurons each.
        starts: from how many starts; the best on the selection is kept.
        steps: of Adam at most, from each; rate: its rate; batch: swaps a step.
        rest: what everything takes during a swap that carries nothing: "left", or an ablation.
    """

    kind: Kind = "linear"
    starts: int = 2
    steps: int = 2000
    rate: float = 1e-2
    batch: int = 256
    rest: str = LEFT
    hidden: int = 16
    depth: int = 10


def sets_of(graph: Graph, variables: Sequence[str]) -> list[tuple[str, ...]]:
    """Which variables are swapped: each alone, and all at once that depend on no other of them."""
    first = tuple(n for n in variables if all(n not in graph.values.model.behind(other) for other in variables))
    return [*((name,) for name in variables), *([first] if len(first) > 1 else [])]


class MapSearch:
    """Fits maps of one place for some variables, and scores them.

    Args:
        train, select, test: the network on three tasks with nothing in common.
        claim: gives the high-level model, and places of other variables and of the answer.
        place: whose map is searched for; widths: variable -> how many coordinates carry it.

    Raises:
        ClaimError: for a variable that the claim does not have, and for widths that the place is too narrow for.
    """

    def __init__(
        self,
        train: PlanContext,
        select: PlanContext,
        test: PlanContext,
        claim: Hypothesis,
        place: str,
        widths: Mapping[str, int],
        seed: int = 0,
    ):
        known = [name for name in claim.high_level.variables if name != claim.high_level.answer]
        for name, width in widths.items():
            if name not in known:
                raise ClaimError(f"no variable {name!r} can be searched for" + nearest(name, known))
            if width < 1:
                raise ClaimError(f"the variable {name!r} is given {width} coordinates; it takes 1 at least")
        self.benches, self.claim, self.place, self.widths, self.seed = (train, select, test), claim, place, widths, seed
        self.width = _width(train, place)
        if sum(widths.values()) > self.width:
            raise ClaimError(
                f"{place!r} has {self.width} numbers, and {sum(widths.values())} coordinates were asked for"
            )

    # -- fitting

    def fit(
        self, how: Fitting, *, permuted: bool = False, advance: Callable[[int, int], None] = lambda done, of: None
    ) -> MapFit:
        """The map of the least loss on the selection.

        Args:
            permuted: of variables whose values were put on other inputs at random.
            advance: called with how many steps are done, and of how many at most.
        """
        total = how.starts * (how.steps + 1)
        fits = [
            self._fit(how, start, permuted, lambda done, start=start: advance(start * (how.steps + 1) + done, total))
            for start in range(how.starts)
        ]
        return min(fits, key=lambda fit: fit.reached)

    def _fit(self, how: Fitting, begin: int, permuted: bool, advance: Callable[[int], None]) -> MapFit:
        parameters, maps = self._start(how, begin)
        train, select = (self._swapped(bench, SWAPS, permuted) for bench in self.benches[:2])
        optimizer = torch.optim.Adam(parameters, lr=how.rate)
        random = generator(self.seed, "fit of a map", how.kind, permuted, begin)
        best, kept, at, idle, start = math.inf, [p.detach().clone() for p in parameters], 0, 0, math.nan
        for step in range(how.steps + 1):
            if step % LOOK == 0:
                with torch.no_grad():
                    graph = self._graph(select.values, maps(), self.benches[1])
                    now = float(np.mean([float(self._loss(self.benches[1], graph, select, one, 0, None, how.rest))
                                         for one in range(len(select.swaps))]))  # fmt: skip
                start, idle = (now if step == 0 else start), (0 if now < best else idle + 1)
                if now < best:
                    best, at, kept = now, step, [p.detach().clone() for p in parameters]
                advance(step)
                if idle == PATIENCE or step == how.steps:
                    break
            one, draw = int(random.integers(len(train.swaps))), int(random.integers(SWAPS))
            rows = np.sort(random.permutation(len(train.values.rows))[: how.batch])
            graph = self._graph(train.values, maps(), self.benches[0])
            loss = self._loss(self.benches[0], graph, train, one, draw, rows, how.rest)
            for parameter, found in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.grad = found
            optimizer.step()
        with torch.no_grad():
            for parameter, value in zip(parameters, kept, strict=True):
                parameter.copy_(value)
            found = {name: self._fixed(one) for name, one in maps().items()}
        return MapFit(self._with(found), start, best, at)

    def _start(self, how: Fitting, begin: int) -> tuple[list[nn.Parameter], Callable[[], dict[str, PlaceMap]]]:
        total, bounds = sum(self.widths.values()), np.cumsum([0, *self.widths.values()]).tolist()
        spans = dict(zip(self.widths, pairwise(bounds), strict=True))
        device, seed = self.benches[0].model.device, int(generator(self.seed, "start of a map", begin).integers(2**31))
        if how.kind == "reversible":
            net = Couplings(self.width, how.depth, how.hidden, seed).to(device)
            return [*net.parameters()], lambda: {name: Reversible(net, a, b) for name, (a, b) in spans.items()}
        random = torch.Generator().manual_seed(seed)
        free = nn.Parameter(torch.linalg.qr(torch.randn(self.width, total, generator=random))[0].to(device))

        def maps() -> dict[str, PlaceMap]:
            basis = torch.linalg.qr(free)[0]
            return {name: basis[:, a:b] for name, (a, b) in spans.items()}

        return [free], maps

    @staticmethod
    def _fixed(map: PlaceMap) -> PlaceMap:
        if isinstance(map, Tensor):
            return map.detach().clone()
        map.net.requires_grad_(False)
        return map

    def _with(self, maps: Mapping[str, PlaceMap]) -> Hypothesis:
        others = {name: some for name, some in self.claim.places.items() if name not in maps}
        places = {**others, **{name: [Place(self.place, one)] for name, one in maps.items()}}
        return self.claim.placed(places)

    def _graph(self, values: TaskValues, maps: Mapping[str, PlaceMap], bench: PlanContext) -> Graph:
        places = {**{n: s for n, s in self.claim.places.items() if n not in maps},
                  **{name: (Place(self.place, one),) for name, one in maps.items()}}  # fmt: skip
        return Graph(values, alignment(places, self.claim.high_level, bench.model))

    def _swapped(self, bench: PlanContext, draws: int, permuted: bool) -> _Swapped:
        values = values_of(bench, self.claim.high_level)
        own = [row[self.claim.high_level.answer] for row in values.rows]
        if permuted:
            for name in self.widths:
                values = values.permuted(name, generator(self.seed, "permuted variable", name, len(values.rows)))
        graph = Graph(values, {})
        swaps = [draw_swaps(graph, names, self.seed, draws) for names in sets_of(graph, list(self.widths))]
        answers = Answers(bench.task, [*own, *(a for one in swaps for some in one.answers for a in some)])
        where = {token: place for place, token in enumerate(answers.known.tolist())}
        wanted = [np.array([[where.get(answers.ids[a], NEVER) for a in some] for some in one.answers]) for one in swaps]
        return _Swapped(values, swaps, answers, wanted)

    def _loss(
        self, bench: PlanContext, graph: Graph, given: _Swapped, one: int, draw: int, rows: np.ndarray | None, rest: str
    ) -> Tensor:
        """Nats of the right one of all answers, mean over these swaps."""
        plan = Swapper(bench, graph, rest).swap(given.swaps[one], draw)
        every = np.arange(len(bench.task)) if rows is None else rows
        losses, task = [], bench.task
        known = torch.from_numpy(given.answers.known).to(bench.model.device)
        for batch in bench.runner.batches(every):
            wanted = torch.from_numpy(given.wanted[one][draw, batch]).to(bench.model.device)
            output = bench.runner.output(plan, batch)
            logits = torch.cat([some[:, known] for _, some in output.blocks(task, task.items(batch))])
            losses.append(cross_entropy(logits.float(), wanted, ignore_index=NEVER, reduction="sum"))
        return torch.stack(losses).sum() / max(int((given.wanted[one][draw, every] != NEVER).sum()), 1)

    # -- scoring

    def score(self, fit: MapFit, *, permuted: bool = False, bench: PlanContext | None = None) -> MapScore:
        """How often the network answers as the high-level model after swaps of the fitted coordinates, on the test."""
        bench = self.benches[2] if bench is None else bench
        given = self._swapped(bench, 2, permuted)
        graph = Graph(given.values, alignment(fit.claim.places, fit.claim.high_level, bench.model))
        out = []
        for swaps, wanted in zip(given.swaps, given.wanted, strict=True):
            hits = {}
            for rest in (LEFT, PERTURBED):
                found = [
                    given.answers.logits(bench, Swapper(bench, graph, rest).swap(swaps, which)).argmax(1)
                    for which in range(len(wanted))
                ]
                hits[rest] = np.stack(found) == wanted
            out.append(SetHits(swaps.names, float(np.unique(wanted, return_counts=True)[1].max() / wanted.size), hits))
        return MapScore(bench, tuple(out))

    def bits(self, fit: MapFit, least: int = 1) -> tuple[float, int]:
        """The map's bits and those of a number: the fewest at which accuracy on the selection stays within 1 %."""
        maps = {name: one.map for name in self.widths for one in fit.claim.places[name] if one.map is not None}
        free = sum(map(numbers, maps.values()))
        if any(isinstance(one, Reversible) for one in maps.values()):
            free //= len(maps)  # one net for all
        whole = self.score(fit, bench=self.benches[1]).worst(LEFT).value or 0.0
        for bits in range(least, BITS):
            coarse = replace(fit, claim=self._with(self._rounded(maps, bits)))
            if (self.score(coarse, bench=self.benches[1]).worst(LEFT).value or 0.0) >= whole - LOST:
                return float(bits * free), bits
        return float(BITS * free), BITS

    def _rounded(self, maps: Mapping[str, PlaceMap], bits: int) -> dict[str, PlaceMap]:
        if all(isinstance(one, Tensor) for one in maps.values()):  # together, so that they stay apart
            basis = rounded(torch.cat([one for one in maps.values() if isinstance(one, Tensor)], 1), bits)
            assert isinstance(basis, Tensor)
            return dict(zip(maps, basis.split([self.widths[name] for name in maps], 1), strict=True))
        net = rounded(next(iter(maps.values())), bits)
        assert isinstance(net, Reversible)
        return {
            name: Reversible(net.net, one.first, one.last) for name, one in maps.items() if not isinstance(one, Tensor)
        }


@dataclass(frozen=True, eq=False)
class _Swapped:
    """Swaps on a task: of each set of variables, and the right answers' places among `answers.known`."""

    values: TaskValues
    swaps: list[Swaps]
    answers: Answers
    wanted: list[Int[np.ndarray, "draws rows"]]


@dataclass(frozen=True, eq=False)
class SetHits:
    """Swaps of a set of variables in which the network answered as the high-level model, by what the rest took.

    Attributes:
        majority: the share of the most common right answer.
    """

    names: tuple[str, ...]
    majority: float
    hits: Mapping[str, Bool[np.ndarray, "draws rows"]]


@dataclass(frozen=True, eq=False)
class MapScore:
    """A map's swaps on a task, set by set."""

    bench: PlanContext
    sets: tuple[SetHits, ...]

    def accuracy(self, index: int, rest: str, other: MapScore | None = None) -> Estimate:
        """Of one set, over the majority's; minus another map's on the same swaps."""
        mine = self.sets[index]
        if mine.majority >= 1:
            return Estimate.undefined("every swap has the same right answer")
        values = mine.hits[rest].mean(0).astype(float)
        if other is None:
            return self._mean((values - mine.majority) / (1 - mine.majority))
        its = other.sets[index].hits[rest].mean(0)
        return self._mean((values - its) / (1 - mine.majority))

    def worst(self, rest: str) -> Estimate:
        """Of the set of the least accuracy."""
        found = [self.accuracy(index, rest) for index in range(len(self.sets))]
        return min(found, key=lambda one: math.inf if one.value is None else one.value)

    def raw(self, rest: str) -> float:
        """The share of all swaps, all sets together."""
        return float(np.mean([one.hits[rest].mean() for one in self.sets]))

    def _mean(self, values: np.ndarray) -> Estimate:
        task = self.bench.task
        document = np.asarray(task.document)
        count = np.bincount(document, minlength=len(task.documents)).astype(float)
        sums = np.bincount(document, values, minlength=len(task.documents))
        used = count > 0
        resamples = Resamples(len(count), task.strata, self.bench.seed, clusters=task.clusters)
        return resamples.mean(sums[used], count[used])


def _width(bench: PlanContext, place: str) -> int:
    """Of how many numbers a place's value is."""
    site, run = parse_site(place, not isinstance(bench.model, Model)).at(None), EditRun("clean")
    return bench.runner.values(Plan((run,)), run, [site], np.arange(1))[site].shape[-1]
