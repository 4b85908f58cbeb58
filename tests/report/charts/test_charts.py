"""Charts are drawn from the record alone, and saved without a network."""

import re
from pathlib import Path
from typing import Any

import pytest

from assay.errors import UserError
from assay.report import style, words
from assay.report.charts import charts
from tests.report import records


def _rows(chart, layer: int) -> list[dict]:
    spec = chart.to_dict()
    return spec["datasets"][spec["layer"][layer]["data"]["name"]]


@pytest.mark.parametrize("name", charts.PICTURES)
def test_each_picture_is_saved_as_png_and_svg(name, tmp_path):
    chart = charts.picture(records.measured("several" if name == "parts" else "program"), name)
    png = charts.save(chart, tmp_path / "a.png").read_bytes()
    svg = charts.save(chart, tmp_path / "a.svg").read_text()
    assert png.startswith(b"\x89PNG")
    assert len(png) > 5000
    assert (svg.startswith("<svg") and charts.CLAIM in svg) or name == "slices"


def _chart(draw: Any, record: dict[str, Any], *more: Any) -> Any:
    chart = draw(records.measured(record), *more)
    assert chart is not None
    return chart


def _drawn(chart: Any) -> list[dict[str, Any]]:
    return [row for rows in chart.to_dict()["datasets"].values() for row in rows]


def test_every_control_is_a_dot_that_names_itself_beside_the_claim_on_the_same_rows():
    record = records.data()
    groups = record["controls"]["groups"]
    for group in groups:
        group["claim"] = records.estimate(0.642, 0.05)
    rows = _drawn(_chart(charts.controls, record))
    told = {(row["name"], row["text"]) for row in rows if row.get("kind") in ("control", "near")}
    far = ", ".join(row["text"] for row in rows if row.get("name") == "further left").split(", ")
    for group in groups:
        for name, value in zip(group["names"], group["values"], strict=True):
            assert (name, words.said(value)) in told or f"{name} {words.said(value)}" in far
    levels = [row for row in rows if row.get("name") == "the claim, on the same rows" and row["x"] == 0.642]
    assert len(levels) == 1 + sum(bool(group["values"]) for group in groups)  # one a row, and its label
    bands = [row for row in rows if row.get("to") == pytest.approx(0.692) and row["x"] == pytest.approx(0.592)]
    assert len(bands) == len(levels) - 1


def test_equal_controls_lie_above_one_another():
    record = records.data()
    group = record["controls"]["groups"][0]
    group |= {"values": [0.2] * 5 + [0.9], "names": [f"a0.h{i}" for i in range(6)]}
    dots = [row for row in _drawn(_chart(charts.controls, record)) if row.get("name", "").startswith("a0.h")]
    equal = [row["y"] for row in dots if row.get("x") == 0.2]
    assert len(set(equal)) == len(equal) == 5


def test_a_control_far_below_and_a_claim_below_all_keep_the_chart_readable():
    record = records.data()
    group = record["controls"]["groups"][0]
    names = [f"c{i}" for i in range(32)]
    group |= {"values": [-900.0, *[0.1] * 30, 0.621], "names": names, "claim": records.estimate(0.621, 0.03)}
    rows = _drawn(_chart(charts.controls, record))
    (far,) = [row for row in rows if row.get("name") == "further left" and "c0" in row["text"]]
    assert (far["word"], far["text"]) == ("◂ 1", "c0 −900.00")
    assert min(row["x"] for row in rows if "x" in row) > -2
    group |= {"values": [-0.3] * 12, "claim": records.estimate(-4.0, 0.6)}
    rows = _drawn(_chart(charts.controls, record))
    assert min(row["x"] for row in rows if "x" in row) <= -4.6


def test_a_name_in_the_length_chart_lies_on_no_other_and_on_no_point():
    record = records.data()
    spec = _chart(charts.length, record).to_dict()
    named = [layer for layer in spec["layer"] if layer["mark"]["type"] == "text"]
    shown = [row["name"] for layer in named for row in spec["datasets"][layer["data"]["name"]]]
    assert {"claim", "unigram"} <= set(shown)
    assert max(shown.count(name) for name in shown) <= 2  # once in a narrow chart, once in a broad one
    crowd = [
        {"name": f"number {i}", "kind": "rival", "bits": 10.0, "kl": 1.0, "low": 1.0, "high": 1.0} for i in range(20)
    ]
    far = {"name": "far", "kind": "claim", "bits": 1e6, "kl": 0.1, "low": 0.1, "high": 0.1}
    for width in (charts.NARROW, charts.BROAD):
        placed = charts._places([*crowd, far], width)
        names = [row["name"] for rows in placed.values() for row in rows]
        assert "far" in names
        assert 1 < len(names) < 8  # as many as there is room for around one point


def test_nothing_to_draw_is_none_or_said():
    record = records.data()
    record["compute"]["points"] = []
    record["controls"]["groups"] = []
    empty = records.measured(record)
    assert charts.scaling(empty) is charts.controls(empty) is None
    assert charts.tokens(None, "mean") is None
    assert charts.tokens(records.examples(), "zero") is None
    with pytest.raises(UserError, match="nothing to draw as 'scaling'"):
        charts.picture(empty, "scaling")
    with pytest.raises(UserError, match="no chart 'scalling'; did you mean 'scaling'"):
        charts.picture(empty, "scalling")
    with pytest.raises(UserError, match=r"not as '.gif'"):
        charts.save(charts.picture(records.measured()), Path("a.gif"))


def test_an_undefined_figure_is_a_word_and_a_share_far_below_zero_is_told_at_the_edge():
    record = records.data()
    record["table"] = record["table"][:3]
    record["table"][1]["recovered"] = records.estimate(None, reason="the floor is not told apart")
    record["table"][2]["recovered"] = records.estimate(-35.04, 2.0)
    found = [row for rows in _chart(charts.recovered, record).to_dict()["datasets"].values() for row in rows]
    (word,) = [row for row in found if row.get("word") == "undefined"]
    assert "value" not in word
    assert word["text"].startswith("undefined, because the floor is not told apart")
    assert "◂ −35.0" in [row.get("word") for row in found]


def test_parts_stand_beside_the_compound_and_an_open_end_reaches_the_edge():
    record = records.data("several")
    shown = zip(record["parts"]["components"], (0.71, 0.44, None), strict=True)
    for row, value in shown:
        row["recovered"] = records.estimate(value, 0.05, reason="nothing")
    record["parts"]["components"][1]["recovered"] |= {"low": None, "reason": "the floor's lower end is 0"}
    record["parts"]["compound"]["recovered"] = records.estimate(0.62, 0.05)
    names = [row["component"] for row in record["parts"]["components"]]
    rows = _drawn(_chart(charts.parts, record))
    points = [(row["name"], row["kind"], row["x"]) for row in rows if set(row) == {"name", "kind", "text", "y", "x"}]
    alone = [(names[0], "one alone", 0.71), (names[1], "one alone", 0.44), ("all at once", "all at once", 0.62)]
    assert points == alone
    spans = {(row["name"], row["x"], row["to"]) for row in rows if row.get("kind") and "to" in row}
    assert (names[1], 0.0, 0.44) in spans
    assert [row["name"] for row in rows if row.get("word") == "undefined"] == [names[2]]
    record = records.data("remove")
    row = {"component": "a1.h3", "floor": "bigram", **{k: v for k, v in record["table"][0].items() if k in _FIGURES}}
    record["parts"] |= {"components": [row], "compound": None}
    assert "KL when removed" in charts.picture(records.measured(record), "parts").to_json(validate=False)


_FIGURES = ("recovered", "recovered_loss", "kl_explained", "kl_floor", "loss_floor", "nines", "necessity", "nats")


def test_marks_on_the_compute_axis_carry_the_intervals_of_the_losses():
    record = records.measured()
    found = {name: loss for name, loss, _ in charts.marks_of(record)}
    assert record.headline_row is not None
    assert found == {
        "model": record.losses.model,
        "explained": record.losses.explained,
        "floor": record.headline_row.loss_floor,
    }
    assert str(found["floor"].low) in charts.picture(record, "scaling").to_json(validate=False)


def test_every_colour_of_a_chart_has_a_dark_counterpart():
    import json
    import re

    for name in charts.PICTURES:
        record = records.measured("several" if name == "parts" else "program")
        used = set(re.findall(r'"(#[0-9a-f]{6})"', json.dumps(charts.picture(record, name).to_dict())))
        assert used <= set(style.DARK)


def test_controls_of_a_remove_claim_are_drawn_by_kl():
    record = records.data("remove")
    record["controls"]["groups"][0] |= {"values": [0.01, 0.2, 0.3], "claim": records.estimate(0.61, 0.05)}
    text = _chart(charts.controls, record).to_json(validate=False)
    assert "KL when removed, nats a token" in text
    assert "recovered" not in text
    assert '"x": 0.61' in text


def test_each_chart_of_the_picture_of_a_run_keeps_its_own_colours():
    svg = charts.drawn(charts.card(records.measured()), "svg").decode()
    points = re.findall(r'<path aria-label="([^"]*)"[^>]*aria-roledescription="point"[^>]*fill="([^"]*)"', svg)
    fills = {re.findall(r"kind: (\w+)", said)[0]: fill for said, fill in points}
    assert fills["headline"] == charts.CLAIM
    assert fills["control"] == charts.INK


def test_a_share_that_does_not_lead_says_of_what_it_is():
    record = records.data()
    assert "of the KL" not in str(_chart(charts.recovered, record).to_dict())
    record["task"] |= {"metric": "logit_diff", "kind": "prompts"}
    record["headline"]["recovered_loss"] = records.estimate(0.86, 0.05)
    for draw in (charts.recovered, charts.controls):
        assert "recovered of the KL (R_D)" in str(_chart(draw, record).to_dict())
