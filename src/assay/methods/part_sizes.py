"""How large parts are on the reference (norm and attribution), and the largest of a claim's profile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from assay.explanations.base import Assignment, Label, order
from assay.intervene.components import pick, tap
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.kept import Kept
from assay.intervene.output import Output
from assay.methods import module_parts
from assay.methods.part_sets import profile_of
from assay.model import meter
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.names import Site
from assay.stats.keyed import generator
from assay.task.examples import Examples
from assay.task.metrics import METRICS
from assay.task.task import Task

ROWS, LEAST_ROWS = 64, 8  # reference rows that norms and attributions are taken over; fewer on a budget
ROWS_AT_ONCE = 8  # whose activations and gradients are held, at most

Sizes = tuple[dict[Site, float], dict[Site, float]]  # mean norms and attributions


class PartSizes(Kept[tuple[int, tuple[Site, ...]], Sizes]):
    """Sizes by the parts that were looked at together, and on how many rows."""


def sizes(workbench: PlanContext, sites: Sequence[Site]) -> Sizes:
    """How large parts are on the reference: (mean norm of the output, of heads in the stream; attribution).

    Attribution is the mean over positions of |gradient · (value − mean value)|, for the task's loss on the reference: a
    first-order estimate of what mean-ablating the part at that position does. A metric without a gradient is replaced
    by the negative log-probability of the answer. Of a module that gives no gradient there is none: an empty mapping.
    They are computed once for the same parts.
    """
    assert workbench.task.reference is not None
    width = workbench.task.reference.tokens.shape[1] if isinstance(workbench.model, Model) else 1
    meant = meter.meant() / (2 * (1 + meter.BACKWARD) * width)  # half of what is meant for what asks
    rows = int(min(ROWS, max(LEAST_ROWS, meant)))
    return workbench.store.of(PartSizes).once((rows, tuple(sites)), lambda: _sizes(workbench, sites, rows))


def _sizes(workbench: PlanContext, sites: Sequence[Site], rows: int) -> Sizes:
    model, task = workbench.model, workbench.task
    assert task.reference is not None
    reference = task.reference
    chosen = np.sort(generator(workbench.seed, "controls", "sizes").permutation(len(reference))[:rows])
    keys = sorted({tap(site) for site in sites})
    needed(workbench, sites)
    meter.ahead(len(chosen) * _pass(model, reference, min(layer for _, layer in keys)))
    slope_there = True
    norm, attribution, count = dict.fromkeys(sites, 0.0), dict.fromkeys(sites, 0.0), 0.0
    step = min(ROWS_AT_ONCE, workbench.runner.batch)
    for start in range(0, len(chosen), step):
        some = chosen[start : start + step]
        real = reference.real[torch.from_numpy(some)].to(model.device)
        if isinstance(model, Model):
            real[:, 0] = False  # the first position has statistics of its own
        else:
            real = real[:, 0]
        values: dict[tuple[str, int], Tensor] = {}
        shifts: dict[tuple[str, int], Tensor] = {}

        def keep(key: tuple[str, int], values=values, shifts=shifts) -> Callable[[Tensor], Tensor]:
            def tapped(own: Tensor) -> Tensor:
                values[key] = own.detach()
                shifts[key] = torch.zeros_like(own, requires_grad=True)
                return own + shifts[key]

            return tapped

        with torch.enable_grad():
            taps, inputs = {key: keep(key) for key in keys}, workbench.runner.inputs("reference", some)
            if isinstance(model, Model):
                output = Output(model, model.normed(inputs, taps))
            else:
                output = Output(None, model.forward(inputs, taps))
            loss = _loss(task, reference, some, output)
            slope_there = slope_there and loss.requires_grad
            wanted = [shifts[key] for key in keys]
            gradients = torch.autograd.grad(loss, wanted, allow_unused=True) if slope_there else (None,) * len(keys)
        slopes = {key: shifts[key] if g is None else g for key, g in zip(keys, gradients, strict=True)}  # unused: 0
        count += float(real.sum())
        for site in sites:
            value, slope = pick(values[tap(site)], site), pick(slopes[tap(site)], site)
            effect = slope.detach() * (value - workbench.statistics.mean(site).to(value))
            if isinstance(model, Model):
                written = _written(model, value, site)
            else:
                effect, written = module_parts.flat(effect), module_parts.flat(value)
            attribution[site] += float(effect.sum(-1).abs()[real].double().sum())
            norm[site] += float(written.norm(dim=-1)[real].double().sum())
    norm = {s: n / count for s, n in norm.items()}
    return norm, {s: a / count for s, a in attribution.items()} if slope_there else {}


def _pass(model: Model | ModuleModel, reference: Examples, first: int) -> float:
    """What a row's pass costs whose gradient is asked for behind a layer, in tokens' worth."""
    if not isinstance(model, Model):
        return 1 + meter.BACKWARD
    layers = model.config.layers
    return reference.tokens.shape[1] * (1 + meter.BACKWARD * (layers - 1 - first) / layers)


def needed(workbench: PlanContext, sites: Sequence[Site]) -> None:
    """Gathers the reference means of these parts."""
    if isinstance(workbench.model, Model):
        workbench.statistics.need(sites)
    else:
        module_parts.need(workbench, sites)


def _loss(task: Task, reference: Examples, rows: Int[np.ndarray, "rows"], output: Output) -> Tensor:
    """The task's loss on reference rows, summed over their scored items."""
    row, position = (torch.from_numpy(index) for index in np.nonzero(reference.scored.numpy()[rows]))
    source = torch.from_numpy(rows)[row]
    answers = reference.tokens[source, position].unsqueeze(-1)
    if reference.answers is not None:
        answers = reference.answers[source]
    read = output.values[row] if task.kind == "classify" else output.values[row, position - 1]
    log_probs = output.unembed(read).float().log_softmax(-1)
    metric = METRICS["loss"] if task.metric.loss is None or task.metric.name == "accuracy" else task.metric
    assert metric.loss is not None
    return metric.loss(log_probs, answers.to(log_probs.device)).sum()


def _written(model: Model, value: Tensor, site: Site) -> Tensor:
    """What the part writes to the stream."""
    layer = site.layer or 0
    if site.kind == "head":
        return value @ model.W_O(layer)[site.index].to(value)
    if site.kind == "neuron":
        down = model.weights.layers[layer].down
        assert down is not None
        assert site.index is not None
        return value * down.weight[:, site.index]
    return value


def largest(workbench: PlanContext, claim: Mapping[Site, Label], size: Mapping[Site, float]) -> Assignment:
    """The largest parts of the claim's profile; programs that differ are handed out in the claim's order."""
    out: Assignment = {}
    for given, everybody in profile_of(workbench, claim).values():
        those = sorted(everybody, key=lambda site: (-size[site.at(None)], order(site)))
        chosen = sorted(those[: len(given)], key=order)
        out |= dict(zip(chosen, given, strict=True))
    return out
