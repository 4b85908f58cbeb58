"""Which places carry a variable: every candidate alone by what a swap of it does, then the best of them together.

A candidate's *shift* is by how much a swap of it alone moves the log-odds of the answer that the high-level model then
gives against the one that it gave before, the rest being left. The best k are swapped together, for growing k.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from assay.errors import ClaimError, nearest
from assay.explanations.hypothesis.elsewhere import OVERLAP
from assay.explanations.hypothesis.hypothesis import PERTURBED, Hypothesis
from assay.explanations.hypothesis.interchange import NEVER, Answers, Swapper, Swaps, draw_swaps, share
from assay.explanations.hypothesis.places import Place, alignment
from assay.explanations.hypothesis.scrub import LEFT, Graph
from assay.explanations.hypothesis.values import TaskValues, values_of
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import Plan
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate, Undefined

Advance = Callable[[int, int], None]  # (done, of how many)
TRIED = 4  # other alignments drawn for each rival


@dataclass(frozen=True)
class Candidate:
    """A place, and how far a swap of it alone shifts the answer, nats."""

    name: str
    shift: Estimate


@dataclass(frozen=True)
class Together:
    """The best k candidates swapped at once: the share of answers that become the high-level model's, over those swaps
    in which the answer should change.

    Attributes:
        shift: nats; plain, perturbed: shares, where the rest is left, and where it is resampled.
    """

    names: tuple[str, ...]
    shift: Estimate
    plain: Estimate
    perturbed: Estimate


class PlaceSearch:
    """Swaps of one variable on a task.

    Args:
        claim: gives the high-level model, and the places of its other variables.
        variable: the one that is searched for.
        agreeing: variables on which the source of a swap agrees with its base.
        rest: what everything takes in a perturbed swap that carries nothing.
        values: the high-level model's on the task's rows; None: as they are. A control puts them on other rows.

    Raises:
        ClaimError: for a variable that the claim does not have.
        TaskError: as `Answers`.
    """

    def __init__(
        self,
        workbench: PlanContext,
        claim: Hypothesis,
        variable: str,
        seed: int = 0,
        agreeing: tuple[str, ...] = (),
        rest: str = PERTURBED,
        values: TaskValues | None = None,
    ):
        if variable not in claim.high_level.variables or variable == claim.high_level.answer:
            some = [name for name in claim.high_level.variables if name != claim.high_level.answer]
            raise ClaimError(f"no variable {variable!r} can be searched for" + nearest(variable, some))
        self.workbench, self.claim, self.variable, self.rest = workbench, claim, variable, rest
        self.values: TaskValues = values_of(workbench, claim.high_level) if values is None else values
        self.swaps: Swaps = draw_swaps(self._graph([]), (variable,), seed, 1, agreeing)
        self.used = self.swaps.changed[0].copy()
        own = [row[claim.high_level.answer] for row in self.values.rows]
        self.answers = Answers(workbench.task, [*own, *self.swaps.answers[0]])
        where = {token: place for place, token in enumerate(self.answers.known)}
        self.before = np.array([where.get(self.answers.ids[answer], NEVER) for answer in own])
        self.after = np.array([where.get(self.answers.ids[answer], NEVER) for answer in self.swaps.answers[0]])
        self.used &= (self.before != NEVER) & (self.after != NEVER)  # what no token is can never be answered
        self.clean = self._odds(self.answers.logits(workbench, Plan()))

    def _graph(self, names: Sequence[str], others: bool = False) -> Graph:
        """The hypothesis with these places of the variable, and with those of the others or without."""
        given = {name: some for name, some in self.claim.places.items() if others and name != self.variable}
        given |= {self.variable: tuple(map(Place, names))} if names else {}
        return Graph(self.values, alignment(given, self.claim.high_level, self.workbench.model))

    def _odds(self, logits: np.ndarray) -> np.ndarray:
        rows = np.arange(len(logits))
        return logits[rows, self.after] - logits[rows, self.before]

    def _mean(self, values: np.ndarray, *, hits: bool = False) -> Estimate:
        """Over the documents of swaps in which the answer should change."""
        task = self.workbench.task
        document = np.asarray(task.document)[self.used]
        sums = np.bincount(document, values[self.used], minlength=len(task.documents))
        count = np.bincount(document, minlength=len(task.documents)).astype(float)
        resamples = Resamples(len(count), task.strata, self.workbench.seed, clusters=task.clusters)
        return share(resamples, sums, count) if hits else resamples.mean(sums, count)

    def shift(self, names: Sequence[str]) -> Estimate:
        """By how much a swap of these places at once shifts the answer, the rest left."""
        plan = Swapper(self.workbench, self._graph(names), LEFT).swap(self.swaps, 0)
        return self._mean(self._odds(self.answers.logits(self.workbench, plan)) - self.clean)

    def answered(self, names: Sequence[str]) -> float:
        """The share of swaps of these places at once after which the answer is the high-level model's, the rest left;
        not a number where none should change it."""
        value = self._share(self._graph(names), LEFT).value
        return float("nan") if value is None else value

    def rank(self, candidates: Sequence[str], advance: Advance = lambda done, of: None) -> list[Candidate]:
        """Each candidate alone, the largest shift first."""
        found = []
        for done, name in enumerate(candidates):
            found.append(Candidate(name, self.shift([name])))
            advance(done + 1, len(candidates))
        return sorted(found, key=lambda one: -(one.shift.value or 0.0))

    def together(self, names: Sequence[str]) -> Together:
        """These places swapped at once."""
        graph = self._graph(names, others=True)
        return Together(tuple(names), self.shift(names), *(self._share(graph, rest) for rest in (LEFT, self.rest)))

    def _share(self, graph: Graph, rest: str) -> Estimate:
        return self._mean(self._hits(graph, rest), hits=True)

    def _hits(self, graph: Graph, rest: str) -> np.ndarray:
        logits = self.answers.logits(self.workbench, Swapper(self.workbench, graph, rest).swap(self.swaps, 0))
        return (logits.argmax(1) == self.after).astype(float)

    def ahead(self, names: Sequence[str], other: PlaceSearch, its: Sequence[str], rest: str = LEFT) -> Estimate:
        """By how much the share of right answers exceeds that of other places in another network, such as a twin with
        random weights, on the same swaps: paired by inputs."""
        mine = self._hits(self._graph(names, others=True), rest)
        return self._mean(mine - other._hits(other._graph(its, others=True), rest))

    def with_places(self, names: Sequence[str]) -> Hypothesis:
        """The claim with these places of the variable."""
        return self.claim.placed({**self.claim.places, self.variable: list(names)})

    def rivals(
        self, names: Sequence[str], most: int, advance: Advance = lambda done, of: None
    ) -> list[tuple[Hypothesis, Estimate]] | Undefined:
        """Other places of the variable, as many in each layer and under a quarter of them the same; of each its share
        of right answers, the rest resampled."""
        alone = Hypothesis(self.claim.high_level, {self.variable: list(names)})
        others = alone.elsewhere(self.workbench.model, TRIED * most, self.workbench.seed, OVERLAP)
        if isinstance(others, Undefined):
            return others
        out = list[tuple[Hypothesis, Estimate]]()
        for moved in (other.place_names for other in others):
            try:
                graph = self._graph(moved, others=True)
            except ClaimError:  # one of them carries another variable
                continue
            out.append((self.with_places(moved), self._share(graph, self.rest)))
            advance(len(out), most)
            if len(out) == most:
                break
        return out or Undefined("no other places of these layers have under a quarter in common with what was found")
