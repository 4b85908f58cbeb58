"""The heat map of exact patching: what every component does at every position, where positions correspond."""

from __future__ import annotations

import numpy as np

from assay.frontier.curves import not_below_zero
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.sweep.sweep import Sweep, sweep
from assay.record.pieces import HeatMap
from assay.stats.estimate import Estimate

COLUMNS = 160  # positions of a heat map at most
ROWS = 16  # rows that it is a mean over


def heat(workbench: PlanContext, ablation: str) -> tuple[HeatMap | None, str | None]:
    """The record's block, or None with the reason why there is none."""
    reason, task = _unaligned(workbench), workbench.task
    if reason is not None:
        return None, reason
    lengths, count = np.unique(task.last, return_counts=True)  # of one length, so that positions correspond
    alike = np.flatnonzero(task.last == lengths[count.argmax()])
    found = sweep(workbench, ablation, rows=alike[:ROWS]).by_document()
    cells = _cells(workbench, found)
    values, low, high = (
        tuple(tuple(getattr(cell, end) for cell in row) for row in cells) for end in ("value", "low", "high")
    )
    shown = HeatMap(
        rows=tuple(found.components),
        columns=tuple(str(column) for column in found.positions),
        values=values,
        low=low,
        high=high,
        documents=len(found.document),
        unit=f"KL from the model, nats a token, when the part alone takes its {ablation} fill there",
    )
    return shown, None


def _cells(workbench: PlanContext, found: Sweep) -> list[list[Estimate]]:
    """KL of every component at every position, nats a token, with its interval over documents."""
    mean = workbench.task.resamples(found.document, workbench.seed, found.count).mean
    return [[not_below_zero(mean(np.maximum(sums, 0), found.count)) for sums in row] for row in found.kl]


def _unaligned(workbench: PlanContext) -> str | None:
    """Why a mean over rows at a position would mean nothing here."""
    width = workbench.task.tokens.shape[1]
    if width > COLUMNS:
        return f"rows of {width} positions are too wide for a heat map of at most {COLUMNS}"
    if not workbench.task.aligned:
        return "positions of running text have nothing in common from row to row"
    return None
