"""Edges of a transformer: every writer to every reader that comes after it, as one lazy sequence of names.

A reader's writers are a prefix of all writers, so an edge is a number: its reader's offset plus its writer's place.
Sets of edges are boolean masks over these numbers; there is no object per edge.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np
from jaxtyping import Bool, Int

from assay.errors import ComponentError, nearest
from assay.model.weights import Shape

_EDGE = re.compile(r"^(?P<writer>[^\s<>@]+?)->(?P<reader>[^\s@]+?)(?:@(?P<position>\S+))?$")
_PER_HEAD = re.compile(r"^a(?P<layer>\d+)\.h(?P<head>\d+)<(?P<part>[kv])>$")


@dataclass(frozen=True)
class Reader:
    """What reads the stream: a head's queries, a group's keys or values, an MLP, or the unembedding.

    Attributes:
        part: "q", "k", "v", "mlp" or "logits".
        layer: of the model (the number of layers for `logits`); index: the head or group, 0 for the other two.
        writers: how many writers come before it; they are the first so many.
    """

    name: str
    part: str
    layer: int
    index: int
    writers: int


class Edges(Sequence[str]):
    """All edges of a model of this shape, ordered by reader and then by writer.

    Attributes:
        writers: names of what writes to the stream, in order (the model's components).
        readers: in the order of the data flow; `logits` is the last.

    Example:
        >>> from assay.model.weights import Shape
        >>> edges = Edges(Shape(2, 8, 2, 2, 4, (16, 16), 50, 32, parallel=False, norm="layer"))
        >>> edges[0], edges[-1], len(edges)
        ('input->a0.h0<q>', 'm1->logits', 46)
    """

    def __init__(self, shape: Shape):
        self.shape = shape
        grouped = shape.kv_heads != shape.heads
        writers, readers = ["input"], []
        for layer, width in enumerate(shape.d_mlp):
            before = len(writers)
            readers += [Reader(f"a{layer}.h{h}<q>", "q", layer, h, before) for h in range(shape.heads)]
            for part in ("k", "v"):
                unit = "kv" if grouped else "h"
                readers += [
                    Reader(f"a{layer}.{unit}{g}<{part}>", part, layer, g, before) for g in range(shape.kv_heads)
                ]
            writers += [f"a{layer}.h{h}" for h in range(shape.heads)]
            if width is not None:
                readers.append(Reader(f"m{layer}", "mlp", layer, 0, before if shape.parallel else len(writers)))
                writers.append(f"m{layer}")
        readers.append(Reader("logits", "logits", shape.layers, 0, len(writers)))
        self.writers, self.readers = tuple(writers), tuple(readers)
        self.offsets: Int[np.ndarray, "readers_and_one"] = np.cumsum([0, *(r.writers for r in readers)])

    def __repr__(self) -> str:
        return f"<Edges: {len(self):,}, from {self[0]} to {self[-1]}>"

    def __len__(self) -> int:
        return int(self.offsets[-1])

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"edge {index} of {len(self)}")
        reader, writer = self.ends(np.array([index % len(self)]))
        return f"{self.writers[writer[0]]}->{self.readers[reader[0]].name}"

    def ends(self, edges: Int[np.ndarray, "some"]) -> tuple[Int[np.ndarray, "some"], Int[np.ndarray, "some"]]:
        """Places of readers and writers of these edges."""
        reader = np.searchsorted(self.offsets, edges, side="right") - 1
        return reader, edges - self.offsets[reader]

    @cached_property
    def _writer_place(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.writers)}

    @cached_property
    def _reader_place(self) -> dict[str, int]:
        return {reader.name: place for place, reader in enumerate(self.readers)}

    @cached_property
    def places(self) -> list[dict[str, Int[np.ndarray, "readers"]]]:
        """Of each layer the places of its readers, by part, in the order of heads or groups."""
        out: list[dict[str, list[int]]] = [{} for _ in range(self.shape.layers)]
        for place, reader in enumerate(self.readers[:-1]):
            out[reader.layer].setdefault(reader.part, []).append(place)
        return [{part: np.array(places) for part, places in layer.items()} for layer in out]

    def number(self, name: str, *, fold: bool = False) -> tuple[int, str | None]:
        """The edge's number, and its position's name or None.

        Args:
            fold: an edge to one head's keys or values goes to the group that the head shares them with, as published
                files of grouped models need.

        Raises:
            ComponentError: for a name that is no edge of this model.
        """
        found = _EDGE.match(name.replace(" ", ""))
        if found is None:
            raise ComponentError(f"{name!r} is not an edge's name; edges look like 'a1.h2->a3.h5<q>' or 'm0->logits'")
        writer, reader = found["writer"], found["reader"]
        head = _PER_HEAD.match(reader)
        if fold and head and self.shape.kv_heads != self.shape.heads:
            share = self.shape.heads // self.shape.kv_heads
            reader = f"a{head['layer']}.kv{int(head['head']) // share}<{head['part']}>"
        if writer not in self._writer_place:
            raise ComponentError(f"{name!r}: {writer!r} writes nothing here" + nearest(writer, self.writers))
        if reader not in self._reader_place:
            raise ComponentError(f"{name!r}: {reader!r} reads nothing here" + nearest(reader, self._reader_place))
        place, known = self._writer_place[writer], self.readers[self._reader_place[reader]]
        if place >= known.writers:
            why = (
                "they work side by side on one stream" if self._side_by_side(writer, known) else "an edge runs forwards"
            )
            raise ComponentError(
                f"{name!r} cannot exist: {writer!r} does not come before {reader!r} ({why}); the last writer that it "
                f"can read is {self.writers[known.writers - 1]!r}"
            )
        return int(self.offsets[self._reader_place[reader]]) + place, found["position"]

    def _side_by_side(self, writer: str, reader: Reader) -> bool:
        return self.shape.parallel and reader.part == "mlp" and writer.startswith(f"a{reader.layer}.")

    def mask(self, names: Iterable[str]) -> Bool[np.ndarray, "edges"]:
        """The mask of these edges (without positions).

        Raises:
            ComponentError: for a name that is no edge, has a position, or comes twice.
        """
        out = np.zeros(len(self), dtype=bool)
        for name in names:
            number, position = self.number(name)
            if position is not None:
                raise ComponentError(f"{name!r} has a position; a mask over whole edges has none")
            if out[number]:
                raise ComponentError(f"the edge {name!r} is named twice")
            out[number] = True
        return out

    def names(self, mask: Bool[np.ndarray, "edges"]) -> list[str]:
        return [self[int(i)] for i in np.flatnonzero(mask)]

    def matrix(self, values: np.ndarray) -> np.ndarray:
        """[..., edges] as [..., readers, writers], zero (False) where there is no edge."""
        out = np.zeros((*values.shape[:-1], len(self.readers), len(self.writers)), dtype=values.dtype)
        reader, writer = self.ends(np.arange(len(self)))
        out[..., reader, writer] = values
        return out

    def flat(self, matrix: np.ndarray) -> np.ndarray:
        """[..., readers, writers] as [..., edges]: the inverse of `matrix`."""
        reader, writer = self.ends(np.arange(len(self)))
        return matrix[..., reader, writer]

    @cached_property
    def node_of(self) -> Bool[np.ndarray, "readers writers"]:
        """Whether what the reader reads is part of what the writer computes."""
        out = np.zeros((len(self.readers), len(self.writers)), dtype=bool)
        share = self.shape.heads // self.shape.kv_heads
        for place, reader in enumerate(self.readers):
            if reader.part == "logits":
                continue
            heads = [reader.index] if reader.part == "q" else range(reader.index * share, (reader.index + 1) * share)
            names = [f"m{reader.layer}"] if reader.part == "mlp" else [f"a{reader.layer}.h{h}" for h in heads]
            out[place, [self._writer_place[n] for n in names]] = True
        return out

    def node_edges(self, names: Iterable[str]) -> Bool[np.ndarray, "edges"]:
        """The edges between these nodes, `input` and `logits`: the circuit that keeps the nodes whole."""
        kept = np.zeros(len(self.writers), dtype=bool)
        kept[[0, *(self._writer_place[name] for name in names)]] = True
        readers = np.any(self.node_of & kept, 1)
        readers[-1] = True
        return self.flat(readers[:, None] & kept[None, :])

    def pruned(self, mask: Bool[np.ndarray, "*variants edges"]) -> Bool[np.ndarray, "*variants edges"]:
        """The masks without dangling parts: edges that lie on no path of kept edges from `input` to `logits`.

        A head is on a path when any of its queries, keys or values is reached.
        """
        m = self.matrix(mask)
        fed = np.zeros((*mask.shape[:-1], len(self.writers)), dtype=bool)
        fed[..., 0] = True
        for writer in range(1, len(self.writers)):  # in order: what a writer reads comes before it
            own = self.node_of[:, writer]
            fed[..., writer] = (m[..., own, :] & fed[..., None, :]).any((-1, -2))
        m = m & fed[..., None, :]
        live = np.zeros((*mask.shape[:-1], len(self.readers)), dtype=bool)  # readers whose node is used
        live[..., -1] = True
        for writer in reversed(range(len(self.writers))):
            used = np.any(m[..., :, writer] & live, -1)
            live[..., self.node_of[:, writer]] |= used[..., None]
        return self.flat(m & live[..., :, None])
