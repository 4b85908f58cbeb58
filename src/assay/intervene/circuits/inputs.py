"""What readers read in variants of a circuit: fills, plus the differences from them that live edges carry."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from assay.intervene.circuits.rows import Fills, ScoredItems
from assay.intervene.circuits.schedule import Schedule
from assay.intervene.circuits.state import CircuitState, Written
from assay.model.edges import Edges

At = tuple[Tensor, Tensor] | None
DENSE = 6  # a sum over edges one by one takes about as long as a product of matrices with one live edge in so many


class ReaderInputs:
    """Inputs of readers, in the order in which writers are computed.

    Args:
        weights: [variants, readers, writers] (and positions) how much of its writer's value an edge carries.
        hard: the same as numbers 0 and 1, where positions do not differ and nothing asks for gradients: then live edges
            alone are summed, and equal inputs once.
    """

    def __init__(
        self,
        edges: Edges,
        fills: Fills,
        items: ScoredItems,
        base: CircuitState,
        weights: Tensor,
        plan: Schedule,
        hard: np.ndarray | None = None,
    ):
        self.edges, self.fills, self.items = edges, fills, items
        self.base, self.weights, self.plan, self.hard = base, weights, plan, hard
        self.variants = len(weights)
        self.known = plan.known  # writers whose difference is the base's, and not zero
        self.written = np.zeros(0, dtype=int)  # writers that were computed for each variant
        self.at_items = np.zeros(0, dtype=int)  # those that were computed at the scored items alone
        self._blocks: list[Tensor] = []
        self._buffer: Tensor | None = None  # [some, variants, rows, pos, d_model]
        self._narrow: Tensor | None = None  # [some, variants, rows, items of each, d_model]
        self._positions = weights.ndim == 4
        self._last: tuple[bytes, Tensor] | None = None

    def room(self, count: int, narrow: bool = False) -> Float[Tensor, "some variants rows pos d_model"] | None:
        """Where the differences of the next so many writers may be put, to be given to `add`."""
        if torch.is_grad_enabled():
            return None
        fill = self.fills.input
        if narrow:
            if self._narrow is None:
                size = (int(self.plan.at_items.sum()), self.variants, len(fill), self.items.few, fill.shape[-1])
                self._narrow = fill.new_empty(size)
            start = len(self.at_items)
            return self._narrow[start : start + count]
        if self._buffer is None:
            self._buffer = fill.new_empty(self.plan.count, self.variants, *fill.shape)
        start = len(self.written)
        return self._buffer[start : start + count]

    def add(
        self, writers: np.ndarray, delta: Float[Tensor, "some variants rows pos d_model"], narrow: bool = False
    ) -> None:
        """Differences of writers that were computed."""
        room = self.room(len(writers), narrow)
        if narrow:
            self.at_items = np.concatenate([self.at_items, writers])
        else:
            self.written = np.concatenate([self.written, writers])
        if room is None:
            self._blocks.append(delta)
        elif room.data_ptr() != delta.data_ptr():
            room.copy_(delta)

    def own(self) -> Float[Tensor, "variants some rows pos d_model"] | None:
        if self._blocks:
            return torch.cat(self._blocks).transpose(0, 1)
        return None if self._buffer is None else self._buffer[: len(self.written)].transpose(0, 1)

    def blocks(self) -> list[Written]:
        """All that was computed."""
        own, out = self.own(), []
        if own is not None and len(self.written):
            out.append(Written(self.written, own, narrow=False))
        if self._narrow is not None:
            out.append(Written(self.at_items, self._narrow.flatten(2, 3).transpose(0, 1), narrow=True))
        return out

    def read(self, readers: np.ndarray, items: bool = False) -> Tensor:
        """[readers, variants, rows, pos, d_model]; with `items` [readers, variants, items, d_model].

        Where all readers read the same, the first axis has stride 0.
        """
        before = self.edges.readers[readers[0]].writers
        known = self.known[self.known < before]
        new = np.flatnonzero(self.written < before)  # what is computed later is not there yet
        at = self.items.where if items else None
        if self.hard is not None:
            live = self.hard[:, readers]
            if items and self.items.few:
                return self._at_items(live, before, known, new)
            return self._hard(live, before, known, new, at)
        fill = self.fills.streams[before]
        fill = fill if at is None else fill[at]
        out = fill.expand(len(readers), self.variants, *fill.shape)
        weights = self.weights[:, torch.from_numpy(readers)]
        if len(known):
            delta = self.base.delta[torch.from_numpy(known)]
            coefficients = weights[:, :, torch.from_numpy(known)]
            out = self._plus(out, coefficients, delta if at is None else delta[:, *at], at, shared=True)
        own = self.own()
        if len(new) and own is not None:
            coefficients = weights[:, :, torch.from_numpy(self.written[new])]
            delta = own[:, : len(new)]
            out = self._plus(out, coefficients, delta if at is None else delta[:, :, *at], at, shared=False)
        return out

    def _plus(self, out: Tensor, weights: Tensor, delta: Tensor, at: At, shared: bool) -> Tensor:
        """out [readers, variants, ...] + weights [variants, readers, some] times delta [(variants,) some, ...]."""
        if self._positions:
            if at is None:
                form = "vrwp,wbpd->rvbpd" if shared else "vrwp,vwbpd->rvbpd"
                return out + torch.einsum(form, weights, delta)
            form = "vrwi,wid->rvid" if shared else "vrwi,vwid->rvid"
            return out + torch.einsum(form, weights[..., at[1]], delta)
        if shared:
            return out + torch.matmul(weights.transpose(0, 1), delta.flatten(1)).view(out.shape)
        return out + torch.bmm(weights, delta.flatten(2)).transpose(0, 1).reshape(out.shape)

    def _hard(self, live: np.ndarray, before: int, known: np.ndarray, new: np.ndarray, at: At) -> Tensor:
        """`read`, by `live` [variants, readers, writers]."""
        shared, own = live[:, :, known], live[:, :, self.written[new]]
        used = shared.any((0, 1))
        known, shared = known[used], shared[:, :, used]
        used = own.any((0, 1))
        new, own = new[used], own[:, :, used]
        readers, key = live.shape[1], b""
        if readers > 1 and (shared == shared[:, :1]).all() and (own == own[:, :1]).all():
            shared, own = shared[:, :1], own[:, :1]
            key = b"".join(x.tobytes() for x in (np.array([before, len(known)]), known, new, shared, own))
            if self._last is not None and self._last[0] == key:  # queries, keys and values of a layer often do
                return self._last[1].expand(readers, *self._last[1].shape[1:])
        fill = self.fills.streams[before]
        out = (fill if at is None else fill[at])[None, None]
        if self.variants == 1 and at is None and _few(np.concatenate([shared, own], 2)):
            out = self._edge_by_edge(fill, shared[0], own[0], known, new)
            known, new = known[:0], new[:0]
        if len(known):
            if (shared == shared[:1]).all():
                shared = shared[:1]  # every variant reads the same of these
            out = self._summed(out, shared, self.base.delta.unsqueeze(1), known, at)
        if len(new):
            assert self._buffer is not None
            out = self._summed(out, own, self._buffer, new, at)
        out = out.expand(out.shape[0], self.variants, *out.shape[2:])
        if key:
            self._last = key, out
        return out.expand(readers, *out.shape[1:])

    def _at_items(self, live: np.ndarray, before: int, known: np.ndarray, new: np.ndarray) -> Tensor:
        """`read` of the few scored items, by `live` [variants, readers, writers]."""
        at, fill = self.items.where, self.fills.streams[before]
        start, variants, readers = fill[self.items.where], *live.shape[:2]
        out: Tensor = start
        parts = []  # (live, or its one row where all are alike; writers; values [variants or 1, some, items, d_model])
        used = live[:, :, known].any((0, 1))
        if used.any():
            places, alike = known[used], bool((live[:, :, known] == live[:1, :, known]).all())
            values = self.base.delta[torch.from_numpy(places)[:, None], *at]
            parts.append((live[:1] if alike else live, places, values.unsqueeze(0)))
        used = live[:, :, self.written[new]].any((0, 1))
        if used.any() and self._buffer is not None:
            row = torch.from_numpy(new[used])[:, None]
            parts.append((live, self.written[new[used]], self._buffer[row, :, *at].permute(2, 0, 1, 3)))
        near = np.flatnonzero(self.at_items < before)
        used = live[:, :, self.at_items[near]].any((0, 1))
        if used.any() and self._narrow is not None:
            values = self._narrow[torch.from_numpy(near[used])].flatten(2, 3).transpose(0, 1)
            parts.append((live, self.at_items[near[used]], values))
        for which, places, values in parts:
            numbers = torch.from_numpy(which[:, :, places]).to(start)
            if len(values) == 1:
                found = numbers.flatten(0, 1) @ values[0].flatten(1)
            else:
                found = torch.bmm(numbers, values.flatten(2)).flatten(0, 1)
            out = out + found.view(len(numbers), readers, *start.shape)
        return out.expand(variants, readers, *start.shape).transpose(0, 1)

    def _edge_by_edge(
        self, fill: Tensor, shared: np.ndarray, own: np.ndarray, known: np.ndarray, new: np.ndarray
    ) -> Tensor:
        """[readers, 1, rows, pos, d_model] of one variant, in one go over known and computed writers."""
        out = fill.new_empty(len(shared), 1, *fill.shape)
        for reader, target in enumerate(out[:, 0]):
            values = [self.base.delta[known[column]] for column in np.flatnonzero(shared[reader])]
            if own.size and self._buffer is not None:
                values += [self._buffer[new[column], 0] for column in np.flatnonzero(own[reader])]
            first = fill
            for value in values:
                torch.add(first, value, out=target)
                first = target
            if not values:
                target.copy_(fill)
        return out

    def _summed(self, start: Tensor, live: np.ndarray, delta: Tensor, places: np.ndarray, at: At) -> Tensor:
        """start [readers or 1, variants or 1, ...] plus what live [variants, readers, some] edges carry.

        Args:
            delta: [writers, variants or 1, rows, pos, d_model], of which `places` are meant.
        """
        variants, readers = live.shape[:2]
        row = torch.from_numpy(places)
        numbers = torch.from_numpy(live).to(start)
        edge_by_edge = at is None and _few(live)
        if variants > 1 and delta.shape[1] == 1 and not edge_by_edge:  # one product for all variants
            values = delta[row, 0] if at is None else delta[row[:, None], 0, *at]
            product = numbers.transpose(0, 1).flatten(0, 1) @ values.flatten(1)
            return product.view(readers, variants, *start.shape[2:]).add_(start)
        out = start.new_empty(readers, variants, *start.shape[2:])
        if edge_by_edge:
            for reader in range(readers):
                for variant in range(variants):
                    target = out[reader, variant]
                    first = start[min(reader, len(start) - 1), min(variant, start.shape[1] - 1)]
                    columns = np.flatnonzero(live[variant, reader])
                    for column in columns:
                        torch.add(first, delta[places[column], min(variant, delta.shape[1] - 1)], out=target)
                        first = target
                    if not len(columns):
                        target.copy_(first)
            return out
        flat = out.view(readers, variants, -1)
        start = start.expand(readers, start.shape[1], *start.shape[2:])
        for variant in range(variants):
            which = min(variant, delta.shape[1] - 1)
            values = delta[row, which] if at is None else delta[row[:, None], which, *at]
            first = start[:, min(variant, start.shape[1] - 1)].flatten(1)
            torch.addmm(first, numbers[variant], values.flatten(1), out=flat[:, variant])
        return out


def _few(live: np.ndarray) -> bool:
    """Whether so few of the edges are live that a sum over them is faster than a product of matrices."""
    variants, readers = live.shape[:2]
    count = int(live.sum())
    return count * DENSE <= live.size or count <= 2 * variants * readers
