"""Counts what is run, whoever asks for it: layers, backward passes, nodes of circuits, unembedded positions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(eq=False)
class Meter:
    """What was run while it was open, in tokens (rows of a module's inputs); one through every layer counts one.

    Attributes:
        forward: tokens of forward passes; backward: of those whose gradient may be asked for.
        nodes: tokens of what is computed node by node, as a share of a pass each: circuits, sweeps, gradients by hand.
        unembedded: positions whose logits were formed.
    """

    forward: float = 0.0
    backward: float = 0.0
    nodes: float = 0.0
    unembedded: int = 0

    @property
    def tokens(self) -> float:
        """Of everything but backward passes and unembeddings."""
        return self.forward + self.nodes


_open: list[Meter] = []


@contextmanager
def metered() -> Iterator[Meter]:
    """A meter that counts as long as the context lasts."""
    meter = Meter()
    _open.append(meter)
    try:
        yield meter
    finally:
        _open.remove(meter)


def passed(tokens: int | float, gradient: bool = False) -> None:
    """So many tokens' worth of layers are run; `gradient`: with what a backward pass through them needs."""
    for meter in _open:
        meter.forward += tokens
        meter.backward += tokens if gradient else 0.0


def computed(tokens: int | float) -> None:
    """So many tokens' worth of passes are computed node by node."""
    for meter in _open:
        meter.nodes += tokens


def unembedded(positions: int) -> None:
    """Logits of so many positions are formed."""
    for meter in _open:
        meter.unembedded += positions
