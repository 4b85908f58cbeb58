"""Causal scrubbing as its authors write it: a recursion, row by row, with hooks on the library's own model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from tests.naive import hooks

Agreeing = Callable[[Sequence[str], int], int]  # (variables, row) -> a row that agrees on them
Reads = Mapping[str, Sequence[str]]


def scrubbed(
    network: Any,
    tokens: Tensor,
    row: int,
    answer: str,
    reads: Reads,
    loose: Mapping[str, Sequence[str]],
    places: Mapping[str, Sequence[str]],
    agreeing: Agreeing,
    rest: Callable[[int], Mapping[str, Tensor]] | None,
    resampled: bool,
    treeify: bool,
) -> Tensor:
    """Logits [1, pos, vocab] of a row.

    Args:
        reads: variable -> those with places that it reads; loose: those without.
        rest: row -> what everything takes there that carries nothing; None: it is left.
        resampled: whether the rest, tokens included, is of a row that agrees on the loose variables.
    """

    def run(name: str, datum: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The tokens that are read, and what is put in place."""
        at = agreeing((*loose[name], "layout"), datum) if resampled else datum
        given = dict(rest(at)) if rest else {}
        for parent in reads[name]:
            given |= value(parent, agreeing((parent, "layout"), datum if treeify else row))
        return tokens[at : at + 1], given

    def value(name: str, datum: int) -> dict[str, Tensor]:
        """What the places of a variable are on a datum."""
        if not reads[name]:
            return hooks.values(network, tokens[datum : datum + 1], list(places[name]))
        read, given = run(name, datum)
        return hooks.values(network, read, list(places[name]), edits=given)

    read, given = run(answer, row)
    return hooks.run(network, read, given)
