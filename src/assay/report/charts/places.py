"""Where the nodes and edges of a circuit's drawing lie: takes the `drawing` block, gives places and paths."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from assay.record import graph

_LEFT, _MARGIN = 46.0, 14.0
_SIDES = {"q": -1, "k": 0, "v": 1}  # where on a head an edge lands


@dataclass(frozen=True)
class Node:
    """A box of the drawing, by its middle; what has no edges is drawn as a dot there."""

    x: float
    y: float
    width: float
    height: float
    label: str
    kind: str  # "head", "kv", "mlp" or "end"
    round: float = 5.0


@dataclass(frozen=True)
class PlacedEdge:
    """An edge with its path.

    Attributes:
        reader: as the record has it; node: the box that the edge ends at.
        part: "q", "k", "v" or None.
        strength: None where nothing gives one; said: it in words, where the record has more than a number.
    """

    writer: str
    reader: str
    node: str
    part: str | None
    strength: float | None
    path: str
    said: str | None = None

    @property
    def name(self) -> str:
        return f"{self.writer} → {self.reader}" + (f" ({self.part})" if self.part else "")


@dataclass(frozen=True)
class Layout:
    """Everything that is drawn, in a box of this size.

    Attributes:
        labels: x, y, text and alignment of the rows' and columns' names.
        links: key and value groups with the path to the heads that share them.
        unplaced: edges with an end that the model does not have.
    """

    width: float
    height: float
    nodes: dict[str, Node]
    edges: list[PlacedEdge]
    labels: list[tuple[float, float, str, str]]
    links: list[tuple[str, str]]
    unplaced: int


def layout(drawing: graph.Drawing, said: Mapping[str, str]) -> Layout:
    """Places of all nodes, paths of all edges.

    Args:
        said: an edge's name -> its strength in words.
    """
    layers, heads, mlps = drawing.layers, drawing.heads, drawing.mlps
    groups = drawing.kv_heads if 0 < drawing.kv_heads < heads and heads % drawing.kv_heads == 0 else 0
    pitch = min(76.0, max(15.0, 900.0 / max(heads, 1)))
    across = pitch * max(heads, 1)
    width = max(640.0, _LEFT + across + (74.0 if any(mlps) else _MARGIN))
    shift = (width - _LEFT - across - (74.0 if any(mlps) else _MARGIN)) / 2
    rows = layers + sum(mlps)
    step = min(60.0, max(24.0, 980.0 / max(rows, 1)))
    if groups:
        step = max(step, 40.0)
    xs = [_LEFT + shift + pitch * (h + 0.5) for h in range(heads)]
    middle = (xs[0] + xs[-1]) / 2 if xs else width / 2
    side = _LEFT + shift + across + 30.0
    box = min(44.0, pitch - 7.0)
    high = 18.0 if step >= 30 else 14.0
    y = 34.0 + step * (rows + 1)
    end = max(70.0, min(260.0, across * 0.6))
    nodes = {"input": Node(middle, y, end, 20.0, "input", "end", 10.0)}
    labels: list[tuple[float, float, str, str]] = []
    links: list[tuple[str, str]] = []
    for layer in range(layers):
        y -= step
        for head, x in enumerate(xs):
            name = f"a{layer}.h{head}"
            label = name if box >= 36 else f"{head}" if box >= 14 else ""
            nodes[name] = Node(x, y, box, high, label, "head")
        if heads:
            labels.append((shift + 8.0, y + 3.5, f"attn {layer}", "start"))
        for group in range(groups):
            share = xs[group * heads // groups : (group + 1) * heads // groups]
            name, at = f"a{layer}.kv{group}", sum(share) / len(share)
            label = f"kv{group}" if box >= 24 else ""
            nodes[name] = Node(at, y + high / 2 + 12, min(30.0, box), 11.0, label, "kv", 4.0)
            links += [(name, f"M{at:.1f} {y + high / 2 + 7:.1f}L{x:.1f} {y + high / 2:.1f}") for x in share]
        if mlps[layer]:
            y -= step
            nodes[f"m{layer}"] = Node(side, y, 44.0, high, f"m{layer}", "mlp", 2.0)
    y -= step
    nodes["logits"] = Node(middle, y, end, 20.0, "logits", "end", 10.0)
    bottom = nodes["input"].y
    if box < 36:
        every = max(1, math.ceil(18 / pitch))
        labels += [(x, bottom + 24.0, f"h{h}", "middle") for h, x in enumerate(xs) if h % every == 0]
    found = [_edge(edge, nodes, pitch, said.get(edge.name)) for edge in drawing.edges]
    edges = [edge for edge in found if edge is not None]
    return Layout(width, bottom + 32.0, nodes, edges, labels, links, len(found) - len(edges))


def _edge(edge: graph.EdgeRecord, nodes: Mapping[str, Node], pitch: float, said: str | None) -> PlacedEdge | None:
    if edge.writer not in nodes or edge.reader not in nodes or edge.writer == "logits" or edge.reader == "input":
        return None
    writer, reader = nodes[edge.writer], nodes[edge.reader]
    if writer.y <= reader.y or writer.kind == "kv":
        return None
    x1, y1 = _spread(writer, reader.x), writer.y - writer.height / 2
    x2, y2 = _spread(reader, writer.x), reader.y + reader.height / 2
    if reader.kind in ("head", "kv") and edge.part is not None:
        x2 = reader.x + _SIDES[edge.part] * min(9.0, reader.width / 3)
    rise = y1 - y2
    bow = 0.0
    if abs(x1 - x2) < pitch / 2 and rise > 70:  # straight up through the boxes between: around them
        bow = (1 if writer.kind == "mlp" else -1) * min(pitch * 0.62, 12 + rise / 14)
    lift = 0.42 * rise
    path = f"M{x1:.1f} {y1:.1f}C{x1 + bow:.1f} {y1 - lift:.1f} {x2 + bow:.1f} {y2 + lift:.1f} {x2:.1f} {y2:.1f}"
    return PlacedEdge(edge.writer, edge.reader, edge.reader, edge.part, edge.strength, path, said)


def _spread(node: Node, towards: float) -> float:
    """Where on a wide box an edge begins or ends: on the side of its other end."""
    half = node.width / 2 - (10 if node.kind == "end" else 4)
    return node.x + max(-half, min(half, (towards - node.x) * 0.55))
