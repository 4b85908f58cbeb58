"""Calls side by side, one thread each, where every call alone is too small to be shared between threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

A = TypeVar("A")
B = TypeVar("B")


def side_by_side(call: Callable[[A], B], items: Sequence[A]) -> Iterator[B]:
    """What the call gives for each item, in order; as many calls at once as torch has threads.

    While it runs torch has one thread a call; where it is left early, calls that have not begun are dropped.
    """
    threads = torch.get_num_threads()
    if threads == 1 or len(items) < 2:
        yield from map(call, items)
        return
    try:
        torch.set_num_threads(1)
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(call, items)
    finally:
        torch.set_num_threads(threads)
