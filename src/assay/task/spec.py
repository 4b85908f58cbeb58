"""Metrics as far as nothing is computed: their names, and what they need; how they are computed is in `metrics`."""

from __future__ import annotations

from dataclasses import dataclass

from assay import plugins
from assay.errors import nearest


@dataclass(frozen=True)
class MetricSpec:
    """What a metric needs.

    Attributes:
        unit: what the loss is measured in.
        answers: how many answers an item must have: 1 (the correct one), or 2 (also an incorrect one).
        of_answers: whether the loss looks at the answers' log-probabilities alone (or is the KL).
    """

    unit: str
    answers: int = 1
    of_answers: bool = True


METRICS = {
    "loss": MetricSpec("nats"),
    "logit_diff": MetricSpec("logits, correct minus incorrect, negated", answers=2),
    "kl": MetricSpec("nats from the model"),
    "accuracy": MetricSpec("share wrong", of_answers=False),
    "probability": MetricSpec("probability not given to the answer"),
}


def metric_problem(name: str) -> str | None:
    """One clause on a name that is no metric's, or more than one's; None where there is one such metric."""
    known = (*METRICS, *plugins.names(plugins.METRICS, METRICS))
    unknown = None if name in known else f"unknown metric {name!r}" + nearest(name, known)
    return unknown or plugins.problem(plugins.METRICS, name, METRICS)
