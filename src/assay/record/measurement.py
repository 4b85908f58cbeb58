"""The record of a measurement, as `measurement.json` holds it: what a reader needs to reproduce and to judge it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from assay.record.about import (
    Arguments,
    Assay,
    BudgetRecord,
    Check,
    ClaimRecord,
    Level,
    ModelRecord,
    OnReference,
    TaskRecord,
    Timing,
    Tries,
    Versions,
)
from assay.record.base import SCHEMA, Block, Number, Text
from assay.record.compute import Compute, Length
from assay.record.controls import Controls, RivalRecord
from assay.record.headline import Agreement, Headline, Losses, PartsTable, TableRow, TargetRecord
from assay.record.interchange import Interchange
from assay.record.pieces import Pieces
from assay.record.residual import Residual
from assay.record.strength import Strengths
from assay.stats.estimate import Estimate


class MeasurementRecord(Block):
    """A measurement.

    Attributes:
        reference: what was taken from the reference; level_note: what its level means.
        agreement: of the explained run with the model, beside the loss; parts: each component alone.
        nines, recovered, recovered_loss: the headline's.
        own: what only this kind of explanation says.
        target: what KL is taken from and agreement is with; None: the model's own distribution.
        interchange: of a claim that names variables: whether swaps of them do what it says; it leads.
        strength: the explained run by how hard what the claim says nothing about is ablated; None: it says all.
        unmatched: the share of scored tokens about which the claim says nothing.
        budget: what was run, and what was not; sentence: the verdict; tries: which of how many on this split it is.
    """

    schema_: Literal[3] = Field(default=SCHEMA, alias="schema")
    assay: Assay
    claim: ClaimRecord
    arguments: Arguments
    model: ModelRecord
    task: TaskRecord
    reference: OnReference = OnReference(statistics=None, fits=())
    level: Level
    level_note: Text
    headline: Headline
    recovered: Estimate
    recovered_loss: Estimate
    losses: Losses
    table: tuple[TableRow, ...]
    agreement: Agreement
    nines: Estimate
    compute: Compute
    parts: PartsTable
    bits: Length
    own: Pieces | None
    target: TargetRecord | None = None
    interchange: Interchange | None = None
    strength: Strengths | None = None
    controls: Controls
    rivals: tuple[RivalRecord, ...]
    rivals_reason: Text | None
    checks: tuple[Check, ...]
    residual: Residual
    unmatched: Number | None
    sentence: Text
    tries: Tries | None
    versions: Versions
    budget: BudgetRecord = BudgetRecord()
    timing: Timing

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.sentence!r}>"

    __str__ = __repr__

    @property
    def removal(self) -> bool:
        """Whether the claim says what is lost without its parts: it has necessity in place of a recovered share."""
        return self.headline.necessity is not None

    @property
    def headline_row(self) -> TableRow | None:
        return next((row for row in self.table if row.headline), None)

    @property
    def fired(self) -> list[str]:
        """The names of checks that fired."""
        return [check.name for check in self.checks if check.state == "fired"]
