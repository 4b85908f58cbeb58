"""Edge attribution with integrated gradients (EAP-IG, Hanna et al. 2024): the mean of gradients along a path."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from assay.errors import TaskError, nearest
from assay.intervene.circuits.engine import CircuitBatch, Circuits
from assay.intervene.circuits.reader_gradients import Start, forward, reader_gradients, start_after, written
from assay.methods.attribution import MEMORY, Rows, Tally, check_loss, own_run
from assay.methods.edge_scores import EdgeScores

STEPS = 5
RULES = {"left": 0.0, "midpoint": 0.5, "right": 1.0}  # where in a part of the path its gradient is taken
ENDS = "ends"
PATHS = ("inputs", "activations", "masks")


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
    check_loss(circuits, loss, at_model=rule == "right" and steps == 1)
    at = np.linspace(0, 1, steps) if rule == ENDS else (np.arange(steps) + RULES[rule]) / steps
    tally = Tally(circuits, rows)
    filled: dict[str, float] = {}
    for batch in tally.batches(steps, memory, apart=along == "masks"):
        run, loss_of, total = own_run(batch, loss, gradients=False)
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
