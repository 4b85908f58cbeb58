"""What a kind of explanation may say that no other does: pieces that the report draws without knowing the kind."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from assay.record.base import Block, Count, Number, Text
from assay.record.graph import Graph
from assay.record.residual import Token
from assay.stats.estimate import Estimate


class Sentence(Block):
    piece: Literal["sentence"] = "sentence"
    text: Text


class TablePiece(Block):
    """Rows of texts and figures under a title; `text`: what there is to say of them."""

    piece: Literal["table"] = "table"
    title: Text
    text: Text | None = None
    columns: tuple[Text, ...]
    rows: tuple[tuple[Estimate | Number | Text | None, ...], ...]


class Series(Block):
    """Figures against a number: a line a name."""

    piece: Literal["series"] = "series"
    title: Text
    x: Text
    y: Text
    lines: dict[Text, tuple[tuple[Number, Estimate], ...]]


class HeatMap(Block):
    """A row a part, a column a position.

    Attributes:
        values: a list a row; None: not measured. low, high: ends of their intervals.
        documents: how many the values are means over; unit: a value's, in words.
    """

    piece: Literal["heat map"] = "heat map"
    rows: tuple[Text, ...]
    columns: tuple[Text, ...]
    values: tuple[tuple[Number | None, ...], ...]
    low: tuple[tuple[Number | None, ...], ...] | None = None
    high: tuple[tuple[Number | None, ...], ...] | None = None
    documents: Count | None = None
    unit: Text

    @model_validator(mode="after")
    def _fits(self) -> HeatMap:
        for name in ("values", "low", "high"):
            cells = getattr(self, name)
            if cells is not None and [len(row) for row in cells] != [len(self.columns)] * len(self.rows):
                raise ValueError(f"its {name} are not {len(self.rows)} rows of {len(self.columns)} columns")
        return self


class TokenStrip(Block):
    """A run of tokens, coloured by the gap in loss."""

    piece: Literal["tokens"] = "tokens"
    title: Text
    tokens: tuple[Token, ...]


Piece = Annotated[Sentence | TablePiece | Series | HeatMap | TokenStrip | Graph, Field(discriminator="piece")]


class Pieces(Block):
    """The block of a kind, under its name.

    Attributes:
        title: of its section on the page; terms: words that it uses, each with what it means.
        notes: what a reader must know of how the claim was read.
    """

    block: Text
    title: Text = "What only this claim says"
    pieces: tuple[Piece, ...]
    notes: tuple[Text, ...] = ()
    terms: dict[Text, Text] = Field(default_factory=dict)

    @property
    def graph(self) -> Graph | None:
        """The first one."""
        return next((piece for piece in self.pieces if isinstance(piece, Graph)), None)
