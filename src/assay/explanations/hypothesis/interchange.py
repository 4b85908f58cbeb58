"""Interchange: a place takes its value from another input, and the answer must become what the high-level model says.

A swap has a base row, a variable (or several) and a source row of each. *Plain*: the rest of the network is left as
it is. *Perturbed*: whatever carries nothing takes its values from rows that agree with the base on the variables that
nobody carries, and from nothing else; only this tells a variable that is carried from one that is only read there
(docs/definitions.md#hypotheses). Geiger et al. (2021), and the strict form of Gupta et al. (2024).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int

from assay.errors import TaskError
from assay.explanations.hypothesis.scrub import LEFT, Edits, Graph, Scrub, with_helpers
from assay.explanations.hypothesis.vacuity import Coarser, coarser_answers
from assay.explanations.hypothesis.values import TaskValues
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import EditRun, From, Own, Plan
from assay.score.score import Advance, score
from assay.score.scores import K, Scores
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate
from assay.stats.keyed import generator
from assay.task.task import Task

SWAPS, TRIED = 2, 16  # swaps of a base row and variable, and sources that are looked at for each
NEVER, UNSAID = -1, -2  # the number of an answer that no token is, and of one that no swap of the claim has


@dataclass(frozen=True, eq=False)
class Swaps:
    """Swaps of one variable, or of several: for every base row one in each draw.

    Attributes:
        names: the variables; sources: [draws, rows] of each; answers: [draws, rows] what the high-level model answers.
        changed: [draws, rows] whether that is another answer than the base's.
    """

    names: tuple[str, ...]
    sources: Mapping[str, Int[np.ndarray, "draws rows"]]
    answers: Sequence[Sequence[Hashable]]
    changed: Bool[np.ndarray, "draws rows"]


def draw_swaps(
    graph: Graph, names: tuple[str, ...], seed: int, draws: int = SWAPS, agreeing: tuple[str, ...] = ()
) -> Swaps:
    """Sources at random; of every two swaps one is chosen in which the answer changes, where a source does that.

    A high-level model that gives None says nothing of a swap: another source is drawn, where one gives an answer.

    Args:
        agreeing: variables on which a source agrees with its base.
    """
    values, model = graph.values, graph.values.model
    count = len(values.rows)
    random = generator(seed, "interchange", *names)
    sources = {name: np.zeros((draws, count), dtype=np.int64) for name in names}
    group = values.codes(agreeing, layout=False).of
    pools = [np.flatnonzero(group == code) for code in range(int(group.max()) + 1)]
    answers: list[list[Hashable]] = []
    changed = np.zeros((draws, count), dtype=bool)
    for draw in range(draws):
        answers.append([])
        for row, base in enumerate(values.rows):
            pool = pools[group[row]]
            tried = pool[random.integers(0, len(pool), (TRIED, len(names)))]
            chosen, answer, silent = _source(values, row, names, tried, bool(draw % 2))
            if silent and answer in (None, base[model.answer]):
                again = generator(seed, "interchange, again", *names, draw, row)
                more = pool[again.integers(0, len(pool), (len(pool), len(names)))]
                chosen, answer, _ = _source(values, row, names, more, bool(draw % 2))
            for name, other in zip(names, chosen, strict=True):
                sources[name][draw, row] = other
            answers[-1].append(answer)
            changed[draw, row] = answer != base[model.answer]
    return Swaps(names, sources, answers, changed)


def _source(
    values: TaskValues,
    row: int,
    names: Sequence[str],
    tried: Int[np.ndarray, "tried names"],
    any_answer: bool,
) -> tuple[Int[np.ndarray, "names"], Hashable, bool]:
    """The first of the sources that changes the answer (or has any), else the last one that has an answer, where none
    has the first; what the high-level model then answers; and whether it said nothing of one before.
    """
    own, found, silent = values.rows[row][values.model.answer], None, False
    for one in tried:
        answer = values.answer(row, dict(zip(names, one.tolist(), strict=True)))
        if found is None or answer is not None:
            found = one, answer
        silent |= answer is None
        if answer is not None and (any_answer or answer != own):
            break
    assert found is not None
    return *found, silent


class Swapper(Scrub):
    """Makes the runs of swaps: `rest` is what everything takes that carries nothing, or "left"."""

    def swap(self, swaps: Swaps, which: int) -> Plan:
        """The run of every base row in which the variables' places take what they are in their sources. Places of
        variables behind them are computed, of what was swapped; those of others stay the base's."""
        if self.graph.edges:
            places = {name: self.graph.places[name] for name in swaps.names}
            return self.edge_plan(
                "swapped", {one.site: swaps.sources[name][which] for name, some in places.items() for one in some}
            )
        behind = self.graph.values.model.behind(*swaps.names)
        computed = [name for name in self.graph.values.model.variables if name in {self.graph.answer, *behind}]
        at, rest = self.rest_of(computed, self.every, ("swapped",), None)
        edits = Edits(rest)
        for name, places in self.graph.places.items():
            rows = swaps.sources[name][which] if name in swaps.names else None
            if self.rest == LEFT and rows is None:
                continue
            for one in places:
                carried = Own() if name in behind else From("clean", rows, aligned=one.site.position is not None)
                edits.put(one, carried)
        final = EditRun("swapped", self.read(at), edits.all, frozen_norm=self.workbench.frozen_norm, at=at)
        return with_helpers([final], self.graph.values)


# -- the answers as the network gives them


class Answers:
    """Which token (or class) each of a high-level model's answers is.

    A token is an answer where its text is; else where its text without spaces around it is. A class is its number.

    An answer that no token is can never be given: it counts as another one.

    Raises:
        TaskError: where fewer than half of the different answers are tokens of the task, and for a task that has
            several answers an example.
    """

    def __init__(self, task: Task, answers: Iterable[Hashable]):
        scored = task.scored.sum(1)
        if int(scored.min()) != 1 or int(scored.max()) != 1:
            raise TaskError(
                f"an interchange is about one answer an example, and the task {task.name!r} scores {int(scored.min())} "
                f"to {int(scored.max())} tokens of each"
            )
        items = task.items(np.arange(len(task)))
        right = task.targets(np.arange(len(task)), items).reshape(len(task), -1)
        exact: dict[str, int] = {}
        loose: dict[str, int] = {}
        if task.tokenizer is not None:
            known = [token for token, _ in Counter(right.flatten().tolist()).most_common()]
            known += [token for token in task.tokens.unique().tolist() if token not in known]
            for token in known:
                text = task.tokenizer.decode([token])
                exact.setdefault(text, token)
                loose.setdefault(text.strip(), token)
        self.ids: dict[Hashable, int] = {}
        for answer in dict.fromkeys(answers):
            text = str(answer)
            found = exact.get(text, loose.get(text.strip())) if task.tokenizer is not None else answer
            self.ids[answer] = int(found) if isinstance(found, int) else NEVER
        known = [found for found in self.ids.values() if found != NEVER]
        if 2 * len(known) < len(self.ids):
            some = ", ".join(repr(answer) for answer, found in self.ids.items() if found == NEVER)
            some = some if len(some) < 60 else f"{some[:57]}..."
            raise TaskError(
                f"of the high-level model's {len(self.ids)} answers {len(self.ids) - len(known)} are no token that the "
                f"task has: {some}"
            )
        self.known = np.unique(known)
        self.task = task

    def given(
        self,
        workbench: PlanContext,
        plans: Mapping[K, Plan],
        advance: Advance | None = None,
        rows: Int[np.ndarray, "rows"] | None = None,
    ) -> dict[K, Int[np.ndarray, "rows"]]:
        """The likeliest of the answers at each row's scored item, under each plan; `advance`, `rows`: as in `score`."""
        found = score(workbench, plans, rows=rows, chosen=self.known, advance=advance)
        return {key: self.known[_logits(found[key]).argmax(1)] for key in plans}

    def logits(self, workbench: PlanContext, plan: Plan) -> Float64[np.ndarray, "rows answers"]:
        """The logits of all `known` answers at each row's scored item, under a plan."""
        return _logits(score(workbench, {"swapped": plan}, chosen=self.known)["swapped"])


def _logits(found: Scores) -> Float64[np.ndarray, "rows answers"]:
    assert found.logits is not None
    return found.logits


@dataclass(frozen=True, eq=False)
class Agreement:
    """How often the network answers what the high-level model does after a swap.

    Attributes:
        names: the variables that are swapped; majority: the share of the most common right answer.
        changed: the share of swaps in which the answer should change.
        raw: the share that agree, by what the rest takes; coarser: likewise what is said by coarser hypotheses.
    """

    names: tuple[str, ...]
    swaps: int
    changed: float
    majority: float
    raw: Mapping[str, Estimate]
    coarser: Mapping[str, tuple[Coarser, ...]]

    def value(self, rest: str) -> Estimate:
        """Over the majority's: 0 is no better than a constant, 1 exact."""
        return self.over(self.raw[rest])

    def over(self, raw: Estimate) -> Estimate:
        """A share over the majority's."""
        if self.majority >= 1:
            return Estimate.undefined("every swap has the same right answer")
        return raw.map(lambda share: (share - self.majority) / (1 - self.majority))


def share(resamples: Resamples, hits: Float64[np.ndarray, "n"], count: Float64[np.ndarray, "n"]) -> Estimate:
    """A share with its interval over documents. Where all documents are hit, or none, their spread says nothing: then
    one end is Clopper and Pearson's for as many documents as there are."""
    found = resamples.mean(hits, count)
    if found.value not in (0.0, 1.0) or found.low is None:
        return found.within(0.0, 1.0)
    beyond = float(0.025 ** (1 / found.n))
    low, high = (0.0, 1 - beyond) if found.value == 0.0 else (beyond, 1.0)
    return Estimate(found.value, low, high, found.n, method="exact")


def unswapped(workbench: PlanContext, graph: Graph) -> Estimate:
    """The share of rows on which the network answers as the high-level model does, as they are."""
    task = workbench.task
    answers = [row[graph.answer] for row in graph.values.rows]
    every = Answers(task, answers)
    found = every.given(workbench, {"model": Plan()})["model"]
    right = found == np.array([every.ids[answer] for answer in answers])
    document = np.asarray(task.document)
    count = np.bincount(document, minlength=len(task.documents)).astype(float)
    hits = np.bincount(document, right, minlength=len(task.documents))
    resamples = Resamples(len(task.documents), task.strata, workbench.seed, clusters=task.clusters)
    return share(resamples, hits, count)


def interchange(
    workbench: PlanContext,
    graph: Graph,
    rests: Sequence[str],
    seed: int,
    swaps: int = SWAPS,
    advance: Callable[[int, int], None] = lambda done, total: None,
    rows: Int[np.ndarray, "rows"] | None = None,
) -> list[Agreement]:
    """Swaps of every variable that has places, and at once of all that depend on no other with places.

    Args:
        rests: strengths: "left", or an ablation.
        swaps: of each base row; advance: called with how many swaps are run, and of how many.
        rows: base rows; None: all.
    """
    task = workbench.task
    alone = [(name,) for name in graph.carried]
    several = [graph.first] if len(graph.first) > 1 else []
    drawn = [draw_swaps(graph, names, seed, swaps) for names in (*alone, *several)]
    every = Answers(task, (a for one in drawn for some in one.answers for a in some))
    at = np.arange(len(task)) if rows is None else rows
    document = np.asarray(task.document)[at]
    count = np.bincount(document, minlength=len(task.documents)).astype(float) * swaps
    resamples = task.resamples(np.flatnonzero(count), seed)
    plans = {
        (one.names, rest, which): Swapper(workbench, graph, rest, which).swap(one, which)
        for one in drawn
        for rest in rests
        for which in range(swaps)
    }
    done, total = 0, len(plans) * len(at)

    def more(rows: int) -> None:
        nonlocal done
        done += rows
        advance(done, total)

    found = every.given(workbench, plans, more, at)
    out = []
    for one in drawn:
        wanted = np.array([[every.ids[answer] for answer in some] for some in one.answers])[:, at]
        raw, coarser = {}, dict[str, tuple[Coarser, ...]]()
        others = coarser_answers(graph.values, dict(one.sources), one.answers)

        def shared(right: np.ndarray) -> Estimate:
            hits = np.bincount(document, right.sum(0), minlength=len(task.documents))
            return share(resamples, hits[count > 0], count[count > 0])

        for rest in rests:
            given = np.stack([found[one.names, rest, which] for which in range(swaps)])
            raw[rest] = shared(given == wanted)
            some = []
            for (name, merged), said in others.items():
                its = np.array([[every.ids.get(answer, UNSAID) for answer in row] for row in said])[:, at]
                apart = its != wanted
                as_claim, as_rival = ((given == answer)[apart] for answer in (wanted, its))
                shares = (float(as_claim.mean()), float(as_rival.mean())) if apart.any() else (None, None)
                some.append(Coarser(name, merged, float(apart.mean()), *shares, shared(given == its)))
            coarser[rest] = tuple(some)
        majority = float(np.unique(wanted, return_counts=True)[1].max() / wanted.size)
        out.append(Agreement(one.names, wanted.size, float(one.changed[:, at].mean()), majority, raw, coarser))
    return out


def least(found: Sequence[Agreement], rest: str) -> Agreement:
    """The one of the least accuracy, of those that have one."""
    defined = [one for one in found if one.value(rest).value is not None]
    return min(defined or found, key=lambda one: one.value(rest).value or 0.0)
