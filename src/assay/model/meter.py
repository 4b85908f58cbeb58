"""Counts what is run, whoever asks for it: layers, backward passes, nodes of circuits, unembedded positions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

BACKWARD = 1.5  # how many times as long as a forward pass its backward pass takes


class OverBudgetError(BaseException):
    """More was run than a meter allows: no failure of what was run, so that what guards against those lets it pass."""


@dataclass(eq=False)
class Meter:
    """What was run while it was open, in tokens (rows of a module's inputs); one through every layer counts one.

    Attributes:
        forward: tokens of forward passes; backward: of those whose gradient may be asked for.
        nodes: tokens of what is computed node by node, as a share of a pass each: circuits, sweeps, gradients by hand.
        unembedded: positions whose logits were formed.
        share: work that is meant for it, by which rows are chosen; most: work that is allowed.
    """

    forward: float = 0.0
    backward: float = 0.0
    nodes: float = 0.0
    unembedded: int = 0
    share: float = math.inf
    most: float = math.inf

    @property
    def tokens(self) -> float:
        """Of everything but backward passes and unembeddings."""
        return self.forward + self.nodes

    @property
    def work(self) -> float:
        """Tokens' worth of forward passes, backward passes among them."""
        return self.tokens + BACKWARD * self.backward

    def check(self) -> None:
        """Raises `OverBudgetError` where there was more than is allowed."""
        if self.work > self.most:
            raise OverBudgetError


_open: list[Meter] = []
_weight = 1.0


@contextmanager
def metered(share: float = math.inf, most: float = math.inf) -> Iterator[Meter]:
    """A meter that counts as long as the context lasts.

    Args:
        share: work that is meant for it; most: that is allowed in it. More raises `OverBudgetError`, before it is run.
    """
    meter = Meter(share=share, most=most)
    _open.append(meter)
    try:
        yield meter
    finally:
        _open.remove(meter)


@contextmanager
def apart() -> Iterator[Meter]:
    """A meter of what no other one counts: runs of a sketch, which say what others will cost. What is meant for them
    is as outside."""
    share, kept = meant(), list(_open)
    _open.clear()
    try:
        with metered(share) as meter:
            yield meter
    finally:
        _open[:] = kept


def meant() -> float:
    """How much work is meant for what is measured now. It does not say what is left of that: which rows are looked at
    does not depend on what others found done."""
    return min((meter.share for meter in _open), default=math.inf)


@contextmanager
def weighed(factor: float) -> Iterator[None]:
    """What is run in it counts so many times: another model's tokens, by its size."""
    global _weight
    before, _weight = _weight, factor
    try:
        yield
    finally:
        _weight = before


def ahead(tokens: int | float) -> None:
    """So many tokens' worth of layers are going to be run: `OverBudgetError` where they will not all be allowed."""
    check_room(tokens * _weight)


def has_room(work: float) -> bool:
    """Whether so much more work, as a meter counts it, is allowed."""
    return all(meter.work + work <= meter.most for meter in _open)


def check_room(work: float) -> None:
    """Raises `OverBudgetError` where it is not."""
    if not has_room(work):
        raise OverBudgetError


def passed(tokens: int | float, gradient: bool = False) -> None:
    """So many tokens' worth of layers are run; `gradient`: with what a backward pass through them needs."""
    for meter in _open:
        meter.forward += tokens * _weight
        meter.backward += tokens * _weight if gradient else 0.0
        meter.check()


def computed(tokens: int | float) -> None:
    """So many tokens' worth of passes are computed node by node."""
    for meter in _open:
        meter.nodes += tokens
        meter.check()


def unembedded(positions: int) -> None:
    """Logits of so many positions are formed."""
    for meter in _open:
        meter.unembedded += positions
