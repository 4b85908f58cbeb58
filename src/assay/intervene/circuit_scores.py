"""Scores many circuits: loss and KL(model || circuit) summed by document in float64, draws apart.

Fill, clean and empty run are made once for each batch of rows; circuits that need the same nodes share a call. Calls
run side by side, one thread each: a circuit's nodes are too small to be shared between threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from assay.intervene.ablations import Workbench
from assay.intervene.circuit_groups import MEMORY, Group, budget, grouped
from assay.intervene.circuits import CircuitBatch, Circuits
from assay.intervene.side_by_side import side_by_side
from assay.intervene.spec import RANDOM
from assay.task.metrics import CHUNK, kl_divergence, log_probabilities, token_scores

Advance = Callable[[int], None]  # called with how much more is done


@dataclass(frozen=True, eq=False)
class CircuitScores:
    """Sums over the scored tokens of each document, for every circuit and draw.

    Attributes:
        count: [documents] scored tokens (0 where none of a document's rows was scored).
        draw_loss, draw_kl: in the metric's unit, and in nats.
        draw_agree, draw_correct: how many top tokens are the model's, and the correct answer.
        forwards: forward passes of one row that this took.
    """

    count: Float64[np.ndarray, "documents"]
    draw_loss: Float64[np.ndarray, "draws variants documents"]
    draw_kl: Float64[np.ndarray, "draws variants documents"]
    draw_agree: Float64[np.ndarray, "draws variants documents"]
    draw_correct: Float64[np.ndarray, "draws variants documents"]
    forwards: float

    @property
    def loss(self) -> Float64[np.ndarray, "variants documents"]:
        """The mean over draws, as `agree`, `correct` and `kl`."""
        return self.draw_loss.mean(0)

    @property
    def kl(self) -> Float64[np.ndarray, "variants documents"]:
        return self.draw_kl.mean(0)

    @property
    def agree(self) -> Float64[np.ndarray, "variants documents"]:
        return self.draw_agree.mean(0)

    @property
    def correct(self) -> Float64[np.ndarray, "variants documents"]:
        return self.draw_correct.mean(0)

    @property
    def mean_kl(self) -> Float64[np.ndarray, "variants"]:
        """Nats for each scored token; `mean_loss` likewise."""
        return self.kl.sum(1) / self.count.sum()

    @property
    def mean_loss(self) -> Float64[np.ndarray, "variants"]:
        return self.loss.sum(1) / self.count.sum()


class Scorer:
    """A batch of rows with the model's own distribution over each scored item.

    Attributes:
        own: [items, vocab] the model's log-probabilities; probabilities: their exponentials.
        document: [items] the item's document.
    """

    def __init__(self, batch: CircuitBatch):
        task = batch.circuits.task
        self.batch, self.metric = batch, task.metric
        items = task.items(batch.rows)
        with torch.no_grad():
            whole = np.ones((1, len(batch.edges)), dtype=bool)
            self.own = log_probabilities(batch.vary(batch.clean, batch.edges.matrix(whole)).logits[0])
        self.probabilities = self.own.exp()
        self.targets = task.targets(batch.rows, items)
        self.document = np.asarray(task.document)[batch.rows[items.row]]
        self._repeated: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def items(self) -> int:
        return len(self.own)

    @cached_property
    def own_loss(self) -> Float64[np.ndarray, "items"]:
        """The model's own loss of each item."""
        return self.scores(self.own.unsqueeze(0))[0, 0]

    def kl(self, logits: Float[Tensor, "variants items vocab"]) -> Float64[np.ndarray, "variants items"]:
        """KL(model || variant) of each item, in nats."""
        variants, items, vocab = logits.shape
        out = []
        if items * vocab > CHUNK:
            step = max(1, CHUNK // vocab)
            for logit in logits:
                for start in range(0, items, step):
                    part = slice(start, start + step)
                    out.append(self._kl(logit[part], self.own[part], self.probabilities[part]))
        else:
            step = min(variants, CHUNK // max(items * vocab, 1))
            for start in range(0, variants, step):
                part = logits[start : start + step]
                out.append(self._kl(part.flatten(0, 1), *self._times(len(part))))
        return torch.cat(out).view(variants, items).double().cpu().numpy()

    @staticmethod
    def _kl(logits: Tensor, own: Tensor, probabilities: Tensor) -> Tensor:
        return kl_divergence(own, log_probabilities(logits), probabilities)

    def _times(self, variants: int) -> tuple[Tensor, Tensor]:
        if variants not in self._repeated:
            self._repeated[variants] = self.own.repeat(variants, 1), self.probabilities.repeat(variants, 1)
        return self._repeated[variants]

    def mean_kl(self, logits: Float[Tensor, "variants items vocab"]) -> Float[Tensor, "variants"]:
        """KL(model || variant), mean over items, by its plain definition, which has a gradient."""
        return (self.probabilities * (self.own - log_probabilities(logits))).sum(-1).mean(-1)

    def scores(self, logits: Float[Tensor, "variants items vocab"]) -> Float64[np.ndarray, "columns variants items"]:
        """Loss, KL, agreement and correctness of each item."""
        out = []
        for logit in logits:
            found = token_scores(
                self.metric, logit, self.own, self.targets, given="logits", probabilities=self.probabilities
            )
            out.append(
                torch.stack([found.loss.double(), found.kl.double(), found.agree.double(), found.correct.double()])
            )
        return torch.stack(out, 1).cpu().numpy()


def draws_of(ablation: str, draws: Sequence[int]) -> tuple[int, ...]:
    """The draws that differ: all of a random ablation, the first of any other."""
    return tuple(draws) if ablation in RANDOM else tuple(draws)[:1]


def scorers(
    bench: Workbench,
    ablation: str,
    *,
    draws: Sequence[int] = (0,),
    rows: Int[np.ndarray, "rows"] | None = None,
    memory: int = MEMORY,
    variants: int = 1,
) -> Iterator[Scorer]:
    """Batches of the rows (all, or those given) under every draw, each with its own fill.

    Args:
        memory: bytes for one of them with its variants; variants: how many there should be room for.
    """
    rows = np.arange(len(bench.task.tokens)) if rows is None else np.asarray(rows)
    for draw in draws_of(ablation, draws):
        circuits = Circuits(bench, ablation, draw)
        size = budget(circuits, len(rows), memory, variants).rows
        for start in range(0, len(rows), size):
            yield Scorer(circuits.batch(rows[start : start + size]))


def circuit_scores(
    bench: Workbench,
    masks: Bool[np.ndarray, "variants edges *pos"],
    ablation: str,
    *,
    draws: Sequence[int] = (0,),
    rows: Int[np.ndarray, "rows"] | None = None,
    memory: int = MEMORY,
    advance: Advance | None = None,
) -> CircuitScores:
    """Scores circuits on the task's rows (all, or those given).

    Args:
        masks: which edges each circuit keeps (at which positions).
        draws: the numbers of a random ablation's draws; with any other the first counts.
        memory: bytes that states and variants may take.
        advance: called with rows times circuits after each call.
    """
    before, task = bench.runner.forwards, bench.task
    rows = np.arange(len(task.tokens)) if rows is None else np.asarray(rows)
    wanted, size = draws_of(ablation, draws), len(task.documents)
    sums = np.zeros((4, len(wanted), len(masks), size))
    count = np.zeros(size)
    for index, draw in enumerate(wanted):
        circuits = Circuits(bench, ablation, draw)
        calls = budget(circuits, len(rows), memory)
        plan = grouped(circuits, masks, calls.rows, max(1, calls.variants // torch.get_num_threads()))
        for start in range(0, len(rows), calls.rows):
            scorer = Scorer(circuits.batch(rows[start : start + calls.rows]))
            if not all(group.clean for group in plan):
                _ = scorer.batch.empty  # made once, before threads ask for it

            def scored(group: Group, scorer: Scorer = scorer) -> np.ndarray:
                return scorer.scores(run_group(scorer.batch, masks, group))

            for group, found in zip(plan, side_by_side(scored, plan), strict=True):
                for variant, columns in zip(group.members, found.swapaxes(0, 1), strict=True):
                    for column, values in enumerate(columns):
                        sums[column, index, variant] += np.bincount(scorer.document, values, size)
                if advance:
                    advance(len(scorer.batch.rows) * len(group.members))
            if index == 0:
                count += np.bincount(scorer.document, minlength=size)
    loss, kl, agree, correct = sums
    return CircuitScores(count, loss, kl, agree, correct, bench.runner.forwards - before)


@torch.no_grad()
def run_group(batch: CircuitBatch, masks: np.ndarray, group: Group) -> Float[Tensor, "variants items vocab"]:
    """Logits of a group's variants, as changes to the known run that is nearer to them."""
    return batch.vary(batch.clean if group.clean else batch.empty, batch.matrix(masks[group.members])).logits
