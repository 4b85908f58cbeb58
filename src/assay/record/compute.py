"""What losses are worth in training compute, and how long a claim is."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from assay.record.base import Block, Count, Number, Positive, Text
from assay.stats.estimate import Estimate

Where = Literal["inside", "below", "above"]
Place = Literal["model", "explained", "floor"]


class LinearShares(Block):
    """The shares of `ComputeFigures` by log-linear interpolation: how much the curve between members matters."""

    recovered: Number | None = None
    share_explained: Number | None = None
    share_floor: Number | None = None


class ComputeFigures(Block):
    """The figures of one explained run.

    Attributes:
        recovered: (C(L_E) − C(L_F)) / (C(L_M) − C(L_F)).
        share_explained, share_floor: C(L_E) / C(L_M) and C(L_F) / C(L_M).
    """

    recovered: Estimate
    share_explained: Estimate
    share_floor: Estimate
    linear: LinearShares | None = None


class Member(Block):
    """A member of the family on these documents."""

    model: Text
    tokens: Number
    flops: Positive
    loss: Number


class CurvePoint(Block):
    flops: Positive
    loss: Number


class PowerLawRecord(Block):
    """loss = linf + a / FLOPs^b on the envelope; `warning`: where it differs from the curve at a mark."""

    a: Number
    b: Number
    linf: Number
    intervals: dict[Text, Estimate]
    warning: Text | None


class Mark(Block):
    """Where a system lies on the curve.

    Attributes:
        loss: nats a token; flops: C(L), None out of range.
        nearest: the member whose loss is nearest.
    """

    loss: Number
    flops: Positive | None
    where: Where
    nearest: Text


class Placed(Block):
    """A floor, rival or smaller member on the curve: its loss, and what that is worth of the model's compute.

    Attributes:
        role: "floor", "rival" or another role of a system; name: of a floor its ablation, of others their own.
    """

    role: Text
    name: Text
    loss: Estimate
    share: Estimate
    linear: Number | None = None
    where: Where
    nearest: Text


class Rung(Block):
    """What a run that recovers this share of a floor's gap in loss is worth of the model's compute.

    Attributes:
        floor: its name, "mean" or "bigram"; own: whether it is the claim's own floor, under that ablation.
    """

    floor: Text
    own: bool
    recovered: Number
    loss: Estimate
    share: Estimate
    linear: Number | None = None


class Compute(ComputeFigures):
    """What the claim is worth; of one with several components, the compound.

    Attributes:
        family: its name; reason: why there is no figure at all.
        share_model: C(L_M) over the compute of the family's best member.
        points: every endpoint's loss on these documents; curve: their envelope.
        marks: model, explained run and floor on the curve.
        parts: the same figures for each component alone.
        systems: where floors, rivals and smaller members lie.
        text: the figures in words.
        documents: on which of the measured documents, where the family lacks losses of others.
    """

    family: Text | None
    reason: Text | None
    share_model: Estimate
    points: tuple[Member, ...] = ()
    curve: tuple[CurvePoint, ...] = ()
    power_law: PowerLawRecord | None = None
    marks: dict[Place, Mark] = Field(default_factory=dict)
    parts: dict[Text, ComputeFigures] = Field(default_factory=dict)
    systems: tuple[Placed, ...] = ()
    ladder: tuple[Rung, ...] = ()
    text: Text
    documents: Text | None = None

    @classmethod
    def undefined(cls, reason: str, family: str | None = None, n: int = 0) -> Compute:
        """No family, or none that can be used, and why."""
        none = Estimate.undefined(reason, n)
        shares: dict[str, Any] = {"recovered": none, "share_explained": none, "share_floor": none, "share_model": none}
        return cls(**shares, linear=LinearShares(), family=family, reason=reason, text=f"undefined, because {reason}")


class Bits(Block):
    """A length; `reason`: why there is none.

    Attributes:
        how: what it is made up of, in words; precision: bits a weight; parts: what the bits are spent on.
    """

    bits: Number | None
    how: Text | None = None
    reason: Text | None = None
    precision: Count | None = None
    parts: dict[Text, Number] = Field(default_factory=dict)


class TwoPart(Block):
    """Bits of the explanation and, given it, of the network's behaviour on so many tokens."""

    tokens: Count
    bits: Number


class Overtaken(Block):
    """From how many tokens on the claim's two-part code is shorter than the rival's; 0: always; None: never."""

    rival: Text
    tokens: Number | None


class LengthPoint(Block):
    """Something on the length plot: stand-alone bits against KL(model || it) in nats a token."""

    name: Text
    bits: Positive
    kl: Estimate
    kind: Literal["claim", "rival"]


class RowCount(Block):
    rows: Count


class Length(Block):
    """The two lengths, and the claim's beside its rivals'; `reason`: why only the claim's own means something."""

    claim: Bits
    standalone: Bits
    two_part: tuple[TwoPart, ...] = ()
    overtaken: tuple[Overtaken, ...] = ()
    points: tuple[LengthPoint, ...] = ()
    measured_on: RowCount | None = None
    reason: Text | None = None
