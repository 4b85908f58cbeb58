"""Screening as one would write it: a row at a time, with hooks on the library's own model."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor

from tests.naive import hooks


def screened(
    network: Any, row: Tensor, parts: Collection[str], held: Collection[str], donor: Callable[[str], Tensor]
) -> Tensor:
    """Logits [pos, vocab] of a row [pos].

    Args:
        parts: all upstream of the cut; held: of them, or of one its column, such as "m0@3".
        donor: part -> the tokens [pos] of the row that it takes its value from, where it is not held.
    """
    given: dict[str, Tensor] = {}
    for part in parts:
        own = hooks.values(network, row[None], [part])[part]
        new = own if part in held else hooks.values(network, donor(part)[None], [part])[part]
        for name in held:
            if name.startswith(f"{part}@"):
                column = int(name.split("@")[1])
                new = new.clone()
                new[:, column] = own[:, column]
        given[part] = new
    streams = {0: given.pop("input")} if "input" in given else None
    return hooks.run(network, row[None], given, streams=streams)[0]


def screened_stream(
    network: Any, row: Tensor, layer: int, donor: Tensor, basis: Tensor | None = None, column: int | None = None
) -> Tensor:
    """The same where the stream is one: in a subspace, or in a column, it is the row's own, and else the donor's."""
    own, other = (hooks.stream(network, tokens[None], layer) for tokens in (row, donor))
    if basis is not None:
        rest = torch.eye(len(basis), dtype=basis.dtype) - basis @ basis.T
        new = own @ (basis @ basis.T) + other @ rest
    else:
        new = other.clone()
        new[:, column] = own[:, column]
    return hooks.run(network, row[None], {}, streams={layer: new})[0]
