"""Rows that circuits are run on: their scored items, and what fills write there."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.model.transformer import Model

ItemPlaces = tuple[Tensor, Tensor]  # rows and columns of scored items


class ScoredItems:
    """Scored items of a batch of rows.

    Attributes:
        where: row within the batch, and position that predicts, of each.
    """

    def __init__(self, where: ItemPlaces, tokens: Int[Tensor, "rows pos"]):
        self.where, self.tokens = where, tokens

    def __len__(self) -> int:
        return len(self.where[0])

    @cached_property
    def few(self) -> int:
        """How many each row has, where all have as many and most positions none (else 0): they may be run alone."""
        (rows, positions), row = self.tokens.shape, self.where[0]
        count = len(row) // rows
        even = torch.equal(row, torch.arange(rows).repeat_interleave(count))
        return count if even and 2 * count <= positions else 0

    @property
    def columns(self) -> Int[Tensor, "rows few"]:
        """Positions of the few items of each row."""
        return self.where[1].view(-1, self.few)

    @cached_property
    def seen(self) -> Bool[Tensor, "rows few pos"] | Literal["all"]:
        """Which positions each of the few items of a row sees."""
        positions, last = self.tokens.shape[1], self.columns.unsqueeze(-1)
        if bool((last == positions - 1).all()):
            return "all"
        return (torch.arange(positions) <= last).to(self.tokens.device)

    def by_row(self, x: Float[Tensor, "*some items d"]) -> Float[Tensor, "*some rows few d"]:
        """Values of the few items, row by row."""
        return x.unflatten(-2, (len(self.tokens), self.few))


class Fills:
    """What every writer writes under a fill, and the streams that are made of it alone.

    Attributes:
        input: [rows, pos, d_model]; z: by layer [heads, rows, pos, d_head]; mlp: by layer [rows, pos, d_model] or None.
        streams: the stream, by how many writers it sums.
    """

    def __init__(self, model: Model, values: list[Tensor]):
        """`values` holds those of every writer, in their order."""
        self.input, self.streams = values[0], {}
        self.z: list[Float[Tensor, "heads rows pos d_head"]] = []
        self.mlp: list[Float[Tensor, "rows pos d_model"] | None] = []
        stream, place = values[0], 1
        for layer in model.weights.layers:
            self.streams[place] = stream
            z = torch.stack(values[place : place + layer.heads])
            self.z.append(z)
            place += layer.heads
            stream = stream + layer.out(z.permute(1, 2, 0, 3).flatten(2))
            self.mlp.append(None)
            if layer.has_mlp:
                self.streams[place] = stream
                self.mlp[-1] = values[place]
                stream = stream + values[place]
                place += 1
        self.streams[place] = stream
