"""A circuit as SVG: layers upwards, heads across, edges by strength; what is hovered over tells its figures.

Takes the `drawing` block of a record. In a page the colours are the page's and tooltips its own; a file that stands
alone brings both along (light and dark, no script, nothing from the network).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from assay.record.graph import Drawing
from assay.report import style
from assay.report.charts.places import Layout, PlacedEdge, layout
from assay.report.plain import plain_text
from assay.report.words import count, number, power

MOST = 1_000  # edges that are drawn; the others are counted
_PARTS = {"q": "queries", "k": "keys", "v": "values"}


@dataclass(frozen=True)
class Picture:
    """A drawing and what stands beside it.

    Attributes:
        svg: the text of the drawing, safe to put into a page.
        drawn, left_out, unplaced: edges drawn, weaker ones that are not, and those whose ends the model does not have.
        edges: the drawn ones, strongest first.
    """

    svg: str
    drawn: int
    left_out: int
    unplaced: int
    edges: tuple[PlacedEdge, ...]


def draw(
    drawing: Drawing,
    *,
    standalone: bool = False,
    unit: str = "strength",
    title: str = "",
    strengths: Mapping[str, str] | None = None,
) -> Picture:
    """The circuit as SVG text.

    Args:
        standalone: for a file of its own, with the colours and the hover texts inside.
        unit: what an edge's strength is called; strengths: in words, by the edge's name.
        title: said to those who cannot see the drawing, and above a stand-alone one.
    """
    placed = layout(drawing, strengths or {})
    edges = sorted(placed.edges, key=lambda edge: -abs(edge.strength or 0.0))
    kept = edges[:MOST]
    strongest = max((abs(edge.strength or 0.0) for edge in kept), default=0.0)
    paths = [_edge(edge, strongest, unit, standalone) for edge in reversed(kept)]  # the strongest lie on top
    nodes = [*_links(placed, kept), *_nodes(placed, kept, unit, standalone)]
    legend, deep = _legend(placed, kept, strongest, unit)
    top = 26 if standalone and title else 0
    size = f"{placed.width:g} {placed.height + deep + top:g}"
    said = escape(plain_text(title or f"{count(len(kept))} edges"), quote=True)
    head = f'<svg class="circuit" viewBox="0 {-top} {size}" role="img" aria-label="{said}"'
    if standalone:
        wide, high = size.split()
        head += f' xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}"'
        background = f'<rect class="back" x="0" y="{-top}" width="{wide}" height="{high}"/>'
        shown = f'<text class="title" x="12" y="-6">{escape(plain_text(title))}</text>' if top else ""
        inside = f"<style>{_STYLE}</style>{background}{shown}"
    else:
        head += f' style="max-width:{placed.width:g}px;min-width:{min(placed.width, 720.0):g}px"'
        inside = ""
    labels = "".join(_text(x, y, text, "label", align) for x, y, text, align in placed.labels)
    svg = (
        f'{head}>{inside}<g class="rows">{labels}</g><g class="edges" fill="none">{"".join(paths)}</g>'
        f'<g class="nodes">{"".join(nodes)}</g><g class="legend">{"".join(legend)}</g></svg>'
    )
    left = drawing.left_out + len(edges) - len(kept)
    return Picture(svg, len(kept), left, placed.unplaced, tuple(kept))


def _edge(edge: PlacedEdge, strongest: float, unit: str, standalone: bool) -> str:
    share = (abs(edge.strength) / strongest) ** 0.5 if edge.strength is not None and strongest else 0.35
    wide, shown = 0.7 + 4.3 * share, 0.22 + 0.63 * share
    kind = f"e {edge.part or 'o'}" + (" minus" if edge.strength is not None and edge.strength < 0 else "")
    ends = f'data-w="{edge.writer}" data-r="{edge.node}"'  # both are names that the layout knows, never a user's text
    tip = f"{edge.name}\n{unit} {said(edge)}" if edge.strength is not None else edge.name
    hover, inner = _hover(tip, standalone)
    look = f'stroke-width="{wide:.2f}" stroke-opacity="{shown:.2f}"'
    paths = f'<path class="hit" d="{edge.path}"/><path d="{edge.path}" {look}/>'
    return f'<g class="{kind}" {ends}{hover}>{inner}{paths}</g>'


def _nodes(placed: Layout, edges: Sequence[PlacedEdge], unit: str, standalone: bool) -> list[str]:
    out = []
    into: dict[str, list[PlacedEdge]] = {}
    out_of: dict[str, list[PlacedEdge]] = {}
    for edge in edges:
        into.setdefault(edge.node, []).append(edge)
        out_of.setdefault(edge.writer, []).append(edge)
    for name, node in placed.nodes.items():
        reads, read = into.get(name, []), out_of.get(name, [])
        x, y, w, h = node.x, node.y, node.width, node.height
        if not (reads or read):
            if node.kind != "kv":
                out.append(f'<circle class="idle" cx="{x:.1f}" cy="{y:.1f}" r="{min(2.2, w / 4):.1f}"/>')
            continue
        hover, inner = _hover(_told(name, reads, read, unit), standalone)
        box = f'<rect x="{x - w / 2:.1f}" y="{y - h / 2:.1f}" width="{w:.1f}" height="{h:.1f}" rx="{node.round:g}"/>'
        label = _text(x, y + 3.6, node.label, "", "middle") if node.label else ""
        out.append(f'<g class="n {node.kind}" data-n="{name}"{hover}>{inner}{box}{label}</g>')
    return out


def _links(placed: Layout, edges: Sequence[PlacedEdge]) -> list[str]:
    """Faint lines from a shared key or value group to the heads that read it."""
    used = {edge.node for edge in edges}
    return [f'<path class="link" d="{path}"/>' for group, path in placed.links if group in used]


def _told(name: str, reads: Sequence[PlacedEdge], read: Sequence[PlacedEdge], unit: str) -> str:
    """A node's hover text: how many edges come in and go out, and the strongest of each."""
    by_part = [(part, sum(edge.part == part for edge in reads)) for part in _PARTS]
    split = ", ".join(f"{part} {count(n)}" for part, n in by_part if n)
    lines = [f"{name}: reads {count(len(reads))} edge{'s' * (len(reads) != 1)}" + (f" ({split})" if split else "")]
    lines[0] += f", is read by {count(len(read))}"
    for what, edges in (("from", reads), ("to", read)):
        for edge in edges[:3]:  # the strongest: edges come in that order
            other = edge.writer if what == "from" else edge.reader
            part = f" ({edge.part})" if edge.part else ""
            size = f": {said(edge)}" if edge.strength is not None else ""
            lines.append(f"{what} {other}{part}{size}")
    return "\n".join(lines)


def _hover(text: str, standalone: bool) -> tuple[str, str]:
    """An attribute for the page's own tooltip, or an element for the viewer's."""
    if standalone:
        return "", f"<title>{escape(text)}</title>"
    return f' data-tip="{escape(text, quote=True)}"', ""


def _legend(placed: Layout, edges: Sequence[PlacedEdge], strongest: float, unit: str) -> tuple[list[str], float]:
    """What colours, widths and dashes mean, and how much room that takes."""
    entries: list[tuple[str, str, str]] = []  # class, attributes of the line, text
    used = {edge.part for edge in edges}
    for part, name in _PARTS.items():
        if part in used:
            side = {"q": "left", "k": "middle", "v": "right"}[part]
            entries.append((f"e {part}", 'stroke-width="2.4"', f"to {name} (lands {side})"))
    if None in used:
        entries.append(("e o", 'stroke-width="2.4"', "to an MLP or the logits" if used - {None} else "an edge"))
    if any(edge.strength is not None and edge.strength < 0 for edge in edges):
        entries.append(("e o minus", 'stroke-width="2"', f"negative {unit}"))
    if strongest:
        for share in (1.0, 0.25, 0.04):
            look = f'stroke-width="{0.7 + 4.3 * share**0.5:.2f}" stroke-opacity="{0.22 + 0.63 * share**0.5:.2f}"'
            entries.append(("e o", look, f"{unit} {_figure(strongest * share)}"))
    out, x, y = [], 12.0, placed.height + 16.0
    for kind, look, text in entries:
        wide = 34 + 6.1 * len(text) + 18
        if x + wide > placed.width and x > 12:
            x, y = 12.0, y + 18
        out.append(f'<g class="{kind}"><path d="M{x:g} {y:g}h24" {look}/></g>' + _text(x + 30, y + 3.6, text, "key"))
        x += wide
    return out, (y - placed.height + 14 if entries else 0.0)


def _figure(value: float | None) -> str:
    if value is None:
        return "not known"
    if value and not 1e-3 <= abs(value) < 1e5:
        return power(value)
    places = 0 if abs(value) >= 100 else 2 if abs(value) >= 1 else 4 if abs(value) < 0.1 else 3
    return number(value, places)


def said(edge: PlacedEdge) -> str:
    """An edge's strength in words."""
    return plain_text(edge.said) if edge.said else _figure(edge.strength)


def _text(x: float, y: float, text: str, kind: str, align: str = "start") -> str:
    extra = f' class="{kind}"' if kind else ""
    anchor = "" if align == "start" else f' text-anchor="{align}"'
    return f'<text x="{x:.1f}" y="{y:.1f}"{anchor}{extra}>{escape(text)}</text>'


def _colours(colours: Mapping[str, str], back: str, card: str) -> str:
    return (
        f".back{{fill:{back}}}text{{fill:{colours[style.INK]}}}.label,.key{{fill:{colours[style.MUTED]}}}"
        f".n rect{{fill:{card};stroke:{colours[style.INK]}}}.idle{{fill:{colours[style.CONTROL]}}}"
        f".link{{stroke:{colours[style.CONTROL]}}}"
        f".q path{{stroke:{colours[style.CLAIM]}}}.k path{{stroke:{colours[style.MODEL]}}}"
        f".v path{{stroke:{colours[style.FLOOR]}}}.o path{{stroke:{colours[style.RIVAL]}}}"
    )


_LIGHT = {colour: colour for colour in style.DARK}
_STYLE = (
    f"text{{font:10px {style.FONT}}}.title{{font-size:13px;font-weight:600}}.edges path{{fill:none}}.link{{fill:none}}"
    ".minus path{stroke-dasharray:5 4}.edges .hit{stroke:transparent;stroke-width:9;stroke-dasharray:none}"
    ".edges .e:hover path:not(.hit){stroke-opacity:1;stroke-width:5}.n rect{stroke-width:1.1}"
    + _colours(_LIGHT, "#fbfaf6", "#ffffff")
    + f"@media(prefers-color-scheme:dark){{{_colours(style.DARK, '#161614', '#1e1e1b')}}}"
    + ".edges .hit{stroke:transparent!important}"
)
