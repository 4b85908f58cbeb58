"""Attribution patching over edges: how much the loss would rise, to first order, if an edge alone took its fill.

`attribution` takes gradients at the model's own run (Syed et al. 2023), `gim` gradients of a softer model (Edin et al.
2025). The fast form is proved equal to gradients of soft edge masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.errors import TaskError, nearest
from assay.intervene.circuits.engine import CircuitBatch, Circuits
from assay.intervene.circuits.reader_gradients import Pass, forward, reader_gradients, written
from assay.methods.edge_scores import EdgeScores
from assay.task.metrics import log_probabilities

MEMORY = 512 << 20  # bytes that a batch's differences, gradients and logits may take
LOSSES = ("task", "kl")
Rows = Int[np.ndarray, "rows"]
Objective = Callable[[Tensor], Tensor]  # logits [steps, items, vocab] to the sum over items of each step


def attribution(
    circuits: Circuits, *, rows: Rows | None = None, loss: str = "task", memory: int = MEMORY
) -> EdgeScores:
    """Edge attribution patching (EAP): |Σ (fill − own value) · dL/d(input of the reader)| over rows and positions.

    Args:
        rows: scored rows (default: all); L is the mean of the metric's loss over their scored items.
        loss: "task"; "kl", the distance from the model, has no gradient at the model itself and is refused.

    Raises:
        TaskError: for a loss without a gradient there.
    """
    return _at_the_model(circuits, "attribution", rows, loss, memory)


def gim(circuits: Circuits, *, rows: Rows | None = None, loss: str = "task", memory: int = MEMORY) -> EdgeScores:
    """Attribution with gradients that self-repair hides less: gradient interaction modifications (GIM).

    On the way back the softmax of attention has temperature 2, queries and keys get a quarter of the gradient and
    values half of it, and the scales of all norms are constants (Edin et al. 2025, https://arxiv.org/abs/2505.17630).

    Args, Raises: as `attribution`.
    """
    return _at_the_model(circuits, "gim", rows, loss, memory, soft=True)


def _at_the_model(
    circuits: Circuits, method: str, rows: Rows | None, loss: str, memory: int, soft: bool = False
) -> EdgeScores:
    check_loss(circuits, loss, at_model=True)
    tally = Tally(circuits, rows)
    for batch in tally.batches(1, memory):
        run, _, total = own_run(batch, loss, gradients=True, soft=soft)
        tally.add(batch, reader_gradients(run, total), written(batch, run, less_fill=True), slice(None))
    return tally.scores(method, {"loss": loss})


def saliency(circuits: Circuits, *, rows: Rows | None = None, memory: int = MEMORY) -> EdgeScores:
    """Gradient times input: |own value · dL/d(input of the reader)|, which is attribution with zeros for fill."""
    workbench = circuits.workbench
    found = attribution(Circuits(workbench, "zero"), rows=rows, memory=memory)
    return EdgeScores(found.scores, "saliency", {"rows": found.settings["rows"]}, found.passes, found.signed)


def check_loss(circuits: Circuits, loss: str, *, at_model: bool) -> None:
    if loss not in LOSSES:
        raise TaskError(f"unknown loss {loss!r}" + nearest(loss, LOSSES))
    if at_model and (loss == "kl" or circuits.task.metric.loss is None):
        raise TaskError(
            "the gradient of KL(model || run) at the model's own run is zero, so attribution there scores nothing; use "
            "integrated_attribution, or the loss 'task' with a metric other than 'kl'"
        )


def own_run(batch: CircuitBatch, loss: str, *, gradients: bool, soft: bool = False) -> tuple[Pass, Objective, Tensor]:
    """The model's own run, the loss of a run, and that of this one."""
    with torch.set_grad_enabled(gradients):
        run = forward(batch, batch.model.embed(batch.tokens).unsqueeze(0), soft=soft)
        loss_of = _objective(batch, loss, run.logits.detach()[0])
        total = loss_of(run.logits).sum()
    return run, loss_of, total


def _objective(batch: CircuitBatch, loss: str, own: Float[Tensor, "items vocab"]) -> Objective:
    task = batch.circuits.task
    answers = task.targets(batch.rows, task.items(batch.rows)).to(own.device)
    answers = answers.unsqueeze(-1) if answers.ndim == 1 else answers
    given = task.metric.loss
    if loss == "kl" or given is None:
        known = log_probabilities(own)
        return lambda logits: (known.exp() * (known - log_probabilities(logits))).sum((-1, -2))

    def of(logits: Tensor) -> Tensor:
        lost = given(log_probabilities(logits).flatten(0, 1), answers.repeat(len(logits), 1))
        if logits.requires_grad and not lost.requires_grad:
            raise TaskError(
                f"the metric {task.metric.name!r} has no gradient, which attribution needs; 'loss', 'logit_diff' and "
                "'probability' have one, and integrated_attribution takes loss='kl' with any metric"
            )
        return lost.unflatten(0, (len(logits), -1)).sum(-1)

    return of


class Tally:
    """Signed scores, added up in float64 over batches of rows."""

    def __init__(self, circuits: Circuits, rows: Rows | None):
        self.circuits, task = circuits, circuits.task
        self.rows = np.arange(len(task.tokens)) if rows is None else rows
        self.items = max(1, len(task.items(self.rows).row))
        readers, writers = len(circuits.edges.readers), len(circuits.edges.writers)
        self.matrix = torch.zeros(readers, writers, dtype=torch.float64)
        self.clean = 0.0  # the model's own loss, summed over items
        self._before = circuits.runner.forwards

    def batches(self, steps: int, memory: int, *, apart: bool = False) -> Iterator[CircuitBatch]:
        """Rows in batches whose size depends on shapes and the memory alone; `apart`: writers differ by step."""
        shape, task = self.circuits.model.config, self.circuits.task
        positions, size = task.tokens.shape[1], torch.finfo(self.circuits.model.dtype).bits // 8
        width = max((d or 0 for d in shape.d_mlp), default=0)
        kept = steps * shape.layers * (12 * shape.d_model + 4 * width) + 3 * shape.heads * shape.d_model
        copies = (3 if not apart else 2 + steps) * len(self.circuits.edges.writers)
        copies += 3 * (steps - 1) * shape.heads if apart else 0
        row = positions * (copies * shape.d_model + kept)
        row += 6 * steps * int(task.scored.sum(1).max()) * shape.vocab
        together = int(max(1, min(64, memory // (row * size))))
        for start in range(0, len(self.rows), together):
            yield self.circuits.batch(self.rows[start : start + together])

    def add(
        self,
        batch: CircuitBatch,
        gradients: Iterator[tuple[np.ndarray, Tensor]],
        deltas: Float[Tensor, "writers *steps rows pos d_model"],
        writers: slice,
    ) -> None:
        """One product for each part of a layer: readers' gradients with the differences of the writers before them."""
        for places, gradient in gradients:
            before = self.circuits.edges.readers[places[0]].writers
            first, last, _ = writers.indices(before)
            difference = deltas[first:last]
            if places[0] == len(self.circuits.edges.readers) - 1:  # at the scored items alone
                difference = difference[..., *batch.items.where, :]
            rise = -(gradient.flatten(1) @ difference.flatten(1).T).double().cpu()
            self.matrix[torch.from_numpy(places), first:last] += rise

    def scores(self, method: str, settings: dict[str, object]) -> EdgeScores:
        signed = self.circuits.edges.flat(self.matrix.numpy() / self.items)
        whose = {"ablation": self.circuits.ablation, "rows": len(self.rows), **settings}
        passes = self.circuits.runner.forwards - self._before
        return EdgeScores(np.abs(signed), method, whose, passes, signed)
