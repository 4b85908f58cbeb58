"""What a measurement gives: the record, the per-token table, and named access to the figures in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from assay.record.about import Check
from assay.record.compute import Compute, Length
from assay.record.controls import Controls, RivalRecord
from assay.record.headline import Losses, TableRow
from assay.record.measurement import MeasurementRecord
from assay.record.residual import Residual
from assay.stats.estimate import Estimate


@dataclass(frozen=True, eq=False)
class Measurement:
    """The result of `assay.measure`.

    Attributes:
        record: everything, as `measurement.json` holds it.
        examples: one row a scored token, as `examples.parquet` holds it.
        claim: the claim file's text, where there was one.
    """

    record: MeasurementRecord
    examples: pa.Table
    claim: str | None = field(default=None, repr=False)

    @property
    def recovered(self) -> Estimate:
        """R_D over the headline floor, under the headline's ablation: the one with the lowest R_D."""
        return self.record.recovered

    @property
    def recovered_loss(self) -> Estimate:
        """R_L over the same floor."""
        return self.record.recovered_loss

    @property
    def losses(self) -> Losses:
        return self.record.losses

    @property
    def nines(self) -> Estimate:
        """Nines over the headline floor; certified are those at the interval's lower end."""
        return self.record.nines

    @property
    def table(self) -> tuple[TableRow, ...]:
        """Every floor x ablation."""
        return self.record.table

    @property
    def compute(self) -> Compute:
        return self.record.compute

    @property
    def bits(self) -> Length:
        return self.record.bits

    @property
    def level(self) -> str:
        return self.record.level

    @property
    def controls(self) -> Controls:
        return self.record.controls

    @property
    def rivals(self) -> tuple[RivalRecord, ...]:
        return self.record.rivals

    @property
    def checks(self) -> tuple[Check, ...]:
        return self.record.checks

    @property
    def residual(self) -> Residual:
        return self.record.residual

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Writes measurement.json, examples.parquet, report.html (and claim.yaml, circuit.svg); all or nothing.

        Raises:
            RunError: when the folder exists (without `overwrite`) or cannot be written.
        """
        from assay.report import circuit
        from assay.report.page import render
        from assay.store.runs import write_run

        extra = {} if self.claim is None else {"claim.yaml": self.claim}
        drawn = circuit.save(self.record)
        extra |= {} if drawn is None else {"circuit.svg": drawn}
        page = render(self.record, self.examples)
        return write_run(folder, self.record, self.examples, page, overwrite=overwrite, extra=extra)

    def to_arrow(self) -> pa.Table:
        """The per-token table."""
        return self.examples

    def plot(self, name: str = "recovered") -> Any:
        """One of the report's pictures, as an altair chart: recovered, parts, controls, scaling, length or slices.

        Raises:
            UserError: for a picture that there is not, or that this run has no figures for.
        """
        from assay.report.charts import picture

        return picture(self.record, name)

    def _repr_html_(self) -> str:
        from html import escape

        from assay.report.terminal import as_markdown

        return f"<pre>{escape(as_markdown(self.record))}</pre>"

    def __str__(self) -> str:
        return self.record.sentence
