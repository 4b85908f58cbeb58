"""The record of a search for places that carry a variable, as `places.json` holds it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from assay.record.about import Arguments, Assay, DataRecord, ModelRecord, TaskRecord, Timing, Versions
from assay.record.base import SCHEMA, Block, Count, Number, Text
from assay.stats.estimate import Estimate


class ShiftedBy(Block):
    """A place; shift: nats by which a swap of it alone moves the answer towards the hypothesis's, on the selection."""

    name: Text
    shift: Estimate


class Swapped(Block):
    """Places swapped at once: shift, nats; and the share of answers that become the hypothesis's, the rest left and the
    rest resampled."""

    shift: Estimate
    left: Estimate
    resampled: Estimate


class PlacesPoint(Block):
    """The best places together, on the data that were searched, and on others."""

    places: tuple[Text, ...]
    selection: Swapped
    evaluation: Swapped


class RivalsCounted(Block):
    """Other alignments of the same graph, on the evaluation.

    Attributes:
        n: how many; within: of them, how many have a share within the claim's interval or above; share: with its
            interval (Clopper and Pearson). best: the greatest of their shares; reason: why there are none.
    """

    n: Count
    within: Count = 0
    share: Estimate
    best: Estimate | None = None
    reason: Text | None = None


class PlacesRecord(Block):
    """A search for places.

    Attributes:
        variable: what they carry; agreeing: variables on which the source of a swap agrees with its base.
        changed: the share of swaps in which the answer should change, on selection and evaluation.
        candidates: all, the best first; points: the best together, for growing numbers; chosen: the point that is
            written, by the selection alone.
    """

    schema_: Literal[3] = Field(default=SCHEMA, alias="schema")
    kind: Literal["places"] = "places"
    assay: Assay
    arguments: Arguments
    model: ModelRecord
    task: TaskRecord
    selection: DataRecord
    evaluation: DataRecord
    variable: Text
    agreeing: tuple[Text, ...]
    changed: tuple[Number, Number]
    candidates: tuple[ShiftedBy, ...]
    points: tuple[PlacesPoint, ...]
    chosen: Count
    rivals: RivalsCounted
    timing: Timing
    versions: Versions
