"""Metrics turned into a loss per scored item (lower is better), and how far an explained distribution is from the
model's.

Takes log-probabilities of items; gives loss in the metric's unit, KL(model || explained) in nats, and whether the most
likely token is the model's and the correct one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log, log1p
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay import plugins
from assay.errors import PluginError, TaskError
from assay.promises import held
from assay.task import spec

MIX = 1e-6  # share of uniform in programs' own distributions, so that no observed token costs infinitely much
CHUNK = 1 << 18  # numbers of a distribution that are looked at together: they stay in the cache
LARGEST = 85.0  # of a log-ratio: beyond, exp overflows in float32, and the term is its p times exp(85)

Given = Literal["log_probs", "logits", "probabilities"]


@dataclass(frozen=True)
class Metric:
    """What is lost on an item, from log-probabilities and answers.

    Attributes:
        name: as in claim files.
        unit: what the loss is measured in.
        loss: ([items, vocab] log-probabilities, [items, answers] ids, the correct one first) -> [items]; None where the
            loss is the KL.
        answers: how many answers an item must have: 1 (the correct one), or 2 (also an incorrect one).
        of_answers: whether the loss looks at the answers' log-probabilities alone (or is the KL).
    """

    name: str
    unit: str
    loss: Callable[[Tensor, Tensor], Tensor] | None
    answers: int = 1
    of_answers: bool = False


@dataclass(frozen=True, eq=False)
class TokenScores:
    """One system's scores, item by item.

    Attributes:
        loss: [items] the metric's loss.
        kl: [items] KL(model || explained) in nats over the whole vocabulary, never negative.
        agree: [items] whether the most likely token is the model's; correct: whether it is the correct answer.
    """

    loss: Float[Tensor, "items"]
    kl: Float[Tensor, "items"]
    agree: Bool[Tensor, "items"]
    correct: Bool[Tensor, "items"]


def _of(log_probs: Tensor, answers: Tensor, column: int) -> Tensor:
    return log_probs.gather(-1, answers[:, column : column + 1]).squeeze(-1)


def _nll(log_probs: Tensor, answers: Tensor) -> Tensor:
    return -_of(log_probs, answers, 0)


def _logit_diff(log_probs: Tensor, answers: Tensor) -> Tensor:
    # a difference of logits is a difference of log-probabilities
    return _of(log_probs, answers, 1) - _of(log_probs, answers, 0)


def _error(log_probs: Tensor, answers: Tensor) -> Tensor:
    return (log_probs.argmax(-1) != answers[:, 0]).to(log_probs.dtype)


def _improbability(log_probs: Tensor, answers: Tensor) -> Tensor:
    return -torch.expm1(_of(log_probs, answers, 0))


_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor] | None] = {
    "loss": _nll,
    "logit_diff": _logit_diff,
    "kl": None,
    "accuracy": _error,
    "probability": _improbability,
}
METRICS = {
    name: Metric(name, known.unit, _LOSSES[name], known.answers, known.of_answers)
    for name, known in spec.METRICS.items()
}


def metric_of(metric: str | Metric, answers: int = 1) -> Metric:
    """The metric of a name, for items that have so many answers.

    Raises:
        TaskError: for an unknown name; for a metric that needs an answer which the items do not have.
        PluginError: for one from outside of assay that is none.
    """
    if isinstance(metric, str):
        if clause := spec.metric_problem(metric):
            raise TaskError(clause)
        metric = METRICS[metric] if metric in METRICS else _plugged(metric)
    if metric.answers > answers:
        fitting = [name for name, other in METRICS.items() if other.answers <= answers]
        raise TaskError(
            f"the metric {metric.name!r} needs a correct and an incorrect answer for each example, which prompts with "
            f"a column 'incorrect' have; here: {', '.join(repr(name) for name in fitting)}"
        )
    return metric


def _plugged(name: str) -> Metric:
    """A metric that another package adds, tried on a few items."""
    who = f"the plug-in {name!r} of {plugins.METRICS}"
    found: Metric = held(plugins.load(plugins.METRICS, name), Metric, who)
    if found.name != name:
        raise PluginError(f"{who} is a metric that calls itself {found.name!r}; records must know it by one name")
    log_probs = torch.arange(15.0).reshape(3, 5).sin().log_softmax(-1)
    answers = torch.arange(6).reshape(3, 2)[:, : found.answers]
    if found.loss is not None:
        its = held(found.loss(log_probs, answers), Tensor, f"'loss' of {who}")
        if its.shape != (3,):
            raise PluginError(
                f"'loss' of {who} gives shape {list(its.shape)} for 3 items; wanted: [3], a loss for each"
            )
        if found.of_answers:
            places = torch.arange(found.answers).expand(3, -1)
            same = found.loss(log_probs.gather(-1, answers), places)
            if same.shape != its.shape or not torch.allclose(same, its):
                raise PluginError(f"'loss' of {who} looks at more than its answers, which 'of_answers' denies")
    return found


def log_probabilities(
    values: Float[Tensor, "*shape vocab"], given: Given = "logits", *, mix: float = 0.0
) -> Float[Tensor, "*shape vocab"]:
    """Log-probabilities (at least float32) of any of the three, mixed with a share of uniform.

    Raises:
        ValueError: for probabilities that are negative or do not sum to 1.
    """
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    if given == "logits":
        values = values.log_softmax(-1)
    elif given == "probabilities":
        total = values.sum(-1)
        if bool((values < 0).any()) or bool(((total - 1).abs() > 1e-3).any()):
            raise ValueError("probabilities must not be negative and must sum to 1")
        values = values.log()
    if mix:
        values = torch.logaddexp(values + log1p(-mix), values.new_tensor(log(mix / values.shape[-1])))
    return values


def kl_divergence(
    model: Float[Tensor, "items vocab"],
    explained: Float[Tensor, "items vocab"],
    probabilities: Float[Tensor, "items vocab"] | None = None,
) -> Float[Tensor, "items"]:
    """KL(model || explained) of log-probabilities, in nats; `probabilities` are the model's, where they are at hand.

    Computed as the sum of p (exp(r) - 1 - r) with r = log q - log p, whose terms are never negative: rounding of the
    normalisers cancels to second order, so two runs that differ by rounding alone read about 1e-12, not 1e-7.
    """
    p = model.exp() if probabilities is None else probabilities
    ratio = (explained - model).clamp_(max=LARGEST)
    terms = torch.expm1(ratio).sub_(ratio).mul_(p)
    total = terms.sum(-1).to(_sum_dtype(terms))
    impossible = p == 0  # 0 log 0 = 0, and what is left of the term is q
    if bool(impossible.any()):
        total = total + torch.where(impossible, explained.exp(), 0.0).sum(-1).to(total.dtype)
    return total


def token_scores(
    metric: Metric,
    explained: Float[Tensor, "items vocab"],
    model: Float[Tensor, "items vocab"],
    targets: Int[Tensor, "items"] | Int[Tensor, "items answers"],
    *,
    given: Given = "log_probs",
    mix: float = 0.0,
    probabilities: Float[Tensor, "items vocab"] | None = None,
    chunk: int = CHUNK,
) -> TokenScores:
    """Scores an explained distribution against the model's and the targets.

    Args:
        explained: what is scored: log-probabilities, or what `given` says.
        model: the model's log-probabilities of the same items.
        targets: ids of the correct answers; of shape [items, 2] with the incorrect ones beside them.
        mix: the share of uniform that is mixed into `explained`; `MIX` for programs' own distributions.
        probabilities: the exponentials of `model`, where they are at hand.
        chunk: how many numbers are looked at together; changes no result.

    Raises:
        ValueError: for probabilities that are none.
    """
    answers = (targets.unsqueeze(-1) if targets.ndim == 1 else targets).to(explained.device)
    model = model.to(explained.device)
    rows = max(1, chunk // max(explained.shape[-1], 1))
    known = given == "logits" and not mix and metric.of_answers
    parts: list[tuple[Tensor, ...]] = []
    for start in range(0, len(explained), rows):
        part = slice(start, start + rows)
        exact = torch.promote_types(explained.dtype, torch.float32)
        q, p = explained[part].to(exact), model[part].to(exact)
        inner = None if probabilities is None else probabilities[part].to(exact)
        found = _fused(metric, q, p, inner, answers[part]) if known else None
        parts.append(found or _plain(metric, log_probabilities(q, given, mix=mix), p, inner, answers[part]))
    if not parts:
        empty = torch.zeros(0, dtype=_sum_dtype(explained), device=explained.device)
        return TokenScores(empty, empty, empty.bool(), empty.bool())
    return TokenScores(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _plain(metric: Metric, q: Tensor, p: Tensor, probabilities: Tensor | None, answers: Tensor) -> tuple[Tensor, ...]:
    """Loss, KL, agreement and correctness of log-probabilities."""
    kl = kl_divergence(p, q, probabilities)
    first = q.argmax(-1)
    loss = kl if metric.loss is None else metric.loss(q, answers).to(kl.dtype)
    return loss, kl, first == p.argmax(-1), first == answers[:, 0]


def _fused(
    metric: Metric, logits: Tensor, model: Tensor, probabilities: Tensor | None, answers: Tensor
) -> tuple[Tensor, ...] | None:
    """The same of logits, without their softmax; None where it may not be exact: for probabilities that underflow.

    With u = logits - log p, centred so that the sum B of p u is nearly 0, and C the sum of p (exp u - 1 - u), whose
    terms are never negative: the logits' normaliser is log(1 + B + C) above the centre, and KL that less B. Rounding of
    u cancels to second order.
    """
    p = model.exp() if probabilities is None else probabilities
    if bool(p.amin() < torch.finfo(p.dtype).tiny):
        return None
    sums, total = _sum_dtype(p), p.sum(-1)
    u = logits - model
    centre = torch.linalg.vecdot(u, p) / total
    u -= centre.unsqueeze(-1)
    total, mean = total.to(sums), torch.linalg.vecdot(u, p).to(sums)
    spread = torch.linalg.vecdot(u.expm1().sub_(u), p).to(sums)
    if not bool(spread.isfinite().all()):
        return None
    above = torch.log1p((mean + spread) / total)
    kl = (above - mean / total).clamp_(min=0)
    normaliser = centre.to(sums) + total.log() + above
    log_probs = logits.gather(-1, answers).to(sums) - normaliser.unsqueeze(-1)
    first = most_likely(logits)
    places = torch.arange(answers.shape[1], device=answers.device).expand_as(answers)
    loss = kl if metric.loss is None else metric.loss(log_probs, places).to(kl.dtype)
    return loss, kl, first == most_likely(model), first == answers[:, 0]


def most_likely(values: Float[Tensor, "items vocab"]) -> Int[Tensor, "items"]:
    """The first of the largest values of each item (numpy's search is five times as fast as torch's on a CPU)."""
    if values.device.type != "cpu" or values.requires_grad:
        return values.argmax(-1)
    return torch.from_numpy(values.numpy().argmax(-1))


def _sum_dtype(values: Tensor) -> torch.dtype:
    return torch.float32 if values.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
