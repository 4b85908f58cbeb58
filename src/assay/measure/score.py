"""Scores systems (explained runs, floors, rivals, controls): loss, KL to the model, agreement, accuracy, by token.

Every system sees the same micro-batches; the model's clean run is made once a batch and its prefix reused. Circuits run
together, those with one fill on one run of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int
from torch import Tensor

from assay.intervene.ablations import Workbench
from assay.intervene.circuit_systems import CircuitSystems
from assay.intervene.output import Clean, Output
from assay.intervene.plan import Plan
from assay.task.examples import Items
from assay.task.metrics import MIX, TokenScores, log_probabilities, token_scores
from assay.task.task import Task

# (inputs, rows) -> log-probabilities of the next token, or what they are formed of where they are read
Distribution = Callable[[Tensor, np.ndarray], Tensor | Output]
System = Plan | Distribution
Where = slice | Int[np.ndarray, "some"]  # which items of a micro-batch
WITHIN = (1e-3, 1e-2, 1e-1)


@dataclass(frozen=True, eq=False)
class Scores:
    """One system's scores: float64 sums by document, each document carrying the mean of its draws.

    Attributes:
        loss, kl, agree, correct: [documents] sums over scored tokens: nats, nats, how many top tokens are the
            model's, and how many the correct answer.
        draw_kl, draw_loss: [documents, draws] the same before the mean over draws.
        tokens: per scored token (mean over draws), where it was asked to be kept.
        beside: per scored token, KL(`beside` || this system), where `score` was given a system to stand beside.
    """

    loss: Float64[np.ndarray, "documents"]
    kl: Float64[np.ndarray, "documents"]
    agree: Float64[np.ndarray, "documents"]
    correct: Float64[np.ndarray, "documents"]
    draw_kl: Float64[np.ndarray, "documents draws"]
    draw_loss: Float64[np.ndarray, "documents draws"]
    tokens: TokenTable | None = None
    beside: Float32[np.ndarray, "tokens"] | None = None


@dataclass(frozen=True, eq=False)
class TokenTable:
    """Per scored token, in the order of `Scored`'s index."""

    loss: Float32[np.ndarray, "tokens"]
    kl: Float32[np.ndarray, "tokens"]
    agree: Float32[np.ndarray, "tokens"]
    correct: Float32[np.ndarray, "tokens"]


@dataclass(frozen=True, eq=False)
class Scored:
    """Every system on the same tokens.

    Attributes:
        count: [documents] scored tokens of each document (0 where none of its rows was scored).
        row, position, document: [tokens] where each scored token stands.
        systems: name -> scores; "model" is the model itself (its KL is 0).
    """

    count: Float64[np.ndarray, "documents"]
    row: Int[np.ndarray, "tokens"]
    position: Int[np.ndarray, "tokens"]
    document: Int[np.ndarray, "tokens"]
    systems: dict[str, Scores] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Scores:
        return self.systems[name]

    def with_systems(self, other: Scored) -> Scored:
        """These systems and those of another scoring of the same tokens.

        Raises:
            ValueError: when the tokens differ.
        """
        if not (np.array_equal(self.row, other.row) and np.array_equal(self.position, other.position)):
            raise ValueError("the two scorings are of different tokens")
        return Scored(self.count, self.row, self.position, self.document, {**self.systems, **other.systems})


def score(
    bench: Workbench,
    systems: Mapping[str, System | Sequence[System]],
    *,
    rows: Int[np.ndarray, "rows"] | None = None,
    keep: Sequence[str] = (),
    beside: str | None = None,
    advance: Callable[[int], None] | None = None,
) -> Scored:
    """Scores systems on the task's rows (all, or those given).

    Args:
        systems: name -> a plan or a distribution, or several of them: draws, whose mean counts.
        keep: systems whose per-token scores are kept ("model" may be among them).
        beside: a system (one draw) from which every other's KL is taken too, token by token.
        advance: called with the number of rows after each micro-batch.
    """
    task, runner = bench.task, bench.runner
    rows = np.arange(len(task.tokens)) if rows is None else np.asarray(rows)
    draws = {name: list(s) if isinstance(s, Sequence) else [s] for name, s in systems.items()}
    runs = [(name, index, system) for name, several in draws.items() for index, system in enumerate(several)]
    first = [run for run in runs if run[:2] == (beside, 0)]  # it runs before the others
    plain = [run for run in runs if run not in first and not _is_circuit(run[2])]
    circuits = [run for run in runs if run not in first and _is_circuit(run[2])]
    engine = CircuitSystems(runner, [system for *_, system in circuits if isinstance(system, Plan)])
    index = task.items(rows)
    row, position = rows[index.row], index.position
    sums = _Sums({"model": 1, **{name: len(several) for name, several in draws.items()}}, task, row, keep, beside)
    with torch.no_grad():
        for batch in runner.batches(rows):
            clean, items = runner.clean("scored", batch), task.items(batch)
            looked = _Looked(task, clean.output, items, task.targets(batch, items))
            sums.begin(len(items.row))
            sums.add("model", 0, slice(None), looked.own_scores)
            for name, draw, system in first:
                pieces = list(_pieces(bench, system, batch, clean, items))
                looked.base = _cat([log_probabilities(logits, mix=mix) for _, logits, mix in pieces])
                for where, logits, mix in pieces:
                    sums.add(name, draw, where, looked.scores(where, logits, mix))
            for name, draw, system in plain:
                for where, logits, mix in _pieces(bench, system, batch, clean, items):
                    sums.add(name, draw, where, looked.scores(where, logits, mix), looked.apart(where, logits, mix))
            for which, (where, scores, far) in engine(batch, looked.both):
                sums.add(*circuits[which][:2], where, scores, far)
            if advance:
                advance(len(batch))
    document = np.asarray(task.document)[row]
    count = np.bincount(document, minlength=len(task.documents)).astype(float)
    return Scored(count, row, position, document, sums.scores())


def _is_circuit(system: System) -> bool:
    return isinstance(system, Plan) and system.final.circuits is not None


def _pieces(
    bench: Workbench, system: System, batch: np.ndarray, clean: Clean, items: Items
) -> Iterator[tuple[slice, Tensor, float]]:
    """Logits of the items in blocks, each with its place among them and the share of uniform that is mixed in."""
    if isinstance(system, Plan):
        output, mix = bench.runner.output(system, batch, clean), 0.0
    else:  # may be exactly zero somewhere
        made, mix = system(bench.runner.inputs("scored", batch), batch), MIX
        output = made if isinstance(made, Output) else Output(None, made)
    for block, logits in output.blocks(bench.task, items):
        yield block, logits, mix


class _Looked:
    """The items of a micro-batch with the model's own distribution over each.

    Attributes:
        own: [items, vocab] its log-probabilities; own_scores: its scores, whose KL from itself is 0.
        base: [items, vocab] the log-probabilities of the system that others stand beside.
    """

    def __init__(self, task: Task, output: Output, items: Items, targets: Tensor):
        self.metric, self.targets = task.metric, targets
        self.base: Tensor | None = None
        known, losses, corrects = [], [], []
        for block, logits in output.blocks(task, items):
            known.append(log_probabilities(logits))
            scores = token_scores(task.metric, logits, known[-1], targets[block], given="logits")
            losses.append(torch.zeros_like(scores.loss) if task.metric.loss is None else scores.loss)
            corrects.append(scores.correct)
        loss, self.own = torch.cat(losses), _cat(known)
        same = torch.ones(len(loss), dtype=torch.bool, device=loss.device)
        self.own_scores = TokenScores(loss, torch.zeros_like(loss), same, torch.cat(corrects))

    def scores(self, where: Where, logits: Tensor, mix: float = 0.0) -> TokenScores:
        return token_scores(self.metric, logits, self.own[where], self.targets[where], given="logits", mix=mix)

    def apart(self, where: Where, logits: Tensor, mix: float = 0.0) -> Tensor | None:
        """KL(`base` || this), where there is one."""
        if self.base is None:
            return None
        return token_scores(self.metric, logits, self.base[where], self.targets[where], given="logits", mix=mix).kl

    def both(self, which: int, where: Where, logits: Tensor) -> tuple[Where, TokenScores, Tensor | None]:
        """A circuit's scores, and how far it is from the base."""
        return where, self.scores(where, logits), self.apart(where, logits)


class _Sums:
    """Sums by document of every system and draw, and the per-token scores of those that are kept.

    Args:
        draws: name -> how many; row: [tokens] of each scored token.
    """

    def __init__(self, draws: Mapping[str, int], task: Task, row: np.ndarray, keep: Sequence[str], beside: str | None):
        self.draws, self.document = draws, np.asarray(task.document)[row]
        size, tokens = len(task.documents), len(row)
        self.sums = {name: np.zeros((4, size, count)) for name, count in draws.items()}
        self.tables = {name: np.zeros((4, tokens)) for name in draws if name in keep}
        others = [name for name in draws if beside is not None and name not in ("model", beside)]
        self.far = {name: np.zeros(tokens) for name in others}
        self.batch = slice(0, 0)

    def begin(self, items: int) -> None:
        """The next micro-batch has so many items."""
        self.batch = slice(self.batch.stop, self.batch.stop + items)

    def add(self, name: str, draw: int, where: Where, scores: TokenScores, far: Tensor | None = None) -> None:
        """Scores of some items of the micro-batch."""
        place = np.arange(self.batch.start, self.batch.stop)[where]
        columns = (scores.loss, scores.kl, scores.agree, scores.correct)
        size = self.sums[name].shape[1]
        for column, values in enumerate(one.double().cpu().numpy() for one in columns):
            self.sums[name][column, :, draw] += np.bincount(self.document[place], values, size)
            if name in self.tables:
                self.tables[name][column, place] += values / self.draws[name]
        if far is not None and name in self.far:
            self.far[name][place] += far.double().cpu().numpy() / self.draws[name]

    def scores(self) -> dict[str, Scores]:
        out = {}
        for name, (loss, kl, agree, correct) in self.sums.items():
            table = None
            if name in self.tables:
                table = TokenTable(*self.tables[name].astype(np.float32))
            far = self.far[name].astype(np.float32) if name in self.far else None
            out[name] = Scores(loss.mean(1), kl.mean(1), agree.mean(1), correct.mean(1), kl, loss, table, far)
        return out


def _cat(blocks: list[Tensor]) -> Tensor:
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks)
