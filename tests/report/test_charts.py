"""Charts are drawn from the record alone, and saved without a network."""

from pathlib import Path

import pytest

from assay.errors import UserError
from assay.report import charts, style
from tests.report import fixture


def _rows(chart, layer: int) -> list[dict]:
    spec = chart.to_dict()
    return spec["datasets"][spec["layer"][layer]["data"]["name"]]


@pytest.mark.parametrize("name", charts.PICTURES)
def test_each_picture_is_saved_as_png_and_svg(name, tmp_path):
    chart = charts.picture(fixture.record(), name)
    png = charts.save(chart, tmp_path / "a.png").read_bytes()
    svg = charts.save(chart, tmp_path / "a.svg").read_text()
    assert png.startswith(b"\x89PNG")
    assert len(png) > 5000
    assert (svg.startswith("<svg") and charts.CLAIM in svg) or name == "slices"


def test_the_histogram_holds_every_control_once_and_the_claim():
    for index, n in ((0, 100), (1, 28)):
        chart = charts.controls(fixture.record(), index)
        assert chart is not None
        assert sum(row["n"] for row in _rows(chart, 0)) == n
        assert (_rows(chart, 2)[0]["value"], _rows(chart, 2)[0]["low"]) == (0.642, 0.592)  # on the controls' own rows
        assert "0.621" not in chart.to_json(validate=False)  # the headline is on other rows


def test_a_control_at_the_claims_figure_or_far_below_keeps_the_chart_readable():
    record = fixture.record()
    record["controls"]["groups"] = [{"values": [-900.0, *[0.1] * 30, 0.621], "claim": fixture.estimate(0.621, 0.03)}]
    chart = charts.controls(record)
    assert chart is not None
    rows = _rows(chart, 0)
    assert sum(row["n"] for row in rows) == 32
    assert min(row["from"] for row in rows) > -2
    record["controls"]["groups"] = [{"values": [0.3]}]
    assert charts.controls(record) is not None


def test_a_claim_below_all_controls_stays_inside_its_chart():
    record = fixture.record()
    record["controls"]["groups"] = [{"values": [-0.3] * 12, "claim": fixture.estimate(-4.0, 0.6)}]
    chart = charts.controls(record)
    assert chart is not None
    domain = chart.to_dict()["layer"][0]["encoding"]["x"]["scale"]["domain"]
    assert domain[0] <= -4.6


def test_nothing_to_draw_is_none_or_said():
    for draw in charts.PICTURES.values():
        assert draw({}) is None
    assert charts.tokens(None, "mean") is None
    assert charts.tokens(fixture.examples(), "zero") is None
    with pytest.raises(UserError, match="nothing to draw as 'scaling'"):
        charts.picture({}, "scaling")
    with pytest.raises(UserError, match="no chart 'scalling'; did you mean 'scaling'"):
        charts.picture({}, "scalling")
    with pytest.raises(UserError, match=r"not as '.gif'"):
        charts.save(charts.picture(fixture.record()), Path("a.gif"))


def test_an_undefined_figure_is_a_word_and_not_drawn_at_zero():
    chart = charts.recovered(fixture.record())
    assert chart is not None
    layers = [_rows(chart, i) for i in range(3)]
    assert [len(rows) for rows in layers] == [4, 4, 1]
    assert (layers[2][0]["word"], "value" in layers[2][0]) == ("undefined", False)
    assert layers[2][0]["text"].startswith("undefined, because the floor is not told apart")


def test_parts_stand_beside_the_compound_and_an_open_end_reaches_the_edge():
    chart = charts.parts(fixture.record())
    assert chart is not None
    drawn, dashed, words = _rows(chart, 1), _rows(chart, 2), _rows(chart, 3)
    assert [row["name"] for row in drawn] == ["a1.h3", "a1.h6", "all at once"]
    assert [row["kind"] for row in drawn] == ["one alone", "one alone", "all at once"]
    assert [(row["name"], row["from"], row["to"]) for row in dashed] == [("a1.h6", 0.0, 0.44)]
    assert "open" in dashed[0]["text"]
    assert [row["name"] for row in words] == ["a0.a-head-with-a-long-name"]
    domain = chart.to_dict()["layer"][1]["encoding"]["y"]["scale"]["domain"]
    assert domain == ["a1.h3", "a1.h6", "a0.a-head-with-a-long-name", "all at once"]
    figures = {"necessity": fixture.estimate(0.2, 0.1), "kl_explained": fixture.estimate(1.7, 0.1)}
    removed = {"component": "a1.h3", **figures}
    text = charts.picture({"parts": {"components": [removed], "compound": None}}, "parts").to_json(validate=False)
    assert "KL when removed" in text
    assert "1.7" in text


def test_a_share_far_below_zero_is_told_at_the_edge():
    chart = charts.recovered({"table": [{"ablation": "mean", "recovered": fixture.estimate(-35.04, 2.0)}]})
    assert chart is not None
    spec = chart.to_dict()
    words = [row.get("word") for rows in spec["datasets"].values() for row in rows]
    assert "◂ −35.0" in words


def test_marks_on_the_compute_axis_carry_the_intervals_of_the_losses():
    record = fixture.record()
    for name in ("model", "explained", "floor"):  # as a measurement stores them: the loss alone
        mark = record["compute"]["marks"][name]
        mark["loss"] = mark["loss"]["value"]
    found = {name: loss for name, loss, _ in charts.marks_of(record)}
    assert found["model"] == record["losses"]["model"]
    assert found["floor"] == record["table"][0]["loss_floor"]
    chart = charts.scaling(record)
    assert chart is not None
    assert str(record["table"][0]["loss_floor"]["low"]) in chart.to_json(validate=False)


def test_every_colour_of_a_chart_has_a_dark_counterpart():
    import json
    import re

    record = fixture.record()
    for name in charts.PICTURES:
        used = set(re.findall(r'"(#[0-9a-f]{6})"', json.dumps(charts.picture(record, name).to_dict())))
        assert used <= set(style.DARK)


def test_controls_of_a_remove_claim_are_drawn_by_kl():
    record = fixture.record()
    record["headline"] |= {"necessity": fixture.estimate(0.4, 0.1), "kl": fixture.estimate(0.66, 0.04)}
    own = fixture.estimate(0.61, 0.05)
    record["controls"]["groups"][0] |= {"measure": "kl", "values": [0.01, 0.2, 0.3], "claim": own}
    chart = charts.controls(record)
    assert chart is not None
    text = chart.to_json(validate=False)
    assert "KL, nats a token" in text
    assert "recovered" not in text
    assert '"value": 0.61' in text
