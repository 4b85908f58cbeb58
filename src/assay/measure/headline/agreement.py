"""What stands beside the loss: agreement, tokens within ε, quantiles, accuracy, hard tokens.

They are defined in docs/definitions.md#beside-the-loss.
Takes the `Scored` token tables of the model, the explained run and its floor, and for the hard tokens the losses of
smaller models.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float

from assay.measure.tokens.residual import by_document
from assay.record.headline import Agreement, HardTokens
from assay.score.ids import SystemId
from assay.score.scores import Scored
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate

QUANTILES = (0.5, 0.9, 0.99, 1.0)
WITHIN = (1e-3, 1e-2, 1e-1)
HARD = 0.1  # share of tokens that are called hard
TokenLosses = Mapping[str, Float[np.ndarray, "tokens"]]  # nats of each scored token, in the order of the token tables


def agreement(
    scored: Scored[SystemId], resamples: Resamples, *, explained: SystemId, floor: SystemId | None
) -> Agreement:
    """The record's `agreement` block, without hard tokens: for those further models have to be scored.

    Args:
        explained, floor: systems whose token tables were kept, as was the model's; no floor where the claim has none.
    """
    mine = scored[explained].table
    kl, delta = mine.kl, mine.loss - scored.model.table.loss
    everything = by_document(scored, np.ones(len(kl)))
    return Agreement(
        agreement=resamples.mean(by_document(scored, mine.agree), everything, least=0.0, most=1.0),
        within={f"{bound:g}": e for bound, e in within(scored, resamples, explained=explained, floor=floor).items()},
        kl_quantiles=_quantiles(kl),
        delta_loss_quantiles=_quantiles(delta),
        **accuracy(scored, resamples, explained=explained, floor=floor),
        hard_tokens=None,
    )


def within(
    scored: Scored[SystemId], resamples: Resamples, *, explained: SystemId, floor: SystemId | None
) -> dict[float, Estimate]:
    """ε -> the share of tokens with KL(model || explained) ≤ ε among those where the floor's KL > ε."""
    if floor is None:
        return dict.fromkeys(WITHIN, Estimate.undefined("the claim has no floor on this task"))
    kl, below = scored[explained].table.kl, scored[floor].table.kl
    out = {}
    for epsilon in WITHIN:
        moved = below > epsilon
        if not moved.any():
            out[epsilon] = Estimate.undefined(f"the floor is within {epsilon:g} nats of the model on every token")
            continue
        hit = by_document(scored, (kl <= epsilon).astype(float), moved)
        out[epsilon] = resamples.mean(hit, by_document(scored, np.ones(len(kl)), moved), least=0.0, most=1.0)
    return out


def select_hard(
    scored: Scored[SystemId], smaller: Float[np.ndarray, "tokens"], share: float = HARD
) -> Bool[np.ndarray, "tokens"]:
    """The share of tokens on which a smaller model's loss is worst against this model's."""
    excess = smaller - scored.model.table.loss
    count = max(1, round(share * len(excess)))
    chosen = np.zeros(len(excess), dtype=bool)
    chosen[np.argsort(-excess, kind="stable")[:count]] = True
    return chosen


def hard_tokens(
    scored: Scored[SystemId],
    resamples: Resamples,
    *,
    explained: SystemId,
    floor: SystemId,
    smaller: TokenLosses,
) -> HardTokens:
    """R_D on the hard tokens, and how much of the model's lead over *other* smaller models the explained run keeps.

    The first smaller model only selects: on tokens chosen by its own errors its loss is biased upwards.
    """
    by, *others = smaller
    hard = select_hard(scored, smaller[by], HARD)
    kl, below = (by_document(scored, scored[one].table.kl, hard) for one in (explained, floor))
    count = by_document(scored, np.ones(len(hard)), hard)
    model, own = (by_document(scored, its.table.loss, hard) for its in (scored.model, scored[explained]))
    loss = {name: by_document(scored, smaller[name], hard) for name in others}
    kept = {name: resamples.ratio(its - own, its - model, count) for name, its in loss.items()}
    recovered = resamples.recovered(kl, below, count)
    return HardTokens(recovered=recovered, by=by, share=HARD, tokens=int(hard.sum()), kept=kept)


def accuracy(
    scored: Scored[SystemId], resamples: Resamples, *, explained: SystemId, floor: SystemId | None
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
    own, model = scored[explained].correct[used], scored.model.correct[used]
    out = {
        "accuracy": resamples.mean(own, count, least=0.0, most=1.0),
        "accuracy_model": resamples.mean(model, count, least=0.0, most=1.0),
    }
    if floor is None:
        none = Estimate.undefined("the claim has no floor on this task", int(used.sum()))
        return {**out, "accuracy_floor": none, "accuracy_recovered": none}
    below = scored[floor].correct[used]
    out["accuracy_floor"] = resamples.mean(below, count, least=0.0, most=1.0)
    gap = resamples.difference(model, below, count)
    if gap.low is not None and gap.low > 0:
        share = resamples.ratio(own - below, model - below, count)
    elif gap.high is not None and gap.high < 0:
        share = Estimate.undefined(f"harmful scope: the model's accuracy minus the floor's is {gap}", gap.n)
    else:
        share = Estimate.undefined(f"gap not resolved: the model's accuracy minus the floor's is {gap}", gap.n)
    return {**out, "accuracy_recovered": share}


def _quantiles(values: np.ndarray) -> dict[str, float]:
    return {f"{q:g}": float(np.quantile(values, q)) for q in QUANTILES}
