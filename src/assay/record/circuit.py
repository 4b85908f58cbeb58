"""A circuit: its size and drawing, what it and its complement recover, and what each of its parts is for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from assay.record.base import Block, Count, Number, Text
from assay.stats.estimate import Estimate

MOST = 1_000  # layers, and heads in one, that are drawn


class EdgeRecord(Block):
    """An edge; `part`: what of a head reads it; `strength`: its score, or by how much KL rises without it."""

    writer: Text
    reader: Text
    part: Literal["q", "k", "v"] | None
    strength: Number | None

    @property
    def name(self) -> str:
        return f"{self.writer}->{self.reader}" + (f"<{self.part}>" if self.part else "")


class Drawing(Block):
    """What a picture of a circuit needs: its live edges, the strongest first.

    Attributes:
        mlps: which layers have one; left_out: weaker edges that are not listed.
    """

    layers: Annotated[int, Field(ge=0, le=MOST)]
    heads: Annotated[int, Field(ge=0, le=MOST)]
    kv_heads: Count
    mlps: tuple[bool, ...]
    edges: tuple[EdgeRecord, ...]
    left_out: Count

    @model_validator(mode="after")
    def _fits(self) -> Drawing:
        if len(self.mlps) != self.layers:
            raise ValueError(f"a drawing of {self.layers} layers says of {len(self.mlps)} whether they have an MLP")
        return self


class KnockedOut(Block):
    """KL(model less these nodes || circuit less them), and their difference in loss."""

    knocked: Count
    names: tuple[Text, ...]
    kl: Estimate
    loss_gap: Estimate


class Completeness(Block):
    """Random shares of the circuit's nodes knocked out of it and of the model alike; `reason`: why none were."""

    n: Count
    share: Number
    of: Text
    rows: tuple[KnockedOut, ...] = ()
    median: Number | None = None
    worst: Number | None = None
    reason: Text | None = None


class Rise(Block):
    """By how much KL(model || circuit) rises when this part alone is left out."""

    part: Text
    increase: Estimate


class Minimality(Block):
    """Parts left out one at a time, the largest rise first; `parts`: edges or nodes, `tried` of so many."""

    parts: Literal["edges", "nodes"]
    rows: tuple[Rise, ...]
    tried: Count
    of: Count


class RunScores(Block):
    """KL, loss, R_D, and nats over the model's loss."""

    kl: Estimate
    loss: Estimate
    recovered: Estimate
    nats: Estimate | None = None


class CircuitRecord(Block):
    """What only a circuit claim says.

    Attributes:
        total: edges of the model; edges: the circuit's.
        pairs: how many (edge, position) it has, where it is chosen at some.
        live: how many edges are on a path from input to logits; nodes: how many these touch.
        sufficiency, necessity: the circuit alone, and everything but the circuit.
    """

    block: Literal["circuit"] = "circuit"
    total: Count
    edges: Count
    pairs: Count | None
    live: Count
    nodes: Count
    positions: bool
    ablation: Text
    completeness: Completeness
    minimality: Minimality
    trial_rows: Count
    drawing: Drawing
    notes: tuple[Text, ...]
    sufficiency: RunScores | None = None
    necessity: RunScores | None = None
