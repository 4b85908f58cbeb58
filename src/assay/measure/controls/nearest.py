"""Which rival or control is nearest to the explained run, token by token: one that is as good as equal to it shows that
the claim says nothing of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from assay.score.ids import SystemId
from assay.score.scores import Scored


@dataclass(frozen=True)
class Nearest:
    """The nearest of some systems.

    Attributes:
        name: its own; share: the share of tokens on which KL(explained run || it) is at most `epsilon` nats.
        of: how many systems were looked at; tokens: how many they were compared on.
    """

    name: str
    share: float
    epsilon: float
    of: int
    tokens: int

    def __str__(self) -> str:
        return (
            f"of {self.of} rivals and controls the nearest, {self.name}, is within {self.epsilon:g} nats of the "
            f"explained run on {self.share:.1%} of {self.tokens:,} tokens"
        )

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def nearest(shares: Mapping[str, float], epsilon: float, tokens: int) -> Nearest | None:
    """The system that is within epsilon on most of the tokens, from the shares of all; None where there is none."""
    if not shares or not tokens:
        return None
    name = max(shares, key=lambda n: shares[n])
    return Nearest(name, shares[name], epsilon, len(shares), tokens)


def shares_near(scored: Scored[SystemId], systems: Mapping[str, SystemId], epsilon: float) -> dict[str, float]:
    """For each name the share of tokens on which its system's KL from its target is small.

    Args:
        systems: name -> the system in `scored`, whose tokens were kept.
    """
    return {name: float(np.mean(scored[one].table.kl <= epsilon)) for name, one in systems.items()}
