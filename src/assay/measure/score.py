"""Scores systems (explained runs, floors, rivals, controls): loss, KL to the model, agreement, accuracy, by token.

Every system sees the same micro-batches; the model's clean run is made once a batch and its prefix reused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int
from torch import Tensor

from assay.intervene.ablations import Workbench
from assay.intervene.output import Output
from assay.intervene.plan import Plan
from assay.task.examples import Items
from assay.task.metrics import MIX, TokenScores, log_probabilities, token_scores
from assay.task.task import Task

# (inputs, rows) -> log-probabilities of the next token, or what they are formed of where they are read
Distribution = Callable[[Tensor, np.ndarray], Tensor | Output]
System = Plan | Distribution
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
    task = bench.task
    rows = np.arange(len(task.tokens)) if rows is None else np.asarray(rows)
    draws = {name: list(s) if isinstance(s, Sequence) else [s] for name, s in systems.items()}
    draws = {"model": [], **({} if beside is None else {beside: draws[beside]}), **draws}  # it runs before the others
    apart: dict[str, list[list[Tensor]]] = {name: [[] for _ in draw] for name, draw in draws.items()}
    found: dict[str, list[list[TokenScores]]] = {name: [[] for _ in draw or [None]] for name, draw in draws.items()}
    where: list[tuple[np.ndarray, np.ndarray]] = []
    with torch.no_grad():
        for batch in bench.runner.batches(rows):
            inputs = bench.runner.inputs("scored", batch)
            clean = bench.runner.clean("scored", batch)
            items = task.items(batch)
            targets = task.targets(batch, items)
            where.append((batch[items.row], items.position))
            own, scores = _own(task, clean.output, items, targets)
            found["model"][0].append(scores)
            base = None
            for name, systems_of in draws.items():
                for index, system in enumerate(systems_of):
                    if isinstance(system, Plan):
                        output, mix = bench.runner.output(system, batch, clean), 0.0
                    else:  # may be exactly zero somewhere
                        made, mix = system(inputs, batch), MIX
                        output = made if isinstance(made, Output) else Output(None, made)
                    bases = []
                    for block, logits in output.blocks(task, items):
                        scores = partial(token_scores, task.metric, logits, targets=targets[block], mix=mix)
                        found[name][index].append(scores(model=own[block], given="logits"))
                        if name == beside:
                            bases.append(log_probabilities(logits, mix=mix))
                        elif base is not None:
                            apart[name][index].append(scores(model=base[block], given="logits").kl)
                    if name == beside:
                        base = _cat(bases)
            if advance:
                advance(len(batch))
    row = np.concatenate([r for r, _ in where])
    position = np.concatenate([p for _, p in where])
    document = np.asarray(task.document)[row]
    size = len(task.documents)
    count = np.bincount(document, minlength=size).astype(float)
    out: dict[str, Scores] = {}
    for name, parts in found.items():
        stacked = [_joined(part) for part in parts]
        sums = [[np.bincount(document, weights=column, minlength=size) for column in columns] for columns in stacked]
        loss, kl, agree, correct = (np.stack([s[i] for s in sums], axis=1) for i in range(4))
        table = None
        if name in keep:
            table = TokenTable(*(np.mean([c[i] for c in stacked], axis=0).astype(np.float32) for i in range(4)))
        others = [torch.cat(draw).double().cpu().numpy() for draw in apart[name] if draw]
        far = np.mean(others, axis=0).astype(np.float32) if others else None
        out[name] = Scores(loss.mean(1), kl.mean(1), agree.mean(1), correct.mean(1), kl, loss, table, far)
    return Scored(count, row, position, document, out)


def _own(task: Task, output: Output, items: Items, targets: Tensor) -> tuple[Tensor, TokenScores]:
    """The model's log-probabilities of the items, and its own scores: its KL from itself is 0."""
    known, losses, corrects = [], [], []
    for block, logits in output.blocks(task, items):
        known.append(log_probabilities(logits))
        scores = token_scores(task.metric, logits, known[-1], targets[block], given="logits")
        losses.append(torch.zeros_like(scores.loss) if task.metric.loss is None else scores.loss)
        corrects.append(scores.correct)
    loss = torch.cat(losses)
    same = torch.ones(len(loss), dtype=torch.bool, device=loss.device)
    return _cat(known), TokenScores(loss, torch.zeros_like(loss), same, torch.cat(corrects))


def _cat(blocks: list[Tensor]) -> Tensor:
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks)


def _joined(parts: list[TokenScores]) -> tuple[Float[np.ndarray, "tokens"], ...]:
    return tuple(
        torch.cat([getattr(part, column) for part in parts]).double().cpu().numpy()
        for column in ("loss", "kl", "agree", "correct")
    )
