"""What a measurement gives: the record, the per-token table, and named access to the figures in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from assay.errors import RunError, UserError
from assay.log import log
from assay.record.about import Check
from assay.record.compute import Compute, Length
from assay.record.controls import Controls, RivalRecord
from assay.record.headline import Losses, TableRow
from assay.record.measurement import MeasurementRecord
from assay.record.read import read_run
from assay.record.residual import Residual
from assay.score.ids import SystemId
from assay.score.packed import packed, unpacked
from assay.score.scores import Scored
from assay.stats.estimate import Estimate
from assay.store import runs

if TYPE_CHECKING:
    from altair import LayerChart
    from pandas import DataFrame  # pyright: ignore[reportMissingImports]


@dataclass(frozen=True, eq=False)
class Measurement:
    """The result of `assay.measure`. In a notebook it shows itself as a card with two charts.

    Attributes:
        record: everything, as `measurement.json` holds it.
        examples: one row a scored token, as `examples.parquet` holds it.
        claim: the claim file's text, where there was one.
        scored: the headline's scores, which `continued` goes on from; None where nothing was left to be measured.
    """

    record: MeasurementRecord
    examples: pa.Table
    claim: str | None = field(default=None, repr=False)
    scored: Scored[SystemId] | None = field(default=None, repr=False)

    @property
    def recovered(self) -> Estimate:
        """R_D over the headline floor, under the headline's ablation: the one with the lowest R_D."""
        return self.record.recovered

    @property
    def recovered_loss(self) -> Estimate:
        """R_L over the same floor."""
        return self.record.recovered_loss

    @property
    def kl(self) -> Estimate:
        """KL(model || explained run) under the headline's ablation, nats a scored token; of a removal what it costs."""
        row = self.record.headline_row
        return Estimate.undefined("the record has no headline row") if row is None else row.kl_explained

    @property
    def necessity(self) -> Estimate:
        """Of a removal: the loss that it costs, as a share of what separates the bigram from the model."""
        found = self.record.headline.necessity
        why = f"a {self.record.claim.kind} claim has a recovered share, and no necessity"
        return Estimate.undefined(why) if found is None else found

    @property
    def interchange(self) -> Estimate:
        """Of a claim that names variables: interchange accuracy with the rest perturbed, of the worst one."""
        found = self.record.interchange
        why = f"a {self.record.claim.kind} claim names no variables whose values could be swapped"
        return Estimate.undefined(why) if found is None else found.accuracy

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
        from assay.report.charts import graph
        from assay.report.page.page import render

        drawn = graph.save(self.record)
        more: dict[str, str | bytes] = {} if drawn is None else {"circuit.svg": drawn}
        page = render(self.record, self.examples)
        written = self._write(folder, overwrite, page, more)
        log.info("the run is written to %s", written)
        return written

    def save_unfinished(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """As `save`, but for what `assay report` draws anew: the page and the circuit."""
        return self._write(folder, overwrite, None, {})

    def _write(self, folder: str | Path, overwrite: bool, page: str | None, extra: Mapping[str, str | bytes]) -> Path:
        claim = {} if self.claim is None else {runs.CLAIM: self.claim}
        scores = {} if self.scored is None else {runs.SCORES: packed(self.scored)}
        every = {**claim, **scores, **extra}
        return runs.write_run(folder, self.record, self.examples, page, overwrite=overwrite, extra=every)

    def to_arrow(self) -> pa.Table:
        """The per-token table: losses and KL of every scored token, with its document and position."""
        return self.examples

    def to_pandas(self) -> DataFrame:
        """The per-token table as a `pandas.DataFrame`.

        Raises:
            UserError: where pandas is not installed.
        """
        try:
            import pandas  # noqa: F401  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise UserError("to_pandas needs pandas: pip install pandas; to_arrow gives the same table") from None
        return self.examples.to_pandas()

    def plot(self, name: str | None = None) -> LayerChart:
        """One of the report's pictures, as an altair chart, which a notebook shows.

        Args:
            name: recovered, controls, parts, slices, scaling or length; None: the first that this run has figures for.

        Raises:
            UserError: for a picture that there is not, or that this run has no figures for.
        """
        from assay.report import notebook
        from assay.report.charts import charts

        return charts.picture(self.record, name or next(iter(notebook.pictures(self.record)), "recovered"))

    def _repr_html_(self) -> str:
        from assay.report.notebook import card

        return card(self.record)

    def _repr_markdown_(self) -> str:
        from assay.report.cells import as_markdown

        return as_markdown(self.record)

    def __repr__(self) -> str:
        from assay.report.words import claim_line, said

        figure = f"KL {said(self.kl, 3)}" if self.record.removal else f"recovered {said(self.recovered)}"
        return f"<Measurement: {claim_line(self.record)}: {figure}>"

    def __str__(self) -> str:
        return self.record.sentence


def load_run(folder: str | Path) -> Measurement:
    """The measurement that a run folder holds: what `assay.measure` returned, or `assay measure` wrote.

    Args:
        folder: the run folder, or a file in it.

    Raises:
        RunError: when there is no such run, or it is not as assay writes it; for a search for circuits.
    """
    if runs.kind_of(folder) is runs.SEARCH:
        raise RunError(
            f"{str(folder)!r} is a search for circuits; `assay report` prints it, and the claim.yaml in it is measured"
        )
    record, examples = read_run(folder)
    scores = runs.read_scores(folder)
    return Measurement(record, examples, runs.read_claim(folder), None if scores is None else unpacked(scores))
