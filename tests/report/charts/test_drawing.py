"""The drawing has every edge that the model has, where its ends are, and as wide as it is strong; nothing else."""

import re
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest

from assay.record.graph import Drawing, EdgeRecord
from assay.report.charts import drawing, graph
from assay.report.charts.places import layout
from tests.report import records

SVG = "{http://www.w3.org/2000/svg}"


def _drawn(svg: str) -> ET.Element:
    return ET.fromstring(svg)


def _edges(root: ET.Element) -> list[ET.Element]:
    (group,) = [g for g in root.iter(f"{SVG}g") if g.get("class") == "edges"]
    return list(group)


def _block(*edges: EdgeRecord, **sizes: Any) -> Drawing:
    given = {"layers": 2, "heads": 2, "kv_heads": 2, "mlps": (True, True), "left_out": 0} | sizes
    return Drawing(**given, edges=edges)


def _edge(writer: str, reader: str, part: str | None = None, strength: float | None = 1.0) -> EdgeRecord:
    return EdgeRecord(writer=writer, reader=reader, part=part, strength=strength)


def _random(layers: int = 12, heads: int = 12, edges: int = 300, mlp: bool = True) -> Drawing:
    """Random distinct edges that a model of this shape has, with heavy-tailed strengths."""
    rng = np.random.default_rng(0)
    order = ["input"]
    for layer in range(layers):
        order += [f"a{layer}.h{h}" for h in range(heads)] + ([f"m{layer}"] if mlp else [])
    found: dict[tuple[str, str, str | None], EdgeRecord] = {}
    while len(found) < edges:
        to = int(rng.integers(1, len(order) + 1))
        reader = "logits" if to == len(order) else order[to]
        before = to if reader[0] in "lm" else order.index(f"a{reader[1:].split('.')[0]}.h0")
        writer = order[int(rng.integers(0, before))]
        part = str(rng.choice(["q", "k", "v"])) if reader[0] == "a" else None
        strength = float(rng.lognormal(-4, 1.3)) * (-1 if rng.random() < 0.2 else 1)
        found.setdefault((writer, reader, part), _edge(writer, reader, part, strength))
    rows = sorted(found.values(), key=lambda edge: -abs(edge.strength or 0.0))
    return _block(*rows, layers=layers, heads=heads, kv_heads=heads, mlps=(mlp,) * layers, left_out=17)


def test_300_edges_of_12_layers_are_all_drawn_the_strongest_on_top():
    block = _random()
    picture = drawing.draw(block, standalone=True, unit="score", title="FIXTURE")
    edges = _edges(_drawn(picture.svg))
    assert (picture.drawn, picture.left_out, picture.unplaced, len(edges)) == (300, 17, 0, 300)
    widths = [float(edge.findall(f"{SVG}path")[-1].get("stroke-width") or 0) for edge in edges]
    assert widths == sorted(widths)
    assert widths[-1] == 5.0
    negative = sum((edge.strength or 0) < 0 for edge in block.edges)
    assert sum("minus" in (edge.get("class") or "") for edge in edges) == negative > 10
    assert len(picture.svg) < 400_000


def test_a_width_grows_with_the_square_root_of_the_strength():
    picture = drawing.draw(_block(_edge("input", "m0", None, -4.0), _edge("input", "m1", None, 1.0)), standalone=True)
    weak, strong = (float(e.findall(f"{SVG}path")[-1].get("stroke-width") or 0) for e in _edges(_drawn(picture.svg)))
    assert strong - 0.7 == pytest.approx(2 * (weak - 0.7), abs=0.01)


def test_layers_go_upwards_and_heads_across():
    nodes = layout(_random(3, 4, 10), {}).nodes
    order = ["input", "a0.h0", "m0", "a1.h0", "m1", "a2.h0", "m2", "logits"]
    heights = [nodes[name].y for name in order]
    assert heights == sorted(heights, reverse=True)
    assert len({nodes[f"a1.h{h}"].y for h in range(4)}) == 1
    across = [nodes[f"a1.h{h}"].x for h in range(4)]
    assert across == sorted(across)
    assert "m0" not in layout(_random(3, 4, 10, mlp=False), {}).nodes


def test_an_edge_leaves_its_writer_at_the_top_and_enters_its_reader_from_below():
    block = _block(*(_edge("a0.h0", "a1.h1", part) for part in "qkv"))
    found = layout(block, {})
    writer, reader = found.nodes["a0.h0"], found.nodes["a1.h1"]
    ends = [[float(x) for x in re.findall(r"-?[\d.]+", edge.path)] for edge in found.edges]
    for numbers in ends:
        assert numbers[1] == pytest.approx(writer.y - writer.height / 2, abs=0.06)
        assert numbers[-1] == pytest.approx(reader.y + reader.height / 2, abs=0.06)
        assert abs(numbers[-2] - reader.x) <= reader.width / 2
    assert ends[1][-2] == pytest.approx(reader.x, abs=0.06)
    assert ends[0][-2] < ends[1][-2] < ends[2][-2]


@pytest.mark.parametrize(
    "wrong",
    [
        _edge("a1.h0", "a0.h1", "q"),  # backwards
        _edge("a0.h0", "a0.h1", "q"),  # of one layer
        _edge("a0.h9", "logits"),  # no such head
        _edge("logits", "input"),
        _edge("m0", "m0"),
        _edge("<script>", "logits"),
    ],
)
def test_an_edge_that_the_model_does_not_have_is_counted_and_not_drawn(wrong):
    picture = drawing.draw(_block(wrong, _edge("input", "logits")))
    assert (picture.drawn, picture.unplaced) == (1, 1)
    assert "script" not in picture.svg


def test_shared_keys_and_values_have_a_box_under_their_heads():
    block = _block(_edge("input", "a1.kv1", "k"), heads=4, kv_heads=2)
    nodes = layout(block, {}).nodes
    assert nodes["a1.kv1"].x == pytest.approx((nodes["a1.h2"].x + nodes["a1.h3"].x) / 2)
    assert nodes["a1.h2"].y < nodes["a1.kv1"].y < nodes["m0"].y
    assert drawing.draw(block).svg.count('class="link"') == 2
    assert "kv" not in "".join(layout(_block(heads=4, kv_heads=4), {}).nodes)


def test_hover_texts_are_the_pages_or_the_files_own():
    block = _block(_edge("a0.h1", "a1.h0", "k", 0.25), _edge("input", "a0.h1", "v", -0.5))
    page, alone = drawing.draw(block, unit="score"), drawing.draw(block, standalone=True, unit="score")
    assert 'data-tip="a0.h1 → a1.h0 (k)\nscore 0.250"' in page.svg
    assert "<title>" not in page.svg
    assert "<title>input → a0.h1 (v)\nscore −0.500</title>" in alone.svg
    assert "data-tip" not in alone.svg
    assert "a0.h1: reads 1 edge (v 1), is read by 1\nfrom input (v): −0.500\nto a1.h0 (k): 0.250" in alone.svg


def test_strengths_that_are_not_known_are_not_drawn_as_if_they_were():
    picture = drawing.draw(_block(_edge("input", "m0", None, None), _edge("input", "m1", None, None)), unit="score")
    assert {edge.strength for edge in picture.edges} == {None}
    assert len(set(re.findall(r'stroke-width="([\d.]+)" stroke-opacity', picture.svg))) == 1
    assert "score" not in picture.svg


def test_a_file_needs_nothing_from_anywhere_and_runs_nothing():
    evil = "</title><script>alert(1)</script> \x1b[31m ]]>"
    text = drawing.draw(_random(2, 2, 6), standalone=True, title=evil).svg
    root = _drawn(text)  # well formed
    assert {element.tag for element in root.iter()} <= {f"{SVG}{t}" for t in _TAGS}
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "url(" not in text
    assert "prefers-color-scheme:dark" in text
    assert "\x1b" not in text


_TAGS = ("svg", "style", "rect", "text", "g", "path", "title", "circle")


def test_a_circuit_without_an_edge_is_said_in_words():
    said = graph.picture(_block())
    assert "no edge that could be drawn" in said["lines"][0]


def test_more_edges_than_can_be_told_apart_are_counted():
    block = _random(12, 12, drawing.MOST + 50)
    picture = drawing.draw(block)
    assert (picture.drawn, picture.left_out) == (drawing.MOST, 67)
    kept = min(abs(edge.strength or 0) for edge in picture.edges)
    assert sum(abs(edge.strength or 0) > kept for edge in block.edges) == drawing.MOST - 1


def test_the_record_saves_its_drawing():
    assert graph.save(records.measured()) is None
    record = records.measured("circuit")
    saved = graph.save(record)
    assert saved is not None
    drawn = record.own and record.own.graph
    assert drawn is not None
    assert len(_edges(_drawn(saved))) == len(drawn.drawing.edges)
    assert record.model.name in saved
