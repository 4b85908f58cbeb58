"""Random circuits like a given one: unions of random paths from `input` to `logits`, as many live edges in each layer.

A uniform draw of few edges has no such path, and to beat it says nothing (docs/definitions.md#controls-and-p).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from assay.errors import ComponentError
from assay.model.edges import Edges
from assay.stats.keyed import generator

SIZE = 0.02  # by how much the number of live edges may differ
PROFILE = 0.05  # the share of edges that may sit in another layer without a new attempt
ATTEMPTS = 25  # for one circuit
MISSES = 12  # paths in a row that fit nowhere, before the rest is drawn between nodes that are there
ROUNDS = 4  # times as many draws as circuits are wanted, before these are taken for all that there are
PATHS = 3  # for each node of the model: by then nearly all nodes are in


def layer_profile(edges: Edges, masks: Bool[np.ndarray, "*circuits edges"]) -> Int[np.ndarray, "*circuits layers"]:
    """How many edges each layer's queries, keys, values and MLP read; `logits` last."""
    layers = np.array([reader.layer for reader in edges.readers])
    readers, _ = edges.ends(np.arange(len(edges)))
    one = np.eye(edges.shape.layers + 1, dtype=np.int64)[layers[readers]]
    return masks @ one


def misplaced(edges: Edges, like: Bool[np.ndarray, "edges"], masks: Bool[np.ndarray, "circuits edges"]) -> np.ndarray:
    """The share of each circuit's edges that is in another layer than where `like` has them (total variation)."""
    wanted, found = layer_profile(edges, edges.pruned(like)), layer_profile(edges, masks)
    return np.abs(found - wanted).sum(-1) / (2 * max(1, int(wanted.sum())))


def path_sampled(
    edges: Edges, like: Bool[np.ndarray, "edges *pos"], count: int, seed: int = 0, *, first: int = 0
) -> Bool[np.ndarray, "count edges *pos"]:
    """Random circuits of as many live edges as `like` (within 2 %), layer by layer.

    Each begins empty. Again and again an edge is drawn in a layer that has too few, and joined to `input` and `logits`
    by random steps through nodes in layers that still have room, until it meets what is there. Every edge of the
    result is live. Draws are keyed one by one: none depends on `count`, and they go on from `first`.

    Args:
        like: the circuit; what dangles of it does not count. With positions, the control has those of `like`'s edges,
            dealt out anew among the edges of each layer.

    Raises:
        ComponentError: for a mask of another number of edges, or when no circuit of this size was found.
    """
    if len(like) != len(edges):
        raise ComponentError(f"a circuit of {len(like)} edges was given; this model has {len(edges)}")
    whole = like if like.ndim == 1 else np.any(like, 1)
    live = edges.pruned(whole)
    paths = _Paths(edges)
    out = np.zeros((count, *like.shape), dtype=bool)
    for place in range(count):
        index = first + place
        mask = paths.draw(layer_profile(edges, live), seed, index)
        out[place] = mask if like.ndim == 1 else _dealt(edges, like & live[:, None], mask, seed, index)
    return out


def different(
    edges: Edges, like: Bool[np.ndarray, "edges *pos"], count: int, seed: int = 0
) -> Bool[np.ndarray, "found edges *pos"]:
    """Up to `count` path-sampled circuits that all differ, none of them `like` itself.

    A small circuit has few of its kind. Where `ROUNDS` times as many draws hold fewer, these are about all there are;
    drawn again and again they would make a rank among them look better than it is.

    Raises:
        ComponentError: as `path_sampled`.
    """
    live = edges.pruned(like if like.ndim == 1 else np.any(like, 1))
    own = like & (live if like.ndim == 1 else live[:, None])
    found: dict[bytes, np.ndarray] = {}
    for part in range(ROUNDS):
        for mask in path_sampled(edges, like, count, seed, first=part * count):
            if len(found) < count and not np.array_equal(mask, own):
                found.setdefault(mask.tobytes(), mask)
        if len(found) >= count:
            break
    return np.array(list(found.values()), dtype=bool).reshape(-1, *like.shape)


def _dealt(
    edges: Edges, like: Bool[np.ndarray, "edges pos"], mask: Bool[np.ndarray, "edges"], seed: int, index: int
) -> Bool[np.ndarray, "edges pos"]:
    rng, out = generator(seed, "positions of path-sampled circuits", index), np.zeros(like.shape, dtype=bool)
    layers = np.array([reader.layer for reader in edges.readers])[edges.ends(np.arange(len(edges)))[0]]
    for layer in np.unique(layers[mask]):
        places = np.flatnonzero(mask & (layers == layer))
        given = np.flatnonzero(like.any(1) & (layers == layer))
        given = given if len(given) else np.flatnonzero(like.any(1))
        dealt = np.concatenate([rng.permutation(given) for _ in range(-(-len(places) // len(given)))])
        out[places] = like[dealt[: len(places)]]
    return out


class _Paths:
    """The graph of a model's edges as lists, and draws from it."""

    def __init__(self, edges: Edges):
        self.edges = edges
        self.offsets = [int(offset) for offset in edges.offsets]
        self.reader_layer = [reader.layer for reader in edges.readers]
        self.prefix = [reader.writers for reader in edges.readers]
        node_of = edges.node_of
        self.inputs_of = [np.flatnonzero(own).tolist() for own in node_of.T]  # a node's readers
        self.nodes_of = [np.flatnonzero(own).tolist() for own in node_of]  # a group's keys are read for several heads
        # the layer in which what a writer reads is; `input` reads nothing and is in none
        self.writer_layer = [self.reader_layer[own[0]] if own else -1 for own in self.inputs_of]
        self.in_layer: list[list[int]] = [[] for _ in range(edges.shape.layers + 1)]
        for place, layer in enumerate(self.reader_layer):
            self.in_layer[layer].append(place)
        # writer -> layer -> readers there that come after it
        self.above = [
            [[place for place in places if self.prefix[place] > writer] for places in self.in_layer]
            for writer in range(len(edges.writers))
        ]
        self.ends = edges.ends(np.arange(len(edges)))
        self.edge_layer = np.array(self.reader_layer)[self.ends[0]]

    def draw(self, profile: Int[np.ndarray, "layers"], seed: int, index: int) -> Bool[np.ndarray, "edges"]:
        wanted, best, worst = int(profile.sum()), None, (np.inf, np.inf)
        for attempt in range(ATTEMPTS):
            mask = _Draw(self, profile, generator(seed, "path-sampled circuits", index, attempt)).run()
            found = np.bincount(self.edge_layer[mask], minlength=len(profile))
            short = abs(int(found.sum()) - wanted)
            off = float(np.abs(found - profile).sum()) / 2
            if short <= SIZE * wanted and (short, off) < worst:
                best, worst = mask, (short, off)
            if short == 0 and off <= PROFILE * wanted:
                break
        if best is None:
            raise ComponentError(
                f"no random circuit of {wanted} live edges ({', '.join(map(str, profile))} by layer) was found in "
                f"{ATTEMPTS} attempts; give a larger circuit"
            )
        return best


class _Draw:
    """One circuit as it grows: which writers `input` reaches, which lead to `logits`, and what each layer lacks."""

    def __init__(self, paths: _Paths, profile: Int[np.ndarray, "layers"], rng: np.random.Generator):
        self.paths, self.rng, self.lacks = paths, rng, profile.tolist()
        writers = len(paths.edges.writers)
        self.chosen: set[int] = set()
        self.fed, self.live = [False] * writers, [False] * writers
        self.fed[0] = True
        self._pool: list[float] = []

    def _under(self, count: int) -> int:
        """A number from 0 to count − 1; uniform draws are taken from the generator in blocks."""
        if not self._pool:
            self._pool = self.rng.random(512).tolist()
        return int(self._pool.pop() * count)

    def _layer(self, room: list[int]) -> int:
        """A layer, as likely as it has room."""
        place = self._under(sum(room))
        for layer, size in enumerate(room):
            place -= size
            if place < 0:
                return layer
        raise AssertionError("no layer has room")

    def run(self) -> Bool[np.ndarray, "edges"]:
        misses, drawn = 0, 0
        while sum(self.lacks) > 0 and misses < MISSES and drawn < PATHS * len(self.fed):
            drawn += 1
            misses = 0 if self._path() else misses + 1
        mask = np.zeros(len(self.paths.edges), dtype=bool)
        mask[list(self.chosen)] = True
        self._between(mask)
        return mask

    def _between(self, mask: Bool[np.ndarray, "edges"]) -> None:
        """Adds what is missing between nodes that are on paths already: in layers that lack edges, then in any."""
        if sum(self.lacks) <= 0:
            return
        paths, lacks = self.paths, np.array(self.lacks)
        leads = paths.edges.node_of @ np.array(self.live)
        leads[-1] = True  # `logits`
        readers, writers = paths.ends
        free = self.rng.permutation(np.flatnonzero(leads[readers] & np.array(self.fed)[writers] & ~mask))
        layers = paths.edge_layer[free]
        for layer, count in enumerate(lacks):
            if count > 0:
                mask[free[layers == layer][:count]] = True
                lacks[layer] -= min(count, int((layers == layer).sum()))
        missing = int(lacks.sum())
        if missing > 0:
            mask[free[~mask[free]][:missing]] = True

    def _path(self) -> bool:
        """Adds an edge, and what joins it to what is there; False, and nothing added, where that does not fit."""
        paths, lacks = self.paths, list(self.lacks)
        layer = self._layer([max(size, 0) for size in lacks])
        reader = paths.in_layer[layer][self._under(len(paths.in_layer[layer]))]
        new: list[tuple[int, int]] = []
        if not self._fall(reader, lacks, new) or not self._rise(reader, lacks, new):
            return False
        for place, writer in new:
            edge = paths.offsets[place] + writer
            if edge not in self.chosen:
                self.chosen.add(edge)
                self.lacks[paths.reader_layer[place]] -= 1
            self.live[writer] = True
            for node in paths.nodes_of[place]:
                self.fed[node] = True
        return True

    def _fall(self, reader: int, lacks: list[int], new: list[tuple[int, int]]) -> bool:
        """From a reader down to `input`, or to a node that `input` reaches already."""
        paths = self.paths
        while True:
            layer, offset = paths.reader_layer[reader], paths.offsets[reader]
            if lacks[layer] <= 0:
                return False
            lacks[layer] -= 1
            writers = [
                writer
                for writer in range(paths.prefix[reader])
                if (self.fed[writer] or lacks[paths.writer_layer[writer]] > 0) and offset + writer not in self.chosen
            ]
            if not writers:
                return False
            writer = writers[self._under(len(writers))]
            new.append((reader, writer))
            if self.fed[writer]:
                return True
            reader = paths.inputs_of[writer][self._under(len(paths.inputs_of[writer]))]

    def _rise(self, reader: int, lacks: list[int], new: list[tuple[int, int]]) -> bool:
        """From a reader's node up to `logits`, or to a node that leads there already."""
        paths = self.paths
        while (nodes := paths.nodes_of[reader]) and not any(self.live[node] for node in nodes):
            writer = nodes[self._under(len(nodes))]
            room = [max(size, 0) if above else 0 for size, above in zip(lacks, paths.above[writer], strict=True)]
            if not any(room):
                return False
            layer = self._layer(room)
            above = paths.above[writer][layer]
            reader = above[self._under(len(above))]
            new.append((reader, writer))
            lacks[layer] -= 1
        return True
