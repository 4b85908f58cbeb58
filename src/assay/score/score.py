"""Scores systems (explained runs, floors, rivals, controls, circuits): loss, KL to a target, agreement, accuracy.

Every system sees the same micro-batches, and what several ask for is run once in each: the model's clean run, whose
prefix edited runs start from, a system that others are held against, the fill of circuits.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Generic, TypeGuard

import numpy as np
import torch
from jaxtyping import Float64, Int
from torch import Tensor

from assay.intervene.circuits.groups import MEMORY, VariantGroup
from assay.intervene.circuits.systems import CircuitPart, CircuitSystems, engine_key
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.output import Output, System
from assay.intervene.plan import CircuitRun, Plan
from assay.model.meter import check_room, metered
from assay.score.scores import K, Scored, Scores, TokenTable
from assay.score.side_by_side import side_by_side
from assay.score.target import ItemChoice, Target
from assay.task.metrics import MIX, Metric, TokenScores, log_probabilities
from assay.task.task import Task

Advance = Callable[[int], None]  # called with how much more is done
LogitBlocks = Iterable[tuple[slice, Tensor]]
_Found = tuple[list[tuple[K, int]], TokenScores, np.ndarray | None]  # who asks, and chosen logits


def score(
    workbench: PlanContext,
    systems: Mapping[K, System | Sequence[System]],
    *,
    rows: Int[np.ndarray, "rows"] | None = None,
    keep: Collection[K] = (),
    chosen: Int[np.ndarray, "some"] | None = None,
    again: Collection[K] = (),
    targets: Mapping[K, System] | None = None,
    memory: int = MEMORY,
    advance: Advance | None = None,
) -> Scored[K]:
    """Scores systems on the task's rows (all, or those given).

    Args:
        systems: a plan or a distribution each, or several of them: draws, whose mean counts.
        keep: systems whose per-token scores are kept, beside the model's.
        chosen: tokens (or classes) whose logits are kept of every system, item by item.
        again: systems whose first runs other stages score too, on some of these rows: their ends are kept.
        targets: what a system's KL is taken from in place of the workbench's target, which is the model's own
            distribution where the claim has none of its own; often another system.
        memory: bytes that circuits' states and variants may take.
        advance: called with how many rows of systems (and draws) more are done.
    """
    task, runner = workbench.task, workbench.runner
    rows = np.arange(len(task.tokens)) if rows is None else np.asarray(rows)
    own_target = workbench.target and workbench.target.system
    asked = _Asked(systems, targets or {}, again, own_target)
    engine = CircuitSystems(runner, list(asked.circuits.values()), asked.first, memory)
    sums = _Sums(asked.draws, task, rows, keep, chosen)
    # circuits make their own batches and bring the model's logits
    alone = bool(asked.circuits) and not asked.plain and own_target is None
    row_cost, left = math.inf, len(rows)
    with torch.no_grad(), metered() as spent:
        for batch in [rows] if alone else runner.batches(rows):
            before = spent.work
            held = _Batch(workbench, batch, asked)
            sums.begin(len(held.items.row))
            own = None if alone or not asked.model else held.model(sums)
            for key in asked.plain:
                held.score(key, own, sums)
                if advance:
                    advance(len(batch) * asked.times[key])
            seen = np.zeros(len(held.items.row), dtype=bool)
            for part in engine.parts(batch) if asked.circuits else ():
                mine = own and own.at(part.where)
                if alone and asked.model:
                    answers = held.answers[part.where]
                    mine, scores = _own(task.metric, [(slice(0, len(answers)), part.model())], answers)
                    if not seen[part.where].any():
                        sums.model(part.where, scores)
                        seen[part.where] = True
                for done in _part(part, asked, held, mine, sums):
                    if advance:
                        advance(len(part.batch.rows) * done)
            left -= len(batch)
            if before:  # the first batch makes what all others use, too, and says nothing of their cost
                row_cost = min(row_cost, (spent.work - before) / len(batch))
                check_room(row_cost * left)
    index = task.items(rows)
    row = rows[index.row]
    count = np.bincount(sums.document, minlength=len(task.documents)).astype(float)
    own_scores, found = sums.scores()
    return Scored(count, row, index.position, np.asarray(task.document)[row], own_scores, found)


def is_circuit(system: System) -> TypeGuard[Plan]:
    return isinstance(system, Plan) and isinstance(system.final, CircuitRun)


class _Asked(Generic[K]):
    """What is run and held against what; equal runs are one, whoever asks for them.

    Attributes:
        draws: key -> how many; wanted: run -> the targets that it is held against (None: the model) -> who asks.
        own: what all is held against that has no other target, the model itself too.
        plain, circuits: runs by their ids; circuits that something else than circuits with the same fill is held
            against are run like edits.
        first: places of circuits that others with their fill are held against.
        model: whether the model is scored; times: run -> how many ask for it.
        again: runs whose ends are kept.
    """

    def __init__(
        self,
        systems: Mapping[K, System | Sequence[System]],
        targets: Mapping[K, System],
        again: Collection[K],
        own: System | None,
    ):
        several = {key: list(one) if isinstance(one, Sequence) else [one] for key, one in systems.items()}
        self.draws = {key: len(draws) for key, draws in several.items()}
        self.again = {id(several[key][0]) for key in again}
        self.own = None if own is None else id(own)
        self.systems: dict[int, System] = {id(one): one for one in (own, *targets.values()) if one is not None}
        self.wanted: dict[int, dict[int | None, list[tuple[K, int]]]] = {}
        for key, draws in several.items():
            target = id(targets[key]) if key in targets else self.own
            for draw, one in enumerate(draws):
                self.systems[id(one)] = one
                self.wanted.setdefault(id(one), {}).setdefault(target, []).append((key, draw))
        self.times = {run: sum(map(len, by.values())) for run, by in self.wanted.items()}
        pairs = [(run, target) for run, by in self.wanted.items() for target in by]
        self.model = not pairs or any(target is self.own for _, target in pairs)
        self.uses = Counter(target for _, target in pairs if target is not None)
        apart = {target for run, target in pairs if target is not None and not self._together(run, target)}
        self.plain = [run for run in self.wanted if run in apart or not is_circuit(self.systems[run])]
        inside = [run for run in (*self.wanted, *self.uses) if is_circuit(self.systems[run]) and run not in apart]
        self.circuits = {run: plan for run in inside if is_circuit(plan := self.systems[run])}
        self.first = frozenset(place for place, run in enumerate(self.circuits) if run in self.uses)

    def _together(self, run: int, target: int) -> bool:
        """Whether both are circuits with one fill."""
        a, b = self.systems[run], self.systems[target]
        return is_circuit(a) and is_circuit(b) and engine_key(a) == engine_key(b)


class _Batch(Generic[K]):
    """A micro-batch: its items, and targets as long as something is held against them."""

    def __init__(self, workbench: PlanContext, rows: Int[np.ndarray, "rows"], asked: _Asked[K]):
        self.workbench, self.rows, self.asked, self.task = workbench, rows, asked, workbench.task
        self.items = workbench.task.items(rows)
        self.answers = workbench.task.targets(rows, self.items)
        self.uses = asked.uses.copy()
        self.targets: dict[int, Target] = {}
        self.outputs: dict[int, tuple[Output, float]] = {}

    def model(self, sums: _Sums[K]) -> Target | None:
        """Scores the model; gives its distribution, where that is what others are held against."""
        output = self.workbench.runner.clean("scored", self.rows).output
        if self.asked.own is not None:
            against = self.target(self.asked.own)
            for where, logits in output.blocks(self.task, self.items):
                sums.model(where, against.scores(logits, where))
            return None
        own, scores = _own(self.task.metric, output.blocks(self.task, self.items), self.answers)
        sums.model(slice(0, len(self.answers)), scores)
        return own

    def score(self, run: int, own: Target | None, sums: _Sums[K]) -> None:
        """Holds a run against each of its targets; those that are not there yet are run."""
        output, mix = self.output(run)
        blocks: LogitBlocks = output.blocks(self.task, self.items)
        wanted = self.asked.wanted[run]
        later = [target for target in wanted if target is not None and target not in self.targets]
        blocks = list(blocks) if later else blocks
        ready = {target: own if target is None else self.targets[target] for target in wanted if target not in later}
        for where, logits in blocks if ready else ():
            for target, against in ready.items():
                assert against is not None
                sums.add(wanted[target], where, against.scores(logits, where, mix=mix), sums.pick(logits))
        for target in later:
            against = self.target(target)
            for where, logits in blocks:
                sums.add(wanted[target], where, against.scores(logits, where, mix=mix), sums.pick(logits))
        for target in wanted:
            self.used(target)

    def target(self, run: int) -> Target:
        """A system as a target."""
        if run not in self.targets:
            output, mix = self.output(run)
            known = [log_probabilities(logits, mix=mix) for _, logits in output.blocks(self.task, self.items)]
            self.targets[run] = Target(self.task.metric, _cat(known), self.answers)
        return self.targets[run]

    def used(self, target: int | None) -> None:
        """One system less will be held against it."""
        if target is not None:
            self.uses[target] -= 1
            if not self.uses[target]:
                self.targets.pop(target, None)

    def output(self, run: int) -> tuple[Output, float]:
        """The end of a run, and the share of uniform that is mixed in. That of a system which is also a target is kept
        for the batch."""
        if run in self.outputs:
            return self.outputs[run]
        system, runner = self.asked.systems[run], self.workbench.runner
        made = runner.end(system, self.rows)
        if made is None:
            if isinstance(system, Plan):
                made = runner.output(system, self.rows, runner.clean("scored", self.rows))
            else:
                given = system(runner.inputs("scored", self.rows), self.rows)
                made = given if isinstance(given, Output) else Output(None, given)
            if run in self.asked.again and (isinstance(system, Plan) or made.model is not None):
                runner.keep_end(system, self.rows, made)
        found = made, 0.0 if isinstance(system, Plan) else MIX  # a distribution may be exactly zero somewhere
        if run in self.asked.uses and run in self.asked.wanted:
            self.outputs[run] = found
        return found


def _part(part: CircuitPart, asked: _Asked[K], held: _Batch[K], own: Target | None, sums: _Sums[K]) -> Iterator[int]:
    """Scores circuits on some rows, and says how many more are done."""
    runs = list(asked.circuits)
    answers = held.answers[part.where]
    first = [one for group in part.first for one in part.run(group)]
    near = {runs[which]: Target(held.task.metric, log_probabilities(logits), answers) for which, logits in first}
    for target in {t for which in part.members for t in asked.wanted.get(runs[which], ())} - {None} - near.keys():
        assert target is not None
        near[target] = held.target(target).at(part.where)

    def scored(which: int, logits: Tensor) -> list[_Found[K]]:
        out = []
        for target, who in asked.wanted.get(runs[which], {}).items():
            against = own if target is None else near[target]
            assert against is not None
            out.append((who, against.scores(logits), sums.pick(logits)))
        return out

    def group_scored(group: VariantGroup) -> list[list[_Found[K]]]:
        return [scored(which, logits) for which, logits in part.run(group)]

    for several in ([scored(which, logits) for which, logits in first], *side_by_side(group_scored, part.groups)):
        for found in several:
            for who, scores, logits in found:
                sums.add(who, part.where, scores, logits)
        yield len(several)


def _own(metric: Metric, blocks: LogitBlocks, answers: Tensor) -> tuple[Target, TokenScores]:
    """The model's distribution, and its scores: its KL from itself is 0."""
    known, losses, corrects = [], [], []
    for block, logits in blocks:
        one = Target(metric, log_probabilities(logits), answers[block])
        scores = one.scores(logits)
        known.append(one.own)
        losses.append(torch.zeros_like(scores.loss) if metric.loss is None else scores.loss)
        corrects.append(scores.correct)
    loss = torch.cat(losses)
    same = torch.ones(len(loss), dtype=torch.bool, device=loss.device)
    return Target(metric, _cat(known), answers), TokenScores(loss, torch.zeros_like(loss), same, torch.cat(corrects))


class _Sums(Generic[K]):
    """Sums by document of every system and draw, and the per-token scores of those that are kept.

    Args:
        draws: key -> how many; chosen: as in `score`.
    """

    def __init__(
        self,
        draws: Mapping[K, int],
        task: Task,
        rows: Int[np.ndarray, "rows"],
        keep: Collection[K],
        chosen: Int[np.ndarray, "some"] | None,
    ):
        self.draws, self.chosen = draws, None if chosen is None else torch.from_numpy(chosen)
        self.document = np.asarray(task.document)[rows[task.items(rows).row]]
        self.size = len(task.documents)
        self.sums = {key: np.zeros((4, self.size, count)) for key, count in draws.items()}
        self.tables = {key: np.zeros((4, len(self.document))) for key in draws if key in keep}
        self.logits = {key: np.zeros((len(self.document), len(chosen))) for key in draws} if chosen is not None else {}
        self.own, self.own_table = np.zeros((4, self.size, 1)), np.zeros((4, len(self.document)))
        self.batch = slice(0, 0)

    def begin(self, items: int) -> None:
        """The next micro-batch has so many items."""
        self.batch = slice(self.batch.stop, self.batch.stop + items)

    def model(self, where: ItemChoice, scores: TokenScores) -> None:
        """The model's own scores of some items of the micro-batch."""
        place, columns = self._columns(where, scores)
        for column, values in enumerate(columns):
            self.own[column, :, 0] += np.bincount(self.document[place], values, self.size)
            self.own_table[column, place] += values

    def pick(self, logits: Tensor) -> Float64[np.ndarray, "items chosen"] | None:
        """The chosen ones of these logits."""
        return None if self.chosen is None else logits[:, self.chosen.to(logits.device)].double().cpu().numpy()

    def add(
        self, who: Iterable[tuple[K, int]], where: ItemChoice, scores: TokenScores, logits: np.ndarray | None
    ) -> None:
        """Scores of some items of the micro-batch and chosen logits, for all keys and draws that ask for them."""
        place, columns = self._columns(where, scores)
        totals = [np.bincount(self.document[place], values, self.size) for values in columns]
        for key, draw in who:
            self.sums[key][:, :, draw] += totals
            if key in self.tables:
                self.tables[key][:, place] += np.stack(columns) / self.draws[key]
            if logits is not None:
                self.logits[key][place] += logits / self.draws[key]

    def _columns(self, where: ItemChoice, scores: TokenScores) -> tuple[np.ndarray, list[np.ndarray]]:
        place = np.arange(self.batch.start, self.batch.stop)[where]
        columns = (scores.loss, scores.kl, scores.agree, scores.correct)
        return place, [one.double().cpu().numpy() for one in columns]

    def scores(self) -> tuple[Scores, dict[K, Scores]]:
        """The model's, and everybody else's."""

        every = {key: _scores(its, self.tables.get(key), self.logits.get(key)) for key, its in self.sums.items()}
        return _scores(self.own, self.own_table), every


def _scores(sums: np.ndarray, table: np.ndarray | None, logits: np.ndarray | None = None) -> Scores:
    loss, kl, agree, correct = sums
    return Scores(loss, kl, agree, correct, None if table is None else TokenTable(*table.astype(np.float32)), logits)


def _cat(blocks: list[Tensor]) -> Tensor:
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks)
