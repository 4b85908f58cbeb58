"""Attribution patching over edges: how much the loss would rise, to first order, if an edge alone took its fill.

`attribution` takes gradients at the model's own run (Syed et al. 2023), `integrated_attribution` their mean along a
path from the fill (Hanna et al. 2024), `gim` gradients of a softer model (Edin et al. 2025). The fast form is proved
equal to gradients of soft edge masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.errors import TaskError, nearest
from assay.intervene.circuits import CircuitBatch, Circuits
from assay.intervene.reader_gradients import Pass, Start, forward, reader_gradients, start_after, written
from assay.methods.edge_scores import EdgeScores
from assay.task.metrics import log_probabilities

MEMORY = 512 << 20  # bytes that a batch's differences, gradients and logits may take
STEPS = 5
LOSSES = ("task", "kl")
RULES = {"left": 0.0, "midpoint": 0.5, "right": 1.0}  # where in a part of the path its gradient is taken
ENDS = "ends"
PATHS = ("inputs", "activations", "masks")
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
    _check(circuits, loss, at_model=True)
    tally = _Tally(circuits, rows)
    for batch in tally.batches(1, memory):
        run, _, total = _own_run(batch, loss, gradients=True, soft=soft)
        tally.add(batch, reader_gradients(run, total), written(batch, run, less_fill=True), slice(None))
    return tally.scores(method, {"loss": loss})


def saliency(circuits: Circuits, *, rows: Rows | None = None, memory: int = MEMORY) -> EdgeScores:
    """Gradient times input: |own value · dL/d(input of the reader)|, which is attribution with zeros for fill."""
    bench = circuits.bench
    found = attribution(Circuits(bench, "zero"), rows=rows, memory=memory)
    return EdgeScores(found.scores, "saliency", {"rows": found.settings["rows"]}, found.passes, found.signed)


def integrated_attribution(
    circuits: Circuits,
    *,
    along: str = "inputs",
    steps: int = STEPS,
    rule: str = "midpoint",
    each: bool = False,
    rows: Rows | None = None,
    loss: str = "task",
    check: bool = True,
    memory: int = MEMORY,
) -> EdgeScores:
    """EAP with integrated gradients (EAP-IG): the gradient is the mean over steps from the fill to the model's own run.

    Args:
        along: "inputs" moves the input from its fill to its own value and lets every node follow; "activations" moves
            the output of a layer's heads together, then of its MLP, and so on, for the edges out of these alone, with
            what comes before as in the model's run; "masks" lets every edge carry a growing share of its writer's
            value, so that the scores are gradients of soft edge masks (Miller et al. 2024).
        rule: where in each of the equal parts of the path the gradient is taken; "left" includes the fill itself, as in
            the authors' code, "right" the model's own run, as in their paper; "ends" has evenly spaced gradients from
            one to the other, both of them included.
        each: with "activations", one path for each head instead of one for each layer's heads.
        loss: "task", or "kl" for KL(model || run).
        check: also gives `completeness`, for one more forward pass of each path.

    Raises:
        TaskError: for an unknown option, no steps, or a loss without a gradient.
    """
    for name, value, valid in (("along", along, PATHS), ("rule", rule, (*RULES, ENDS))):
        if value not in valid:
            raise TaskError(f"unknown {name} {value!r}" + nearest(value, valid))
    if steps < 1:
        raise TaskError(f"steps={steps}: a path needs at least one step")
    _check(circuits, loss, at_model=rule == "right" and steps == 1)
    at = np.linspace(0, 1, steps) if rule == ENDS else (np.arange(steps) + RULES[rule]) / steps
    tally = _Tally(circuits, rows)
    filled: dict[str, float] = {}
    for batch in tally.batches(steps, memory, apart=along == "masks"):
        run, loss_of, total = _own_run(batch, loss, gradients=False)
        tally.clean += float(total)
        if along == "masks":
            inputs = run.streams[0, 0].expand(steps, -1, -1, -1)
            with torch.enable_grad():
                step = forward(batch, inputs, carried=torch.from_numpy(at).to(inputs))
                gradients = reader_gradients(step, loss_of(step.logits).sum() / steps)
            tally.add(batch, gradients, written(batch, step, less_fill=True), slice(None))
            if check:
                with torch.no_grad():
                    end = loss_of(forward(batch, inputs[:1], carried=inputs.new_zeros(1)).logits)
                filled["edges"] = filled.get("edges", 0.0) + float(end.sum())
            continue
        deltas = written(batch, run, less_fill=True)
        for part in _parts(batch, along, each):
            own, away = run.streams[part.start], deltas[part.writers].sum(0)
            back = torch.from_numpy(1 - at).to(own).view(-1, 1, 1, 1)
            with torch.enable_grad():
                step = forward(batch, own - back * away, part.start)
                gradients = reader_gradients(step, loss_of(step.logits).sum() / steps)
            tally.add(batch, gradients, deltas, part.writers if along == "activations" else slice(None))
            if check:
                with torch.no_grad():
                    end = loss_of(forward(batch, own - away, part.start).logits)
                filled[part.name] = filled.get(part.name, 0.0) + float(end.sum())
    settings = {"along": along, "steps": steps, "rule": rule, "loss": loss}
    if along == "activations":
        settings["each"] = each
    out = tally.scores(f"integrated_attribution_{along}", settings)
    if not check:
        return out
    assert out.signed is not None
    signed = circuits.edges.matrix(out.signed).sum(0)
    whose = {"edges": slice(None)} if along == "masks" else {p.name: p.writers for p in _parts(batch, along, each)}
    pairs = {
        name: (float(signed[writers].sum()), (filled[name] - tally.clean) / tally.items)
        for name, writers in whose.items()
    }
    return EdgeScores(out.scores, out.method, out.settings, out.passes, out.signed, pairs)


@dataclass(frozen=True)
class _Part:
    """Writers whose outputs move together, and where the runs start that have them in their stream."""

    name: str
    writers: slice
    start: Start


def _parts(batch: CircuitBatch, along: str, each: bool) -> list[_Part]:
    shape, out, place = batch.model.config, [_Part("input", slice(0, 1), (0, 0))], 1
    if along == "inputs":
        return out
    for layer, width in enumerate(shape.d_mlp):
        start = start_after(batch, layer, mlp=False)
        if each:
            heads = range(shape.heads)
            out += [_Part(f"a{layer}.h{h}", slice(place + h, place + h + 1), start) for h in heads]
        else:
            out.append(_Part(f"a{layer}", slice(place, place + shape.heads), start))
        place += shape.heads
        if width is not None:
            out.append(_Part(f"m{layer}", slice(place, place + 1), start_after(batch, layer, mlp=True)))
            place += 1
    return out


def _check(circuits: Circuits, loss: str, *, at_model: bool) -> None:
    if loss not in LOSSES:
        raise TaskError(f"unknown loss {loss!r}" + nearest(loss, LOSSES))
    if at_model and (loss == "kl" or circuits.task.metric.loss is None):
        raise TaskError(
            "the gradient of KL(model || run) at the model's own run is zero, so attribution there scores nothing; use "
            "integrated_attribution, or the loss 'task' with a metric other than 'kl'"
        )


def _own_run(batch: CircuitBatch, loss: str, *, gradients: bool, soft: bool = False) -> tuple[Pass, Objective, Tensor]:
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


class _Tally:
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
