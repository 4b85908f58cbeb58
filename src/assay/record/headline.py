"""How much is recovered: the headline, the table of every floor and ablation, and agreement by token."""

from __future__ import annotations

from assay.record.base import Block, Count, Number, Text
from assay.record.compute import ComputeFigures
from assay.stats.estimate import Estimate

OWN_FLOORS = ("ablated", "empty", "unconditioned")  # a claim's own, which there is one of under every ablation


class Nines(Block):
    """−log10 of the ratio of KLs.

    Attributes:
        certified: at the upper end of the ratio's interval, at most the limit: an estimate that is its own lower end.
        value: the nines and their interval, all at most the limit.
        shown: what is certified, as printed: "1.3", or ">4.2" at the limit; None where it is undefined.
        remark: why none are certified, "no better than the floor".
        limit: the meter's resolution: the nines of the no-op run.
        floor: what they are counted over.
    """

    certified: Estimate
    value: Estimate
    shown: Text | None
    remark: Text | None
    limit: Number | None
    floor: Text

    @property
    def text(self) -> str:
        """In words: "1.3 nines over mean"."""
        if self.shown is None:
            return f"nines over {self.floor}: {self.value}"
        return f"{self.shown} nines over {self.floor}" + (f": {self.remark}" if self.remark else "")


class Headline(Block):
    """The figures under the ablation that is worst for the claim; of a removal also what it costs."""

    ablation: Text
    floor: Text
    recovered: Estimate
    recovered_loss: Estimate
    nines: Nines
    necessity: Estimate | None = None
    kl: Estimate | None = None
    nats: Estimate | None = None


class Recovered(Block):
    """An explained run against one floor; None: what a claim of this kind has not.

    Attributes:
        recovered, recovered_loss: R_D and R_L.
        cancellation: R_L − R_D, paired.
        kl_explained, kl_floor, loss_model, loss_explained, loss_floor: nats a scored token.
        gap: L_F − L_M, nats a scored token.
        nines: over this floor; nines_shown: those certified, as printed.
        necessity, nats: of a removal: N, and L_E − L_M.
    """

    recovered: Estimate
    recovered_loss: Estimate
    cancellation: Estimate | None = None
    kl_explained: Estimate
    kl_floor: Estimate
    loss_model: Estimate | None = None
    loss_explained: Estimate | None = None
    loss_floor: Estimate
    gap: Estimate | None = None
    nines: Estimate
    nines_shown: Text | None = None
    necessity: Estimate | None = None
    nats: Estimate | None = None


class TableRow(Recovered):
    """A row of the table."""

    ablation: Text
    floor: Text
    option: Text | None = None
    headline: bool


class PartRow(Recovered):
    """A component alone over its own floor, or all of them at once."""

    component: Text
    floor: Text
    compute: ComputeFigures | None = None


class PartsTable(Block):
    """Each component alone under `ablation`, and all of them; `reason`: why there are none."""

    ablation: Text
    reason: Text | None
    components: tuple[PartRow, ...]
    compound: PartRow | None


class RunScores(Block):
    """KL, loss, R_D, and nats over the model's loss."""

    kl: Estimate
    loss: Estimate
    recovered: Estimate
    nats: Estimate | None = None


class TargetRecord(Block):
    """What KL is taken from where that is not the model's own distribution.

    Attributes:
        what: in words; kl: KL(it || the model), nats a scored token.
    """

    what: Text
    kl: Estimate


class Losses(Block):
    """Nats a scored token (or the metric's unit)."""

    model: Estimate
    explained: Estimate
    floors: dict[Text, Estimate]


class HardTokens(Block):
    """R_D on the `share` of tokens that the smaller model `by` finds hardest against the model.

    Attributes:
        by: a smaller member of the model's family, or an n-gram of one half of the reference.
        kept: other smaller models, or the n-gram of the other half -> how much of the model's lead over them the
            explained run keeps.
    """

    recovered: Estimate
    by: Text
    share: Number
    tokens: Count
    kept: dict[Text, Estimate]


class Agreement(Block):
    """Agreement of the explained run with the model, token by token, which stands beside the loss.

    Attributes:
        agreement: share of tokens with the same most likely next token.
        within: ε -> share of tokens with KL ≤ ε, of those where the floor's is above.
        kl_quantiles, delta_loss_quantiles: quantile -> nats, over tokens.
        accuracy, accuracy_model, accuracy_floor: those of the explained run, the model and the floor.
        accuracy_recovered: (explained − floor) / (model − floor).
    """

    agreement: Estimate
    within: dict[Text, Estimate]
    kl_quantiles: dict[Text, Number]
    delta_loss_quantiles: dict[Text, Number]
    accuracy: Estimate
    accuracy_model: Estimate
    accuracy_floor: Estimate
    accuracy_recovered: Estimate
    hard_tokens: HardTokens | None
