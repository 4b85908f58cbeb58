"""What stands beside the loss (DEFINITIONS §5): agreement, tokens within ε, quantiles, accuracy, hard tokens.

Takes the `Scored` token tables of "model", the explained run, its floor and, for the hard tokens, smaller models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool

from assay.intervene.ablations import Workbench
from assay.intervene.runner import Runner
from assay.measure.residual import by_document, table
from assay.measure.score import WITHIN, Scored, System, score
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate
from assay.task.metrics import METRICS

QUANTILES = (0.5, 0.9, 0.99, 1.0)
HARD = 0.1  # share of tokens that are called hard


def beside(
    scored: Scored,
    resamples: Resamples,
    *,
    explained: str = "explained:mean",
    floor: str = "floor:mean",
    smaller: Sequence[str] = (),
    accuracy: Estimate | None = None,
) -> dict[str, Any]:
    """The record's `beside` block.

    Args:
        explained, floor: systems whose token tables were kept, as was the model's.
        smaller: smaller models' systems, kept too: the first selects the hard tokens, the others are compared with.
        accuracy: from `accuracies`; without it undefined.
    """
    kl, delta = table(scored, explained).kl, table(scored, explained).loss - table(scored, "model").loss
    agree = table(scored, explained).agree
    everything = by_document(scored, np.ones(len(kl)))
    return {
        "agreement": resamples.mean(by_document(scored, agree), everything).to_json(),
        "within": {
            f"{epsilon:g}": e.to_json()
            for epsilon, e in within(scored, resamples, explained=explained, floor=floor).items()
        },
        "kl_quantiles": _quantiles(kl),
        "delta_loss_quantiles": _quantiles(delta),
        "accuracy": (accuracy or Estimate.undefined("accuracy was not scored")).to_json(),
        "hard_tokens": hard_tokens(scored, resamples, explained=explained, floor=floor, smaller=smaller)
        if smaller
        else None,
    }


def within(
    scored: Scored, resamples: Resamples, *, explained: str = "explained:mean", floor: str = "floor:mean"
) -> dict[float, Estimate]:
    """ε -> the share of tokens with KL(model || explained) ≤ ε among those where the floor's KL > ε."""
    kl, below = table(scored, explained).kl, table(scored, floor).kl
    out = {}
    for epsilon in WITHIN:
        moved = below > epsilon
        if not moved.any():
            out[epsilon] = Estimate.undefined(f"the floor is within {epsilon:g} nats of the model on every token")
            continue
        hit = by_document(scored, (kl <= epsilon).astype(float), moved)
        out[epsilon] = resamples.mean(hit, by_document(scored, np.ones(len(kl)), moved))
    return out


def select_hard(scored: Scored, smaller: str, share: float = HARD) -> Bool[np.ndarray, "tokens"]:
    """The share of tokens on which a smaller model's loss is worst against this model's."""
    excess = table(scored, smaller).loss - table(scored, "model").loss
    count = max(1, round(share * len(excess)))
    chosen = np.zeros(len(excess), dtype=bool)
    chosen[np.argsort(-excess, kind="stable")[:count]] = True
    return chosen


def hard_tokens(
    scored: Scored,
    resamples: Resamples,
    *,
    explained: str = "explained:mean",
    floor: str = "floor:mean",
    smaller: Sequence[str],
    share: float = HARD,
) -> dict[str, Any]:
    """R_D on the hard tokens, and how much of the model's lead over *other* smaller models the explained run keeps.

    The first smaller model only selects: on tokens chosen by its own errors its loss is biased upwards.

    Returns:
        "recovered" (R_D over the floor), "by", "share", "tokens" and "kept": name -> (L_small − L_E) / (L_small − L_M).
    """
    hard = select_hard(scored, smaller[0], share)
    kl = {name: by_document(scored, table(scored, name).kl, hard) for name in (explained, floor)}
    count = by_document(scored, np.ones(len(hard)), hard)
    names = ("model", explained, *smaller[1:])
    loss = {name: by_document(scored, table(scored, name).loss, hard) for name in names}
    kept = {
        name: resamples.ratio(loss[name] - loss[explained], loss[name] - loss["model"], count).to_json()
        for name in smaller[1:]
    }
    return {
        "recovered": resamples.recovered(kl[explained], kl[floor], count).to_json(),
        "by": smaller[0],
        "share": share,
        "tokens": int(hard.sum()),
        "kept": kept,
    }


def accuracies(
    bench: Workbench, systems: Mapping[str, System | Sequence[System]], scored: Scored, resamples: Resamples
) -> dict[str, Estimate]:
    """The share of items whose most likely token is the correct one, for "model" and each system (run once more)."""
    task = replace(bench.task, metric=METRICS["accuracy"])
    runner = Runner(bench.model, task)
    runner.batch = bench.runner.batch  # the same micro-batches give the same rounding
    other = Workbench(runner, bench.seed, frozen_norm=bench.frozen_norm, refit=bench.refit)
    wrong = score(other, systems, rows=np.unique(scored.row))
    bench.runner.forwards += runner.forwards
    kept = scored.count > 0
    count = scored.count[kept]
    return {name: resamples.mean(count - s.loss[kept], count) for name, s in wrong.systems.items()}


def _quantiles(values: np.ndarray) -> dict[str, float]:
    return {f"{q:g}": float(np.quantile(values, q)) for q in QUANTILES}
