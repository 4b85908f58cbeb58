"""How much an explanation recovers: R_D, R_L, nines and necessity, as pure functions over sums.

They are defined in docs/definitions.md#recovered.
Every column is float64 [documents], the sum over a document's scored tokens, in nats; every ratio is one of sums.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from assay.record.headline import Nines, Recovered
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate

Column = Float64[np.ndarray, " documents"]
LEAST_GAP = 1e-4  # nats a token
TIMES_NOISE = 5.0
RESOLUTION = 2.0**-23  # nats a token: rounding of a KL made in float32, where the no-op run's is smaller


@dataclass(frozen=True)
class Necessity:
    """What removing the named parts costs.

    Attributes:
        necessity: (L_E − L_M) / (L_bigram − L_M).
        kl: KL(M‖E), nats a scored token.
        nats: L_E − L_M, nats a scored token.
    """

    necessity: Estimate
    kl: Estimate
    nats: Estimate

    @property
    def as_recovered(self) -> Recovered:
        """A removal's row: it has no floor, and so no recovered share."""
        none = Estimate.undefined("a claim about what is lost has no floor")
        return Recovered(
            recovered=none, recovered_loss=none, nines=none, kl_floor=none, loss_floor=none, kl_explained=self.kl,
            necessity=self.necessity, nats=self.nats,
        )  # fmt: skip


def recovered_kl(
    resamples: Resamples, kl_explained: Column, kl_floor: Column, counts: Column, *, noise: float = 0.0
) -> Estimate:
    """R_D = 1 − KL(M‖E) / KL(M‖F).

    Args:
        noise: KL of the no-op run, nats a token; a floor that does not stand above 5 times it is not resolved.
    """
    reason = _unresolved(resamples, kl_floor, counts, noise)
    if reason:
        return Estimate.undefined(reason, int((counts > 0).sum()))
    found = resamples.recovered(np.maximum(kl_explained, 0.0), np.maximum(kl_floor, 0.0), counts)
    return found.within(None, 1.0)


def recovered_loss(
    resamples: Resamples,
    loss_model: Column,
    loss_explained: Column,
    loss_floor: Column,
    counts: Column,
    *,
    noise: float = 0.0,
) -> Estimate:
    """R_L = (L_F − L_E) / (L_F − L_M), where the gap's lower end is above max(10⁻⁴, 5 × noise).

    Args:
        noise: the no-op run's difference in loss, nats a token.
    """
    reason = gap_reason(resamples.difference(loss_floor, loss_model, counts), noise, "the floor's loss")
    if reason:
        return Estimate.undefined(reason, int((counts > 0).sum()))
    return resamples.ratio(loss_floor - loss_explained, loss_floor - loss_model, counts)


def nines(
    resamples: Resamples,
    kl_explained: Column,
    kl_floor: Column,
    counts: Column,
    floor: str,
    *,
    noise: float = 0.0,
) -> Nines:
    """Nines over a floor, certified at the upper end of the ratio's interval and at most the meter's resolution.

    Args:
        floor: its name, "mean" or "bigram".
        noise: KL of the no-op run, nats a token.
    """
    share = recovered_kl(resamples, kl_explained, kl_floor, counts, noise=noise)
    ratio = share.map(lambda r: 1 - r, decreasing=True)
    if ratio.value is None:
        sure = Estimate.undefined(share.reason or "the ratio has no upper end", share.n)
        return Nines(certified=sure, value=share, shown=None, remark=None, limit=None, floor=floor)
    mean_floor = float(np.maximum(kl_floor, 0.0).sum() / counts.sum())
    limit = max(0.0, -math.log10(max(noise, RESOLUTION) / mean_floor))

    def count(r: float) -> float:
        return min(limit, max(0.0, -math.log10(r))) if r > 0 else limit

    value = ratio.map(count, decreasing=True)
    # "0" is what is certified where the interval has no upper end, too: nothing better was shown.
    certified = 0.0 if ratio.high is None else count(ratio.high)
    shown, remark = _shown(certified), None
    if certified >= limit > 0:
        shown = f">{_shown(limit)}"
    elif ratio.value >= 1:
        shown, remark = "0", "no better than the floor"
    elif certified == 0:
        shown, remark = "0", "not shown to be better than the floor"
    sure = replace(value, value=certified, low=certified)  # what is certified is its own lower end
    return Nines(certified=sure, value=value, shown=shown, remark=remark, limit=limit, floor=floor)


def measure_recovered(
    resamples: Resamples,
    counts: Column,
    *,
    loss_model: Column,
    explained: tuple[Column, Column],
    floor: tuple[Column, Column],
    floor_name: str,
    noise_kl: float = 0.0,
    noise_loss: float = 0.0,
) -> tuple[Recovered, Nines]:
    """What docs/definitions.md#recovered has for one explained run and one floor, and the nines with those certified.

    Args:
        explained, floor: (loss, kl) sums.
        noise_kl, noise_loss: the no-op run's, nats a token.
    """
    (loss_explained, kl_explained), (loss_floor, kl_floor) = explained, floor
    share = recovered_kl(resamples, kl_explained, kl_floor, counts, noise=noise_kl)
    by_loss = recovered_loss(resamples, loss_model, loss_explained, loss_floor, counts, noise=noise_loss)
    if share.value is None or by_loss.value is None:
        cancellation = Estimate.undefined(f"{'R_D' if share.value is None else 'R_L'} is undefined", share.n)
    else:
        cancellation = resamples.function(
            lambda kl_e, kl_f, lost, gap: 1 - lost / gap - (1 - kl_e / kl_f),
            np.maximum(kl_explained, 0.0), np.maximum(kl_floor, 0.0), loss_explained - loss_model,
            loss_floor - loss_model, counts=counts,
        )  # fmt: skip
    over = nines(resamples, kl_explained, kl_floor, counts, floor_name, noise=noise_kl)
    found = Recovered(
        recovered=share,
        recovered_loss=by_loss,
        cancellation=cancellation,
        nines=over.value,
        nines_shown=over.shown,
        kl_explained=resamples.mean(kl_explained, counts, least=0.0),
        kl_floor=resamples.mean(kl_floor, counts, least=0.0),
        loss_model=resamples.mean(loss_model, counts),
        loss_explained=resamples.mean(loss_explained, counts),
        loss_floor=resamples.mean(loss_floor, counts),
        gap=resamples.difference(loss_floor, loss_model, counts),
    )
    return found, over


def necessity(
    resamples: Resamples,
    counts: Column,
    *,
    loss_model: Column,
    loss_removed: Column,
    loss_bigram: Column | None,
    kl_removed: Column,
    noise: float = 0.0,
) -> Necessity:
    """N = (L_E − L_M) / (L_bigram − L_M), for what is claimed to be needed; with KL(M‖E) and the nats.

    Args:
        loss_bigram: None where the task has none.
    """
    reason = "there is no bigram for this task"
    if loss_bigram is not None:
        gap = resamples.difference(loss_bigram, loss_model, counts)
        reason = gap_reason(gap, noise, "the bigram's loss", "worse than its bigram")
    if loss_bigram is None or reason:
        share = Estimate.undefined(reason or "", int((counts > 0).sum()))
    else:
        share = resamples.ratio(loss_removed - loss_model, loss_bigram - loss_model, counts)
    return Necessity(
        share, resamples.mean(kl_removed, counts, least=0.0), resamples.difference(loss_removed, loss_model, counts)
    )


def gap_reason(gap: Estimate, noise: float, what: str, harm: str = "harmful scope") -> str | None:
    """Why a share of this gap means nothing; None where it does. `harm` names a gap that is below 0."""
    least = max(LEAST_GAP, TIMES_NOISE * noise)
    if gap.value is None:
        return gap.reason
    if gap.low is not None and gap.low > least:
        return None
    if gap.high is not None and gap.high < 0:
        return f"{harm}: {what} is below the model's, by {gap.map(lambda g: -g, decreasing=True)} nats a token"
    return f"gap not resolved: {what} minus the model's is {gap} nats a token, not above {least:.2g}"


def _unresolved(resamples: Resamples, kl_floor: Column, counts: Column, noise: float) -> str | None:
    mean = resamples.mean(np.maximum(kl_floor, 0.0), counts)
    if mean.value is None:
        return mean.reason
    least = max(RESOLUTION, TIMES_NOISE * noise)
    # One document has no interval: its own value decides.
    lower = mean.value if mean.low is None else mean.low
    if lower > least:
        return None
    return f"the floor cannot be distinguished from the model: its KL is {mean} nats a token, not above {least:.2g}"


def _shown(number: float) -> str:
    """Two figures, cut off: what is certified is never rounded up."""
    places = 1 if number >= 1 else 2
    return f"{math.floor(number * 10**places + 1e-9) / 10**places:.{places}f}"
