"""Explanations that should not score well, and simpler systems that compete for the same credit."""

from __future__ import annotations

from typing import Literal

from assay.record.base import Block, Count, Number, Text
from assay.stats.estimate import Estimate


class ControlGroup(Block):
    """Controls of one sort, and the claim's rank among them.

    Attributes:
        n: how many; values: R_D of each over its own floor (None where that floor is no more than 10⁻⁶ nats from the
            model), of removals KL; nats: what each closes of its floor's KL.
        possible: how many such controls exist; enumerated: these are all of them.
        claim: the claim's own figure on the same rows; claim_nats: likewise.
        undefined: how many have no value; p, p_nats: ranks of the claim, None for near misses.
        reason: why there are none; difference: the claim less the one control, paired.
    """

    name: Text
    what: Text
    n: Count
    values: tuple[Number | None, ...]
    nats: tuple[Number, ...]
    names: tuple[Text, ...]
    possible: Count
    enumerated: bool
    measure: Literal["recovered", "kl"]
    claim: Estimate
    claim_nats: Number
    undefined: Count
    p: Number | None
    p_nats: Number | None
    reason: Text | None = None
    difference: Estimate | None = None

    @property
    def known(self) -> list[float]:
        """The values that are defined, smallest first."""
        return sorted(value for value in self.values if value is not None)


class Paired(Block):
    """Claim, control and their difference, paired by document."""

    claim: Estimate
    control: Estimate
    difference: Estimate


class Randomised(Paired):
    """The claim's search re-run on a copy of the model with random weights, made so; `of`: how many names it found."""

    how: Text
    found: tuple[Text, ...]
    of: Count | None = None
    what: Text
    also: tuple[Randomised, ...] = ()


class Nearest(Block):
    """Which rival or control is nearest to the explained run, token by token.

    Attributes:
        share: that of the tokens on which KL(explained run || it) is at most `epsilon` nats.
        of: how many systems were looked at; tokens: how many they were compared on.
    """

    name: Text
    share: Number
    epsilon: Number
    of: Count
    tokens: Count

    def __str__(self) -> str:
        return (
            f"the nearest of {self.of} rivals and controls, {self.name}, is within {self.epsilon:g} nats of the "
            f"explained run on {self.share:.1%} of {self.tokens:,} tokens"
        )


class Controls(Block):
    """All groups, on some rows and one draw; `reason`, `random_weights_reason`: why there are none."""

    groups: tuple[ControlGroup, ...] = ()
    random_weights: Randomised | None = None
    random_weights_reason: Text | None = None
    nearest: Nearest | None = None
    ablation: Text
    draws: Count
    rows: Count
    documents: Count
    tokens: Count | None = None
    reason: Text | None = None

    @property
    def largest_p(self) -> float | None:
        """The claim has to be better than each group of controls."""
        return max((group.p for group in self.groups if group.p is not None), default=None)


class RivalRecord(Block):
    """A simpler system: its loss and KL, R_D over the headline's floor, its stand-alone length where it has one."""

    name: Text
    what: Text
    loss: Estimate
    kl: Estimate
    recovered: Estimate
    bits: Number | None
    weak: bool
