"""What an explanation leaves open: where it sits, the worst examples, and whether there is structure in it."""

from __future__ import annotations

from pydantic import Field

from assay.record.base import Block, Count, Number, Text
from assay.stats.estimate import Estimate


class Slice(Block):
    """Some of the scored tokens: KL(model || explained) and the gap in loss, nats a token; `share`: of all KL."""

    slice: Text
    tokens: Count
    kl: Estimate
    gap: Estimate
    share: Number | None
    id: Count | None = None


Alternatives = tuple[tuple[Text, Number], ...]


class Token(Block):
    """A token of an example; what is not scored has no figures.

    Attributes:
        kl, kl_floor: from the model to the explained run and to the floor, nats.
        top_model, top_explained, top_floor: what each holds for likeliest in its place, with its probability, the
            likeliest first (of ablations that are drawn: under the first draw); empty where it was not recorded.
    """

    token: Text
    kl: Number | None = None
    kl_floor: Number | None = None
    loss_model: Number | None = None
    loss_explained: Number | None = None
    loss_floor: Number | None = None
    top_model: Alternatives = ()
    top_explained: Alternatives = ()
    top_floor: Alternatives = ()

    @property
    def gap(self) -> float | None:
        if self.loss_explained is None or self.loss_model is None:
            return None
        return self.loss_explained - self.loss_model


class WorstRow(Block):
    """A row around its worst token: `token` at `position`, whose KL it is; `row_kl`: the row's.

    Attributes:
        slices: the slice of each partition that the token is in, as `Residual.slices` names them.
    """

    document: Text
    row: Count
    position: Count
    token: Text
    kl: Number
    row_kl: Number
    text: tuple[Token, ...]
    slices: dict[Text, Text] = Field(default_factory=dict)


class RestoredPart(Block):
    """The share of the explained KL that closes when this part alone is the model's own."""

    part: Text
    closes: Estimate


class Signal(Block):
    """KL recovered over the μ-ablated floor (for `Keep`: by the complement's run, over the empty floor).

    Attributes:
        value: what the residual itself recovers; noise, shuffled: its two controls.
        reader: what two tokens predict of it.
        share: how much of the residual's effect the reader predicts.
        text: the same in words.
    """

    value: Estimate
    noise: Estimate
    shuffled: Estimate
    reader: Estimate
    share: Estimate
    text: Text

    @classmethod
    def undefined(cls, reason: str) -> Signal:
        """No figure, and why."""
        none = Estimate.undefined(reason)
        return cls(value=none, noise=none, shuffled=none, reader=none, share=none, text=f"{none}.")


class Residual(Block):
    """What the explanation leaves.

    Attributes:
        slices: by source, position, token_class, frequency and repeat (partitions), document and token (the worst).
        worst: the examples with the largest KL, worst first, with the tokens around.
        worst_of_slices: the worst token of each slice that has none among these, likewise.
    """

    slices: dict[Text, tuple[Slice, ...]]
    worst: tuple[WorstRow, ...]
    parts: tuple[RestoredPart, ...]
    signal: Signal
    worst_of_slices: tuple[WorstRow, ...] = ()

    @classmethod
    def undefined(cls, reason: str) -> Residual:
        """Nothing that was looked at, and why."""
        return cls(slices={}, worst=(), parts=(), signal=Signal.undefined(reason))
