"""What a run was about and how it can be repeated: the claim, the model, the data, arguments, versions."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from assay.names import Level
from assay.record.base import Block, Count, Json, Number, Text

CheckState = Literal["fired", "passed", "unknown"]


class Assay(Block):
    version: Text
    revision: Text | None


class ClaimRecord(Block):
    """What is claimed. `text` and `hash`: of the claim file, where there was one."""

    sentence: Text
    kind: Text
    level: Level
    scope: tuple[Text, ...]
    text: Text | None = None
    hash: Text | None = None


class Arguments(Block):
    """As passed, as resolved, and the command that reproduces the run."""

    passed: Json
    resolved: Json
    command: Text | None = None


class ShapeRecord(Block):
    """Sizes of a transformer; `d_mlp`: of each layer, None where it has no MLP."""

    layers: Count
    d_model: Count
    heads: Count
    kv_heads: Count
    d_head: Count
    vocab: Count
    context: Count
    d_mlp: tuple[Count | None, ...]


class Noise(Block):
    """KL and difference in loss of a run in which nothing is changed, nats a token; `proof` is the proof on load's."""

    kl: Number
    loss: Number
    proof: Number | None


class ModelRecord(Block):
    name: Text
    fingerprint: Text
    family: Text | None
    parameters: Count
    shape: ShapeRecord | None
    noise: Noise | None = None


class DataRecord(Block):
    """How much data there is, and its fingerprint."""

    documents: Count
    rows: Count
    tokens: Count
    sources: dict[Text, Count]
    fingerprint: Text
    name: Text | None = None


class Reference(DataRecord):
    """What is never scored; `how` says how it was chosen."""

    how: Text | None = None


class TaskRecord(DataRecord):
    """What was scored; `notes`: what only this kind of task says."""

    kind: Text
    metric: Text
    notes: Json
    reference: Reference | None


class ReferenceShare(Block):
    """How much of the reference means and covariances are of."""

    rows: Count
    tokens: Count


class Fit(Block):
    """What a fit reached.

    Attributes:
        what: what was fitted; rows, held: how many reference rows it saw, and how many decided when to stop.
        start, reached: KL(model || edited model) on the held-out rows before and after, nats a scored token.
        evaluations: how often the loss and its gradient were computed.
        settled: whether the held-out KL had stopped falling; False: the fit was cut off.
    """

    what: Text
    rows: Count
    held: Count
    start: Number
    reached: Number
    evaluations: Count
    settled: bool


class OnReference(Block):
    """What was taken from the reference."""

    statistics: ReferenceShare | None
    fits: tuple[Fit, ...]


class Check(Block):
    """A known way in which a recovered share misleads.

    Attributes:
        evidence: a sentence with the numbers; threshold: when it fires.
    """

    name: Text
    state: CheckState
    evidence: Text
    threshold: Text


class Tries(Block):
    """Which of how many claims on this split, and p over all of them; `without_p` tries count as p = 1."""

    tried: Count
    this: Count
    p: Number | None = None
    p_holm: Number | None = None
    without_p: Count = 0


class Versions(Block):
    """What the last digits of the numbers depend on."""

    python: Text
    torch: Text
    transformers: Text
    numpy: Text
    threads: Count
    device: Text
    precision: Text
    micro_batch: Count
    platform: Text


STOPPED = "the run was stopped before it, or still goes on"
PASSES, WORK = 40, 1e12  # the budget where none is given: passes, or the operations of a small model's many passes
CONTINUED = " (continued)"  # after the name of a stage of a run that was gone on with


class StageRecord(Block):
    """A stage of a measurement.

    Attributes:
        passes: of the model over all scored rows, as many as what was run is worth.
    """

    name: Text
    passes: Number


class BudgetRecord(Block):
    """What a measurement cost, and was allowed to.

    Attributes:
        passes: what it was allowed; None: as much as it took. stages: what was run, in order.
        wanting: block -> why it was not measured, for those that did not fit, and `STOPPED` for those that the run had
            not come to when the record was written; `assay measure --continue` goes on there.
    """

    passes: Number | None = None
    stages: tuple[StageRecord, ...] = ()
    wanting: dict[Text, Text] = Field(default_factory=dict)

    @property
    def ahead(self) -> list[str]:
        """Blocks that the run had not come to."""
        return [block for block, why in self.wanting.items() if why == STOPPED]

    @property
    def too_dear(self) -> list[str]:
        """Blocks that there was no budget for."""
        return [block for block, why in self.wanting.items() if why != STOPPED]


class Timing(Block):
    """The one block that differs between two runs of one command. `search_seconds` precede a search's scoring."""

    started: Text
    seconds: Number
    search_seconds: Number | None = None
    forwards: Count
