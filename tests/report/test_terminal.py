"""What the terminal says is in the record, undefined with its reason, and no text of a user is read as markup."""

import io

import pytest
from rich.console import Console

from assay.report import terminal, words
from tests.report import fixture


def _printed(renderable, width=110) -> str:
    sink = io.StringIO()
    Console(file=sink, width=width, color_system=None).print(renderable)
    return sink.getvalue()


@pytest.mark.parametrize("width", [80, 140])
def test_the_figures_of_the_issue_are_printed_whole(width):
    text = _printed(terminal.measurement(fixture.record(), "runs/demo/report.html"), width)
    assert max(map(len, text.splitlines())) <= width
    once = " ".join(text.split())
    expected = ["(level: how)", "0.62 [0.59, 0.65]", "0.39", "0.081 → 0.031", "p = 0.010", "18.2 Mbit stand-alone"]
    expected += ["2 fired (ablation-sensitive, tiny scope)", "In one sentence: FIXTURE", "report runs/demo/report.html"]
    for part in [*expected, "next: assay measure runs/demo/claim.yaml"]:
        assert part in once
    assert "because the floor is not told apart from the model" in once
    assert "…" not in text


def test_markup_and_escapes_in_names_are_text():
    record = fixture.record()
    record["claim"]["sentence"] = "[red]a[/red] \x1b[31m [/nothing]"
    record["checks"][1]["name"] = "[bold]x[/]"
    text = _printed(terminal.measurement(record))
    assert "[red]a[/red] ␛[31m [/nothing]" in text
    assert "[bold]x[/]" in text
    assert "\x1b" not in text


def test_an_empty_record_prints_without_an_error():
    assert "undefined, because" in _printed(terminal.measurement({"schema": 1}))
    assert _printed(terminal.compare([{}, {}]))
    assert terminal.as_markdown({})


def test_compare_warns_of_what_differs():
    one, two = fixture.record(), fixture.record()
    caveat = terminal.compare_caveat([one, two])
    assert "paired by document" in caveat
    assert "Mind" not in caveat
    two["task"]["fingerprint"] = "other"
    two["claim"]["scope"] = ["a0.h1"]
    caveat = terminal.compare_caveat([one, two])
    assert "not paired" in caveat
    assert "scopes differ" in caveat
    text = _printed(terminal.compare([one, two], ["runs/a", "runs/b"]), 120)
    assert text.count("0.62 [0.59, 0.65]") == 2


def test_markdown_cells_cannot_break_the_table():
    record = fixture.record()
    record["table"][0]["ablation"] = "a|b\n<i>"
    row = terminal.as_markdown(record).splitlines()[4]
    assert row.startswith("| **a\\|b↵\\<i\\>** | ablated | 0.62 [0.59, 0.65] |")


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (fixture.estimate(0.624, 0.03), "0.62 [0.59, 0.65]"),
        (fixture.estimate(0.99934, 0.0002), "0.9993 [0.9991, 0.9995]"),
        (fixture.estimate(-0.004, 0.02), "0.00 [−0.02, 0.02]"),
        ({"value": 0.5, "low": 0.4, "high": None, "n": 3, "reason": "unbounded"}, "0.50 [0.40, open]"),
        (fixture.estimate(None, reason="no family."), "undefined, because no family"),
        (None, "undefined, because it was not measured"),
        (0.5, "0.50"),
    ],
)
def test_figures_are_said_with_their_interval_or_reason(figure, text):
    if isinstance(figure, dict) and figure["value"] == -0.004:
        figure = {**figure, "low": -0.024, "high": 0.016}
    assert words.said(figure) == text


def test_numbers_keep_their_sign_and_size():
    assert words.number(-0.001, 2) == "0.00"
    assert words.value_text(-0.00012) == "−0.00012"
    assert words.value_text(3.1e-9) == "3.1 × 10⁻⁹"
    assert words.number(-1.5, 2) == "−1.50"
    assert words.number(0.0, 2) == "0.00"
    assert words.count(24735) == "24,735"
    assert words.count(None) == "—"
    assert words.bits(412) == "412 bits"
    assert words.bits(18_230_144) == "18.2 Mbit"
    assert words.bits(None) == "not counted"
    assert words.percent(fixture.estimate(0.62, 0.03)) == "62 % [59, 65]"
    assert words.percent(0.0) == "0 %"
