"""What has to be computed for circuits that differ from a known run, found from the masks before anything runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from assay.intervene.circuits.state import CircuitState
from assay.model.edges import Edges


@dataclass(frozen=True, eq=False)
class Schedule:
    """The work of some variants of a state.

    Attributes:
        layers: per layer which heads or groups have new queries, keys and values ("q", "k", "v"), which heads ("heads")
            and whether the MLP ("mlp", one entry or none) are computed; an empty dict where nothing is. Heads that are
            computed at the scored items alone, and their queries, stand apart ("heads!", "q!").
        known: writers whose difference is the state's own and not zero.
        count: how many writers are computed at every position; at_items: which are at the scored items alone.
        narrow: writers that hold at the scored items alone, computed now or before.
        stale: writers whose input changed and which nothing reads, so that they were left out.
        work: the share of a forward pass that one variant costs, in nodes.
    """

    layers: list[dict[str, Int[np.ndarray, "_"]]]
    known: Int[np.ndarray, "known"]
    count: int
    at_items: Bool[np.ndarray, "writers"]
    narrow: Bool[np.ndarray, "writers"]
    stale: Bool[np.ndarray, "writers"]
    work: float
    heads: int
    firsts: tuple[int, ...]

    def head_writers(self, layer: int, heads: Int[np.ndarray, "some"]) -> Int[np.ndarray, "some"]:
        return self.firsts[layer] + heads

    def mlp_writer(self, layer: int) -> Int[np.ndarray, "one"]:
        return np.array([self.firsts[layer] + self.heads])


def schedule(
    edges: Edges,
    base: CircuitState,
    live: Bool[np.ndarray, "variants readers writers"],
    *,
    exact: np.ndarray | None = None,
    soft: bool = False,
    few: float = 0.0,
) -> Schedule:
    """What variants need.

    Args:
        live: which edges carry something (at any position); exact: the same by position, where positions differ.
        soft: edges carry shares: every node that can reach the logits is computed.
        few: the share of positions that scored items are, where nodes that these alone need may be computed there
            alone; 0: nowhere.
    """
    shape = edges.shape
    share, writers = shape.heads // shape.kv_heads, len(edges.writers)
    firsts, place = [], 1
    for width in shape.d_mlp:
        firsts.append(place)
        place += shape.heads + (width is not None)
    any_live = np.any(live, 0)
    needed = _needed(edges, live, firsts)
    wide = _wide(edges, any_live, needed, firsts) if few else needed
    differs: np.ndarray
    if soft:
        differs = any_live
    elif exact is not None and exact.ndim == 4 and base.matrix.ndim == 3:
        differs = np.any(exact != base.matrix, (0, -1))
    elif exact is not None and exact.ndim == 4:
        differs = np.any(exact != base.matrix[..., None], (0, -1))
    else:
        old = base.matrix if base.matrix.ndim == 2 else np.any(base.matrix, -1)
        differs = np.any(live != old, 0)
        if base.matrix.ndim == 3:
            differs = differs | any_live & ~np.all(base.matrix, -1)
    moved = ~base.zero  # writers whose difference is not 0, or not known to be
    changed = np.zeros(writers, dtype=bool)
    stale, narrow = base.stale.copy(), base.narrow.copy()
    missing = base.stale | base.narrow & wide  # never computed (everywhere) in the base: all of its inputs count as new
    layers: list[dict[str, np.ndarray]] = []
    work = 0.0

    def touched(readers: np.ndarray) -> np.ndarray:
        return np.any(differs[readers] & (moved | changed) | any_live[readers] & changed, 1)

    for layer in range(shape.layers):
        first, at = firsts[layer], edges.places[layer]
        spot = first + np.arange(shape.heads)
        again = missing[spot]
        q, k, v = touched(at["q"]), touched(at["k"]), touched(at["v"])
        heads = q | np.repeat(k | v, share) | again
        done = heads & needed[spot]
        whole = done & wide[spot]
        stale[spot] = heads & ~needed[spot]
        groups = done.reshape(-1, share).any(1)
        old = (base.stale[spot] & done).reshape(-1, share).any(1)
        found = {
            "q": np.flatnonzero((q | again) & whole),
            "q!": np.flatnonzero((q | again) & done & ~whole),
            "k": np.flatnonzero((k | old) & groups),
            "v": np.flatnonzero((v | old) & groups),
            "heads": np.flatnonzero(whole),
            "heads!": np.flatnonzero(done & ~whole),
            "mlp": np.zeros(0, dtype=int),
        }
        changed[spot] = done
        narrow[spot] = np.where(done, ~whole, narrow[spot])
        work += whole.sum() + few * (done.sum() - whole.sum())
        if "mlp" in at:
            # a parallel MLP reads the stream before its layer's attention, whose heads are not among its writers
            new = bool(touched(at["mlp"])[0]) or bool(missing[first + shape.heads])
            mine = first + shape.heads
            stale[mine] = new and not needed[mine]
            if new and needed[mine]:
                found["mlp"] = np.zeros(1, dtype=int)
                changed[mine], narrow[mine] = True, not wide[mine]
                work += shape.heads * (1.0 if wide[mine] else few)
        layers.append(found if changed[first : first + shape.heads + ("mlp" in at)].any() else {})
    total = sum(shape.heads * (1 + (width is not None)) for width in shape.d_mlp)
    known = np.flatnonzero(moved & ~changed)
    at_items = changed & ~wide
    count = int(changed.sum() - at_items.sum())
    return Schedule(layers, known, count, at_items, narrow, stale, float(work / total), shape.heads, tuple(firsts))


def _needed(
    edges: Edges, live: Bool[np.ndarray, "variants readers writers"], firsts: list[int]
) -> Bool[np.ndarray, "writers"]:
    """Writers from which live edges lead to the logits, in any variant."""
    shape = edges.shape
    share = shape.heads // shape.kv_heads
    on = np.zeros(live.shape[:2], dtype=bool)  # readers whose node is needed
    on[:, -1] = True
    needed = np.zeros((len(live), len(edges.writers)), dtype=bool)
    needed[:, 0] = True
    for layer in reversed(range(shape.layers)):
        at, first = edges.places[layer], firsts[layer]
        after = at["q"][0]
        if "mlp" in at:
            mine = first + shape.heads
            needed[:, mine] = (live[:, after:, mine] & on[:, after:]).any(1)
            on[:, at["mlp"]] = needed[:, mine : mine + 1]
        spot = slice(first, first + shape.heads)
        needed[:, spot] = (live[:, after:, spot] & on[:, after:, None]).any(1)
        on[:, at["q"]] = needed[:, spot]
        groups = needed[:, spot].reshape(len(live), -1, share).any(2)
        on[:, at["k"]] = on[:, at["v"]] = groups
    return np.any(needed, 0)


def _wide(
    edges: Edges,
    live: Bool[np.ndarray, "readers writers"],
    needed: Bool[np.ndarray, "writers"],
    firsts: list[int],
) -> Bool[np.ndarray, "writers"]:
    """Writers that a needed node reads at every position, as keys and values do, and queries and MLPs of wide nodes."""
    shape = edges.shape
    share = shape.heads // shape.kv_heads
    on = np.zeros(len(edges.readers), dtype=bool)  # readers that read everywhere
    wide = np.zeros(len(edges.writers), dtype=bool)
    for layer in reversed(range(shape.layers)):
        at, first = edges.places[layer], firsts[layer]
        after = at["q"][0]
        if "mlp" in at:
            mine = first + shape.heads
            wide[mine] = needed[mine] and bool((live[after:, mine] & on[after:]).any())
            on[at["mlp"]] = wide[mine]
        spot = slice(first, first + shape.heads)
        wide[spot] = needed[spot] & (live[after:, spot] & on[after:, None]).any(0)
        on[at["q"]] = wide[spot]
        on[at["k"]] = on[at["v"]] = needed[spot].reshape(-1, share).any(1)
    return wide
