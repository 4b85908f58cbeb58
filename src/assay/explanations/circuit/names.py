"""What is wrong with a list of edges or nodes by its names alone: nothing heavy is imported to say so."""

from __future__ import annotations

import re
from collections.abc import Sequence

from assay.errors import ClaimError, ComponentError
from assay.explanations.levels import Level
from assay.names import Site, meant, parse_site

LEVEL: Level = "where"  # what a circuit claims
_EDGE = re.compile(r"^(?P<writer>[^\s<>@]+)->(?P<reader>[^\s@<>]+)(?P<part><[^>]*>)?(?:@(?P<position>\S+))?$")
_WRITER = re.compile(r"^(?:input|a(?P<a>\d{1,9})\.h\d{1,9}|m(?P<m>\d{1,9}))$")
_READER = re.compile(r"^(?:logits|m(?P<m>\d{1,9})|a(?P<q>\d{1,9})\.h\d{1,9}<[qkv]>|a(?P<kv>\d{1,9})\.kv\d{1,9}<[kv]>)$")
_LIKE = "edges look like 'a1.h2->a3.h5<q>', 'm0->logits' or 'input->m1@-1'"


class CircuitNameError(ClaimError):
    """A name that cannot stand in its list.

    Attributes:
        index: its place in the list.
    """

    def __init__(self, index: int, sentence: str):
        super().__init__(sentence)
        self.index = index


def position_of(text: str) -> int | str:
    """A column number, or a column's name.

    Example:
        >>> position_of("-1"), position_of("S2")
        (-1, 'S2')
    """
    return int(text) if re.fullmatch(r"-?\d{1,9}", text) else text


def split_edge(name: str) -> tuple[str, int | str | None]:
    """An edge's name without its position, and the position.

    Raises:
        ClaimError: for a text that is no edge's name, and for one that no model can have: backwards, or between parts
            that work side by side.
    """
    bare = name.replace(" ", "")
    found = _EDGE.match(bare)
    if found is None:
        raise ClaimError(f"{name!r} is not an edge's name; {_LIKE}")
    reader_name = found["reader"] + (found["part"] or "")
    writer, reader = _WRITER.match(found["writer"]), _READER.match(reader_name)
    if writer is None:
        like = _meant(found["writer"]) or ", such as 'input', 'a1.h2' or 'm0'"
        raise ClaimError(f"{name!r}: {found['writer']!r} is not something that writes{like}")
    if reader is None:
        like = _meant(found["reader"], found["part"] or "") or ", such as 'a3.h5<q>', 'a3.kv1<k>', 'm1' or 'logits'"
        raise ClaimError(f"{name!r}: {reader_name!r} is not something that reads{like}")
    made = -1 if found["writer"] == "input" else 2 * int(writer["a"] or writer["m"] or 0) + (writer["m"] is not None)
    layer = reader["q"] or reader["kv"] or reader["m"]
    read = None if layer is None else 2 * int(layer) + (reader["m"] is not None)
    if read is not None and made >= read:
        beside = made == read and writer["a"] is not None
        why = "heads of a layer work side by side" if beside else "an edge runs forwards"
        raise ClaimError(f"{name!r} cannot exist: {found['writer']!r} does not come before {reader_name!r} ({why})")
    position = found["position"]
    return f"{found['writer']}->{reader_name}", None if position is None else position_of(position)


def _meant(end: str, part: str = "") -> str:
    """A tail for an end of an edge that is written in another way; empty where it is not known."""
    there = meant(end)
    return f"; did you mean {there + part!r}?" if there and there != end else ""


def check_edges(names: Sequence[str]) -> list[tuple[str, int | str | None]]:
    """Every edge's name and position.

    Raises:
        CircuitNameError: for the first that is no edge, comes twice, or is kept everywhere and at one position.
    """
    out: list[tuple[str, int | str | None]] = []
    seen: dict[str, dict[int | str | None, int]] = {}
    for index, name in enumerate(names):
        try:
            edge, position = split_edge(name)
        except ClaimError as problem:
            raise CircuitNameError(index, str(problem)) from None
        before = seen.setdefault(edge, {})
        if position in before:
            raise CircuitNameError(index, f"the edge {name!r} is named a second time")
        if before and (position is None or None in before):
            other = names[next(iter(before.values()))]
            raise CircuitNameError(
                index,
                f"the edge {edge!r} is said to be kept at every position and at one of them ({other!r} and {name!r}); "
                "leave one out",
            )
        before[position] = index
        out.append((edge, position))
    return out


def check_nodes(names: Sequence[str]) -> list[Site]:
    """The site of every node.

    Raises:
        CircuitNameError: for the first that is no node of a circuit, or comes twice.
    """
    out: list[Site] = []
    for index, name in enumerate(names):
        try:
            site = parse_site(name)
        except ComponentError as problem:
            raise CircuitNameError(index, str(problem)) from None
        if site.kind in ("input", "logits"):
            raise CircuitNameError(index, f"{name!r} is in every circuit of nodes; leave it out")
        if site.kind not in ("head", "mlp", "attention", "kv"):
            raise CircuitNameError(
                index, f"{name!r} is not a node of circuits; nodes are named like 'a1.h3', 'm2' or 'a1'"
            )
        if site.position is not None:
            raise CircuitNameError(
                index, f"{name!r}: nodes are kept at every position; name edges to keep them at some"
            )
        if site in out:
            raise CircuitNameError(index, f"the node {name!r} is named a second time")
        out.append(site)
    return out
