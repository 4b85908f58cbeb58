"""What stands beside the loss: agreement, tokens within ε, quantiles, accuracy, hard tokens.

They are defined in docs/definitions.md#beside-the-loss.
Takes the `Scored` token tables of "model", the explained run, its floor and, for the hard tokens, smaller models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from assay.measure.score import WITHIN, Scored
from assay.measure.tokens.residual import by_document, table
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate

QUANTILES = (0.5, 0.9, 0.99, 1.0)
HARD = 0.1  # share of tokens that are called hard


def beside(
    scored: Scored,
    resamples: Resamples,
    *,
    explained: str = "explained:mean",
    floor: str | None = "floor:mean",
    smaller: Sequence[str] = (),
) -> dict[str, Any]:
    """The record's `beside` block.

    Args:
        explained, floor: systems whose token tables were kept, as was the model's; no floor where the claim has none.
        smaller: smaller models' systems, kept too: the first selects the hard tokens, the others are compared with.
    """
    kl, delta = table(scored, explained).kl, table(scored, explained).loss - table(scored, "model").loss
    agree = table(scored, explained).agree
    everything = by_document(scored, np.ones(len(kl)))
    return {
        "agreement": resamples.mean(by_document(scored, agree), everything, least=0.0, most=1.0).to_json(),
        "within": {
            f"{epsilon:g}": e.to_json()
            for epsilon, e in within(scored, resamples, explained=explained, floor=floor).items()
        },
        "kl_quantiles": _quantiles(kl),
        "delta_loss_quantiles": _quantiles(delta),
        **{n: e.to_json() for n, e in accuracy(scored, resamples, explained=explained, floor=floor).items()},
        "hard_tokens": hard_tokens(scored, resamples, explained=explained, floor=floor, smaller=smaller)
        if smaller and floor is not None
        else None,
    }


def within(
    scored: Scored, resamples: Resamples, *, explained: str = "explained:mean", floor: str | None = "floor:mean"
) -> dict[float, Estimate]:
    """ε -> the share of tokens with KL(model || explained) ≤ ε among those where the floor's KL > ε."""
    if floor is None:
        return dict.fromkeys(WITHIN, Estimate.undefined("the claim has no floor on this task"))
    kl, below = table(scored, explained).kl, table(scored, floor).kl
    out = {}
    for epsilon in WITHIN:
        moved = below > epsilon
        if not moved.any():
            out[epsilon] = Estimate.undefined(f"the floor is within {epsilon:g} nats of the model on every token")
            continue
        hit = by_document(scored, (kl <= epsilon).astype(float), moved)
        out[epsilon] = resamples.mean(hit, by_document(scored, np.ones(len(kl)), moved), least=0.0, most=1.0)
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


def accuracy(
    scored: Scored, resamples: Resamples, *, explained: str = "explained:mean", floor: str | None = "floor:mean"
) -> dict[str, Estimate]:
    """The share of items whose most likely token is the correct one, and how much of it the explanation gives back.

    Args:
        floor: None where the claim has none.

    Returns:
        "accuracy" (of the explained run), "accuracy_model", "accuracy_floor", and "accuracy_recovered":
        (acc_E − acc_F) / (acc_M − acc_F), where that gap is told from 0.
    """
    used = scored.count > 0
    count = scored.count[used]
    right = {name: scored[name].correct[used] for name in ("model", explained, floor) if name is not None}
    out = {
        "accuracy": resamples.mean(right[explained], count, least=0.0, most=1.0),
        "accuracy_model": resamples.mean(right["model"], count, least=0.0, most=1.0),
    }
    if floor is None:
        none = Estimate.undefined("the claim has no floor on this task", int(used.sum()))
        return {**out, "accuracy_floor": none, "accuracy_recovered": none}
    out["accuracy_floor"] = resamples.mean(right[floor], count, least=0.0, most=1.0)
    gap = resamples.difference(right["model"], right[floor], count)
    if gap.low is not None and gap.low > 0:
        share = resamples.ratio(right[explained] - right[floor], right["model"] - right[floor], count)
    elif gap.high is not None and gap.high < 0:
        share = Estimate.undefined(f"harmful scope: the model's accuracy minus the floor's is {gap}", gap.n)
    else:
        share = Estimate.undefined(f"gap not resolved: the model's accuracy minus the floor's is {gap}", gap.n)
    return {**out, "accuracy_recovered": share}


def _quantiles(values: np.ndarray) -> dict[str, float]:
    return {f"{q:g}": float(np.quantile(values, q)) for q in QUANTILES}
