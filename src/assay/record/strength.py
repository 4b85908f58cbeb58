"""How hard what a claim says nothing about is ablated, as an axis."""

from __future__ import annotations

from assay.record.base import Block, Text
from assay.stats.estimate import Estimate


class StrengthRow(Block):
    """The explained run at one strength.

    Attributes:
        strength: "mean", "resampled", "shared adversarial" or the name of a kind's own; ablation: the one that it is.
        recovered: R_D over the one floor of all rows; kl, loss: nats a scored token.
        compute: what its loss is worth, as a share of the model's training compute; None where that is not measured.
    """

    strength: Text
    ablation: Text
    recovered: Estimate
    kl: Estimate
    loss: Estimate
    compute: Estimate | None = None


class Strengths(Block):
    """The axis; `floor`: what is ablated in the floor's run, and how; `reason`: why there are no rows."""

    floor: Text
    rows: tuple[StrengthRow, ...]
    reason: Text | None = None
