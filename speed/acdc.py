"""ACDC beside auto-circuit's, at thresholds that keep given shares of the edges: same order, same edges kept.

Both go through the layers from the logits downwards and try the edges into a layer in one order, reader after reader.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from speed.models import bench_of, handed, network
from speed.peers import MissingPeerError, Peer
from speed.timing import Row, Seconds, in_turn, timed

TOKENS, TARGET = 15, 20.0
SHARES = (0.002, 0.02, 0.2)
FEW = 2
CLOSE = 0.2  # how near a share is to be hit, as a difference of logarithms


def order_of(edges: Any) -> np.ndarray:
    """Edges in the order in which they are tried."""
    readers = reversed(range(len(edges.readers)))
    return np.concatenate([np.arange(edges.offsets[r], edges.offsets[r + 1]) for r in readers])


def threshold(workbench: Any, share: float, known: dict[float, float], tries: int = 10) -> float:
    """A tau at which about this share of the edges is kept.

    Args:
        known: shares by tau, as found before; what is found now is added.
    """
    from assay.methods.acdc import acdc

    def misses(tau: float) -> float:
        return abs(float(np.log(max(known[tau], 1e-9) / share)))

    tau = 0.03
    for _ in range(tries):
        if tau not in known:
            known[tau] = float(acdc(workbench, "counterfactual", tau).mask.mean())
        if misses(tau) < CLOSE:
            break
        more = [t for t, kept in known.items() if kept > share]  # too low
        less = [t for t, kept in known.items() if kept <= share]
        low, high = max(more, default=min(known) / 30), min(less, default=max(known) * 30)
        part = 0.5
        if more and less and known[high] > 0:
            part = float(np.log(known[low] / share) / np.log(known[low] / known[high]))
        tau = float(f"{low * (high / low) ** min(max(part, 0.1), 0.9):.3g}")
    return min(known, key=misses)


def compared(
    name: str, prompts: int, repeats: int, threads: int, *, only: int | None = None, shares: tuple[float, ...] = SHARES
) -> Iterator[Row]:
    """Seconds of a whole search at each threshold, after a check that both keep the same edges.

    Args:
        only: the peer tries that many edges alone, evenly spaced, and once a few; what it takes for a whole search is
            extrapolated from the difference (each of its steps is a forward pass, whatever was cut before), and the
            edges kept are not compared.
    """
    from assay.methods.acdc import acdc

    model = network(name)
    workbench = bench_of(model, prompts, TOKENS)
    edges = workbench.model.edges
    order = order_of(edges)
    some = order if only is None else order[np.linspace(0, len(order) - 1, only).astype(int)]
    with tempfile.TemporaryDirectory() as folder:
        handed(model, workbench, Path(folder) / "given.safetensors")
        with Peer("auto-circuit", Path(folder) / "given.safetensors", threads) as peer:
            known: dict[float, float] = {}
            for share in shares:
                tau = threshold(workbench, share, known)
                kept: dict[str, Any] = {}

                def ours(tau: float = tau, kept: dict[str, Any] = kept) -> Seconds:
                    taken, kept["ours"] = timed(lambda: acdc(workbench, "counterfactual", tau))
                    return taken

                def theirs(tau: float = tau, kept: dict[str, Any] = kept) -> Seconds:
                    taken, kept["theirs"] = peer("acdc", tau=tau, order=[edges[int(i)] for i in some])
                    if len(some) == len(order):
                        return taken
                    few, _ = peer("acdc", tau=tau, order=[edges[int(i)] for i in some[:FEW]])
                    each = [(a - b) / (len(some) - FEW) for a, b in zip(taken, few, strict=True)]
                    return Seconds(*(b + a * (len(order) - FEW) for a, b in zip(each, few, strict=True)))

                taken = in_turn({"ours": ours, "theirs": theirs}, repeats)
                found = kept["ours"]
                note = f"{found.mask.mean():.2%} kept, tau {tau:g}, {found.steps} steps of {found.tried} runs"
                if only is None:
                    note += "; " + _same(edges, found, edges.mask(kept["theirs"]))
                else:
                    note += f"; theirs extrapolated from {only} edges"
                what = f"{name}, {prompts} prompts: ACDC at {share:.1%}"
                yield Row(what, taken["ours"], peer.name, taken["theirs"], TARGET, note)


def _same(edges: Any, found: Any, kept: np.ndarray) -> str:
    """Whether the same edges are kept; those that are not, with how near their decision was."""
    differ = np.flatnonzero(kept != found.mask)
    if not len(differ):
        return f"the same {int(kept.sum())} edges kept"
    exempt = np.isin(differ, found.close)
    named = ", ".join(edges[int(i)] for i in differ[:5])
    return f"{len(differ)} edges differ ({int(exempt.sum())} of them within a thousandth of tau): {named}"


def steps(name: str, threads: int, count: int, tau: float, every: bool) -> Iterator[Row]:
    """Seconds an edge over consecutive steps after those into `logits`, and what follows for all edges.

    Args:
        every: ours then goes through all other edges, too, and says how long all of them took.
    """
    from assay.methods.acdc import AcdcSearch

    model = network(name)
    workbench = bench_of(model, 1, TOKENS)
    edges = workbench.model.edges
    readers, done, last = list(reversed(range(len(edges.readers)))), 0, 0
    for place, reader in enumerate(readers[1:], 1):
        done += edges.readers[reader].writers
        last = place
        if done >= count:
            break
    search = AcdcSearch(workbench, "counterfactual", tau)
    search.reader(readers[0])
    taken, _ = timed(lambda: [search.reader(reader) for reader in readers[1 : last + 1]])
    note = f"{done} edges, {search.steps} steps, {taken.cpu / done * len(edges):.0f} s for all {len(edges)} at that"
    if every:
        rest, _ = timed(lambda: [search.reader(reader) for reader in readers[last + 1 :]])
        all_of = Seconds(taken.wall + rest.wall, taken.cpu + rest.cpu)
        note += f"; in fact {all_of.cpu:.0f} s, {int(search.result()[0].sum())} kept"
    order = order_of(edges)[edges.readers[-1].writers :][:done]
    with tempfile.TemporaryDirectory() as folder:
        handed(model, workbench, Path(folder) / "given.safetensors")
        try:
            with Peer("auto-circuit", Path(folder) / "given.safetensors", threads) as peer:
                whole, _ = peer("acdc", tau=tau, order=[edges[int(i)] for i in order[:count]])
                few, _ = peer("acdc", tau=tau, order=[edges[int(i)] for i in order[:FEW]])
                theirs = Seconds(*((a - b) / (count - FEW) for a, b in zip(whole, few, strict=True)))
                note += f"; theirs {count} edges, {theirs.cpu * len(edges):.0f} s for all"
                beside = peer.name
                yield Row(f"{name}, 1 prompt: ACDC, an edge", taken.over(done), beside, theirs, TARGET, note)
        except MissingPeerError as why:
            print(why)
