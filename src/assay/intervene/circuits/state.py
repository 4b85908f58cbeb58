"""A circuit's run on some rows, and what variants of it gave: what one change after another is computed from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from assay.intervene.circuits.rows import ItemPlaces
from assay.model.edges import Edges

Masks = Bool[np.ndarray, "variants edges *pos"] | Float[Tensor, "variants edges *pos"]


@dataclass(eq=False)
class CircuitState:
    """A run of some rows with everything that a change to it needs.

    Attributes:
        matrix: [readers, writers] (or [..., pos]) which edges carry the writer's own value.
        q, k, v: per layer [heads or groups, rows, pos, d_head], as attention uses them (after norms and RoPE).
        delta: [writers, rows, pos, d_model] what each writes here less its fill.
        zero: [writers] where that is exactly 0; stale: [writers] where q, k, v and delta were not computed, as nothing
            that leads to the logits reads them; narrow: [writers] where q and delta hold at the scored items alone.
    """

    matrix: np.ndarray
    q: list[Tensor]
    k: list[Tensor]
    v: list[Tensor]
    delta: Tensor
    zero: Bool[np.ndarray, "writers"]
    stale: Bool[np.ndarray, "writers"]
    narrow: Bool[np.ndarray, "writers"]


@dataclass(frozen=True, eq=False)
class Written:
    """Differences from their fill of writers that were computed.

    Attributes:
        delta: [variants, some, rows, pos, d_model], or [variants, some, items, d_model] where they are narrow.
    """

    writers: np.ndarray
    delta: Tensor
    narrow: bool


@dataclass(eq=False)
class Variants:
    """What variants of a state gave.

    Attributes:
        logits: [variants, items, vocab].
        parts: (layer, part, narrow) -> (heads or groups, [some, variants, rows, pos, d_head]), those that were
            recomputed; narrow: with the scored items of a row in place of its positions.
        stale, narrow: of the states that they are.
    """

    matrix: np.ndarray
    logits: Tensor
    parts: dict[tuple[int, str, bool], tuple[np.ndarray, Tensor]]
    written: list[Written]
    stale: np.ndarray
    narrow: np.ndarray
    items: ItemPlaces

    def into(self, state: CircuitState, variant: int) -> None:
        """Makes the state this variant, in place; a batch's known run is then no longer what its name says."""
        state.matrix = self.matrix[variant].copy()
        for (layer, part, narrow), (index, values) in self.parts.items():
            self._put(getattr(state, part)[layer], index, values[:, variant], narrow)
        for block in self.written:
            self._put(state.delta, block.writers, block.delta[variant], block.narrow)
            state.zero[block.writers] = False
        state.stale, state.narrow = self.stale.copy(), self.narrow.copy()

    def _put(self, target: Tensor, index: np.ndarray, values: Tensor, narrow: bool) -> None:
        """Values [some, rows, pos, ...] into places of the target, or those of the items alone."""
        places = torch.from_numpy(index)
        if narrow:
            target[places[:, None], *self.items] = values.reshape(len(index), -1, values.shape[-1])
        else:
            target[places] = values


def as_matrix(edges: Edges, masks: Masks) -> np.ndarray | Tensor:
    """Masks over edges as [variants, readers, writers] (and positions)."""
    if isinstance(masks, Tensor):
        reader, writer = edges.ends(np.arange(len(edges)))
        size = (len(masks), len(edges.readers), len(edges.writers), *masks.shape[2:])
        out = torch.zeros(size, dtype=masks.dtype, device=masks.device)
        at = torch.from_numpy(reader).to(masks.device), torch.from_numpy(writer).to(masks.device)
        return out.index_put((torch.arange(len(masks), device=masks.device)[:, None], *at), masks)
    if masks.ndim == 2:
        return edges.matrix(masks)
    return np.moveaxis(edges.matrix(np.moveaxis(masks, 1, -1)), 1, -1)
