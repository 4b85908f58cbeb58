"""Charts are drawn from the record alone, and saved without a network."""

from pathlib import Path
from typing import Any

import pytest

from assay.errors import UserError
from assay.report import charts, style
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


def test_the_histogram_holds_every_control_once_and_the_claim():
    record = records.data()
    for index in (0, 1):
        group = record["controls"]["groups"][index]
        group["claim"] = records.estimate(0.642, 0.05)
        chart = _chart(charts.controls, record, index)
        assert sum(row["n"] for row in _rows(chart, 0)) == group["n"]
        assert (_rows(chart, 2)[0]["value"], _rows(chart, 2)[0]["low"]) == (0.642, pytest.approx(0.592))


def test_a_control_far_below_and_a_claim_below_all_keep_the_chart_readable():
    record = records.data()
    group = record["controls"]["groups"][0]
    group |= {"values": [-900.0, *[0.1] * 30, 0.621], "claim": records.estimate(0.621, 0.03)}
    rows = _rows(_chart(charts.controls, record), 0)
    assert sum(row["n"] for row in rows) == 32
    assert min(row["from"] for row in rows) > -2
    group |= {"values": [-0.3] * 12, "claim": records.estimate(-4.0, 0.6)}
    domain = _chart(charts.controls, record).to_dict()["layer"][0]["encoding"]["x"]["scale"]["domain"]
    assert domain[0] <= -4.6


def test_nothing_to_draw_is_none_or_said():
    record = records.data()
    record["compute"]["points"] = []
    record["controls"]["groups"][0] |= {"values": [], "nats": [], "n": 0}
    empty = records.measured(record)
    assert charts.scaling(empty) is charts.controls(empty) is charts.controls(empty, 99) is None
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
    chart = _chart(charts.parts, record)
    names = [row["component"] for row in record["parts"]["components"]]
    layers = [_rows(chart, layer) for layer in (1, 2, 3)]
    kinds = [(row["name"], row["kind"]) for row in layers[0]]
    assert kinds == [(names[0], "one alone"), (names[1], "one alone"), ("all at once", "all at once")]
    assert [(row["name"], row["from"], row["to"]) for row in layers[1]] == [(names[1], 0.0, 0.44)]
    assert [row["name"] for row in layers[2]] == [names[2]]
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
    assert "KL, nats a token" in text
    assert "recovered" not in text
    assert '"value": 0.61' in text
