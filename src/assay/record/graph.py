"""Parts of a model and which of them reads which: sizes and a drawing, whoever draws them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from assay.record.base import Block, Count, Number, Text
from assay.stats.estimate import Estimate

SCORES = "An edge's score is what the search gave it, not an estimate, so it has no interval."
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
    """What a picture of edges needs: the strongest first.

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


class Graph(Block):
    """Nodes and edges of the model, drawn.

    Attributes:
        total: edges of the model; edges: how many are meant.
        pairs: how many (edge, position) these are, where they are chosen at some.
        live: how many edges are on a path from input to logits; nodes: how many these touch.
        strength: what an edge's strength is called; note: what there is to say of it.
        strengths: by names of edges, where they are estimates.
    """

    piece: Literal["graph"] = "graph"
    total: Count
    edges: Count
    pairs: Count | None = None
    live: Count
    nodes: Count
    strength: Text
    note: Text
    strengths: dict[Text, Estimate] = Field(default_factory=dict)
    drawing: Drawing
