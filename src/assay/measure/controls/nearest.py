"""Which rival or control is nearest to the explained run, token by token: one that is as good as equal to it shows that
the claim says nothing of its own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from assay.record.controls import Nearest
from assay.score.ids import SystemId
from assay.score.scores import Scored


def nearest(shares: Mapping[str, float], epsilon: float, tokens: int) -> Nearest | None:
    """The system that is within epsilon on most of the tokens, from the shares of all; None where there is none."""
    if not shares or not tokens:
        return None
    name = max(shares, key=lambda n: shares[n])
    return Nearest(name=name, share=shares[name], epsilon=epsilon, of=len(shares), tokens=tokens)


def shares_near(scored: Scored[SystemId], systems: Mapping[str, SystemId], epsilon: float) -> dict[str, float]:
    """For each name the share of tokens on which its system's KL from its target is small.

    Args:
        systems: name -> the system in `scored`, whose tokens were kept.
    """
    return {name: float(np.mean(scored[one].table.kl <= epsilon)) for name, one in systems.items()}
