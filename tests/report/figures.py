"""Single figures, rows and slices of a made-up record."""

from __future__ import annotations

import math
from typing import Any


def estimate(value: float | None, half: float = 0.0, n: int = 96, reason: str | None = None) -> dict[str, Any]:
    if value is None:
        return {"value": None, "low": None, "high": None, "n": n, "reason": reason}
    return {"value": value, "low": value - half, "high": value + half, "n": n, "reason": reason}


def row(ablation: str, floor: str, recovered: float, kl_floor: float, headline: bool = False, option=None):
    kl = kl_floor * (1 - recovered)
    nines = -math.log10(1 - recovered)
    return {
        "ablation": ablation,
        "floor": floor,
        "option": option,
        "recovered": estimate(recovered, 0.03),
        "recovered_loss": estimate(recovered + 0.021, 0.045),
        "nines": {"value": nines, "low": nines - 0.03, "high": nines + 0.03, "n": 96, "reason": None},
        "kl_floor": estimate(kl_floor, 0.006),
        "kl_explained": estimate(kl, 0.003),
        "loss_floor": estimate(3.912 + kl_floor, 0.081),
        "loss_explained": estimate(3.912 + kl, 0.080),
        "headline": headline,
    }


def part(name: str, recovered: float | None) -> dict[str, Any]:
    reason = "the floor is not told apart from the model (KL 0.00004 nats a token)"
    own = estimate(None, reason=reason) if recovered is None else estimate(recovered, 0.05)
    if name == "a1.h6":  # an end that is open
        own |= {"low": None, "reason": "the floor's lower end is 0"}
    none = {"value": 0.8, "low": None, "high": None, "n": 96, "reason": "4.0 % of the resamples have no finite value"}
    figures = {"recovered": own, "recovered_loss": own, "nines": own}
    losses = {"kl_floor": estimate(0.04, 0.003), "kl_explained": estimate(0.02, 0.003)}
    return {"component": name, "floor": "ablated", **figures, **losses, "compute": {"recovered": none}}


def flops(loss: float) -> float:
    return (190 / (loss - 2.9)) ** (1 / 0.155)


def slice_of(name: str, tokens: int, kl: float | None, share: float) -> dict[str, Any]:
    undefined = estimate(None, n=1, reason="a single document")
    return {
        "slice": name,
        "tokens": tokens,
        "kl": undefined if kl is None else estimate(kl, 0.004),
        "gap": undefined if kl is None else estimate(kl * 0.9, 0.006),
        "share": share,
    }
