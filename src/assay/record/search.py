"""The record of a search for circuits, as `frontier.json` holds it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from assay.record.about import Arguments, Assay, CheckState, DataRecord, ModelRecord, TaskRecord, Timing, Versions
from assay.record.base import SCHEMA, Block, Count, Json, Number, Text
from assay.record.graph import Drawing
from assay.record.pieces import HeatMap
from assay.stats.estimate import Estimate


class SearchLosses(Block):
    """Nats a token of the model and of the run with every edge cut; the KL of the latter."""

    model: Estimate
    empty: Estimate
    empty_kl: Estimate


class Leak(Block):
    """Whether the data that was searched on is scored again, by whole documents and by 13-grams."""

    state: CheckState
    documents: Count
    shared: Count
    total: Count
    evidence: Text


class Band(Block):
    """What random circuits of about a circuit's size and layers recover: quantiles of 5, 50 and 95 %, and the best.

    Attributes:
        n: how many; mine, own: the circuit's own on their rows and draws, and with its interval; p: its rank.
    """

    n: Count
    median: Number
    low: Number
    high: Number
    best: Number
    mine: Number
    own: Estimate
    p: Number


class Point(Block):
    """A circuit of a frontier.

    Attributes:
        asked: the size that was asked for; edges: the realised one.
        taken: how many of the best edges it was pruned from.
        recovered: R_D; recovered_loss: R_L; gap: |1 − R_L|; kl: nats a token; accuracy: share of correct answers.
        control: the band of this size; None without controls, and for the whole model.
    """

    asked: Count
    edges: Count
    taken: Count
    share: Number
    nodes: Count
    recovered: Estimate
    recovered_loss: Estimate
    gap: Estimate
    kl: Estimate
    accuracy: Estimate
    control: Band | None


class Area(Block):
    """Under R_D over the share of edges, and over the logarithm of their number."""

    linear: Estimate
    log: Estimate


class Mib(Block):
    """CPR and CMD (Mueller et al. 2025) over our sizes; at which circuits do better than the model."""

    cpr: Estimate
    cmd: Estimate
    over_recovery: bool
    over_recovery_at: tuple[Count, ...]


class MethodRecord(Block):
    """A method's circuits, smallest first; `passes`: what its search cost, in forward passes of a row."""

    method: Text
    settings: Json
    passes: Number
    sizes: tuple[Point, ...]
    area: Area
    mib: Mib


class RocPoint(Block):
    """How many edges are taken, and the shares of the right ones and of the others among them."""

    size: Count
    true: Number
    false: Number


class MethodRoc(Block):
    """A method's ROC curve, the area under it, and how many of its best edges are right, of as many as are right."""

    method: Text
    area: Estimate
    points: tuple[RocPoint, ...]
    found: Count


class RocRecord(Block):
    """Each method against the edges that are right of a world; None with a `reason` where these are not known."""

    right: Count | None
    others: Count | None
    neutral: Count | None
    reason: Text | None
    methods: tuple[MethodRoc, ...]


class Reach(Block):
    """What the circuit that is written should recover on the data that it was searched on.

    Attributes:
        share: what was asked for; found: what the circuit recovers there.
        metric: the task's own metric, of which this is a share; None: it is R_D.
        reached: whether one of the sizes does, short of the whole model; the circuit is the smallest of them, or else
            the one that recovers most.
    """

    share: Number
    found: Number
    metric: Text | None
    reached: bool


class Chosen(Block):
    """The circuit that is written, and the method that found it.

    Attributes:
        reach: what its size was chosen by; None where a size was given.
    """

    method: Text
    edges: Count
    nodes: Count
    drawing: Drawing
    reach: Reach | None = None


class SearchRecord(Block):
    """A search.

    Attributes:
        total: edges of the model.
        selection, evaluation: what was searched and what was scored on.
        heat: patching's map; roc: each method's, where the right edges are known; definitions: the areas in words.
    """

    schema_: Literal[3] = Field(default=SCHEMA, alias="schema")
    kind: Literal["frontier"] = "frontier"
    assay: Assay
    arguments: Arguments
    model: ModelRecord
    task: TaskRecord
    ablation: Text
    total: Count
    losses: SearchLosses
    selection: DataRecord
    evaluation: DataRecord
    leak: Leak
    methods: tuple[MethodRecord, ...]
    heat: HeatMap | None
    roc: RocRecord | None = None
    circuit: Chosen
    definitions: dict[Text, Text]
    notes: tuple[Text, ...]
    versions: Versions
    timing: Timing

    @property
    def chosen_method(self) -> MethodRecord | None:
        return next((one for one in self.methods if one.method == self.circuit.method), None)

    @property
    def chosen_point(self) -> Point | None:
        """The size of the frontier that the circuit that was written has; None where it was not scored."""
        method = self.chosen_method
        return next((p for p in method.sizes if p.edges == self.circuit.edges), None) if method else None
