"""Interchange accuracy: how often the network answers as a high-level model does after a swap."""

from __future__ import annotations

from assay.record.base import Block, Count, Number, Text
from assay.stats.estimate import Estimate


class Agreed(Block):
    """Swaps after which network and high-level model agree.

    Attributes:
        raw: their share; accuracy: (share − majority) / (1 − majority): 0 is a constant's, 1 exact.
    """

    raw: Estimate
    accuracy: Estimate


class CoarserRow(Block):
    """A coarser hypothesis on the same swaps, in which values of a variable are not told apart.

    Attributes:
        name: the variable and from how many values to how many; merged: whether none are told apart.
        differs: the share of swaps in which it predicts another answer.
        claim, coarser: of these the share that goes as the claim says, and as it does.
        raw, accuracy: as in `Agreed`, of this hypothesis, with the rest perturbed.
    """

    name: Text
    merged: bool
    differs: Number
    claim: Number | None
    coarser: Number | None
    raw: Estimate
    accuracy: Estimate


class SwappedRow(Block):
    """Swaps of one variable, or of several at once.

    Attributes:
        changed: the share in which the answer should change; majority: the share of the most common right answer.
        by_rest: what everything takes that carries nothing ("left": its own value) -> agreement.
        coarser: hypotheses that tell fewer values apart, on the same swaps.
    """

    variables: tuple[Text, ...]
    swaps: Count
    changed: Number
    majority: Number
    by_rest: dict[Text, Agreed]
    coarser: tuple[CoarserRow, ...] = ()


class Interchange(Block):
    """Interchange accuracy of a claim that names variables.

    Attributes:
        accuracy: the headline: the least of all rows, with the rest perturbed; plain: that row's with the rest left.
        variables: those of that row; perturbed: what the rest takes in it.
        unswapped: the share of rows on which the network answers as the high-level model, as they are.
        generated: where a generator of inputs was asked, for rows that no other agrees with: variables that they had to
            agree on -> how many inputs it gave, from which scrubbed runs draw too, as swaps do for the rest.
        reason: why there is none.
    """

    accuracy: Estimate
    plain: Estimate
    variables: tuple[Text, ...]
    perturbed: Text
    rows: tuple[SwappedRow, ...]
    unswapped: Estimate | None = None
    generated: dict[Text, Count] | None = None
    reason: Text | None = None
