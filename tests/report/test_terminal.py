"""What the terminal says is in the record, undefined with its reason, and no text of a user is read as markup."""

import io

import pytest
from rich.console import Console

from assay.report import compared, find_terminal, terminal, words
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


def test_nothing_in_the_name_of_a_run_folder_is_obeyed():
    evil = "runs/a\x1b[31m\u202eb\nc/report.html"
    shown = _printed(terminal.measurement(fixture.record(), evil, f"assay measure {evil}"))
    shown += _printed(find_terminal.table({"schema": 1}, evil, f"assay measure {evil}"))
    shown += _printed(compared.compare([fixture.record(), {}], [evil, "b"]))
    assert shown.count("report runs/a␛[31m�b↵c/report.html") == 2
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_an_empty_record_prints_without_an_error():
    assert "undefined, because" in _printed(terminal.measurement({"schema": 1}))
    assert _printed(compared.compare([{}, {}], ["a", "b"]))
    assert terminal.as_markdown({})


def test_a_group_of_controls_is_a_plain_sentence():
    group = {"what": "100 random programs", "n": 100, "values": [0.1, 0.2, 0.4], "p": 0.01}
    assert terminal.group_line(group) == "100 random programs: median 0.20, best 0.40, p = 0.010"
    empty = {"what": "the largest parts", "n": 0, "values": [], "reason": "this is the claim itself"}
    assert terminal.group_line(empty) == "the largest parts: not scored, because this is the claim itself"
    flat = {"what": "other heads", "n": 3, "values": [None, None, None]}
    assert terminal.group_line(flat) == (
        "3 × other heads: not scored, because ablating the parts of each changes nothing (under 10⁻⁶ nats a token)"
    )
    alone = {"what": "the largest parts: " + ", ".join(f"a0.h{i}" for i in range(8)), "n": 1, "values": [0.72]}
    assert terminal.group_line(alone) == (
        "the largest parts: a0.h0, a0.h1, a0.h2, a0.h3, a0.h4, a0.h5 and 2 more: 0.72"
    )
    removed = {"what": "other parts", "n": 3, "values": [0.012, 0.3, 0.1], "measure": "kl", "p": 1.0}
    assert terminal.group_line(removed) == "3 × other parts: median KL 0.100, largest 0.300, p = 1"


def test_a_figure_without_its_interval_has_no_more_digits_than_it_can_bear():
    record = fixture.record()
    record["losses"]["model"] = fixture.estimate(-1.5963172, 1e-7)
    record["table"][0]["kl_floor"] = fixture.estimate(0.0000412, 1e-7)
    text = _printed(terminal.measurement(record), 140)
    assert "−1.596 " in text
    assert "0.000041 → 0.031" in text


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


def test_the_ladder_says_why_a_share_has_no_interval():
    record = fixture.record()
    text = " ".join(_printed(terminal.measurement(record)).split())
    assert "by 90 % 0.97 [0.95, 0.99], 99 % 1.00 [0.98, 1.02]" in text
    reason = "4.0 % of the resamples have no finite value"
    for rung in record["compute"]["ladder"]:
        rung["share"] |= {"low": None, "high": None, "reason": reason}
    text = " ".join(_printed(terminal.measurement(record)).split())
    assert f"by 90 % 0.97, 99 % 1.00 (no interval: {reason})" in text
    record["compute"]["ladder"][1]["share"] |= {"high": 0.99}
    text = " ".join(_printed(terminal.measurement(record)).split())
    assert f"by 90 % 0.97 [open, 0.99], 99 % 1.00 (no interval: {reason})" in text


def test_the_claims_figure_on_the_controls_rows_and_the_paired_difference_are_printed():
    text = " ".join(_printed(terminal.measurement(fixture.record())).split())
    assert "the claim's own figure is 0.64 [0.59, 0.69]; its headline, on everything that is scored, is 0.62" in text
    assert "a1.h0, a1.h2: 0.31, the claim less this 0.33 [0.29, 0.37]" in text
    record = fixture.record()
    record["controls"] |= {"random_weights": None, "random_weights_reason": "nothing was searched"}
    assert "random weights not measured, because nothing was searched" in _printed(terminal.measurement(record))


def test_tries_are_printed_with_the_adjusted_p():
    text = " ".join(_printed(terminal.measurement(fixture.record())).split())
    assert "this is claim 1 of 3 tried on this split; p = 0.069, Holm-adjusted for 3 tries 0.138" in text
    record = fixture.record() | {"register": {"tried": 2, "this": 1}}  # an older record
    text = " ".join(_printed(terminal.measurement(record)).split())
    assert "this is claim 1 of 2 tried on this split" in text
    assert "Holm" not in text


def test_large_counts_have_their_thousands_separated():
    group = {"what": "12,345 random programs", "n": 12345, "values": [0.1, 0.2]}
    assert terminal.group_line(group) == "12,345 random programs: median 0.15, best 0.20"
    assert terminal.group_line(group | {"what": "random programs"}).startswith("12,345 × random programs")


def test_a_figure_that_is_nearly_nothing_is_not_printed_as_zeros():
    assert words.said(fixture.estimate(3e-12, 1e-12), 3) == "3.0 × 10⁻¹² [2.0 × 10⁻¹², 4.0 × 10⁻¹²]"
    assert words.said(fixture.estimate(0.0, 0.0), 3) == "0.000 [0.000, 0.000]"
    assert words.percent(fixture.estimate(1 - 1e-12, 0.0)) == "100 % [100, 100]"


def test_only_fits_that_were_cut_off_are_told_in_the_terminal():
    record = fixture.record()
    fit = {"what": "optimal constants of 6 parts", "rows": 32, "held": 16, "start": 3.44, "reached": 2.93}
    record["reference"] = {"statistics": None, "fits": [{**fit, "settled": True}]}
    assert "optimal constants" not in _printed(terminal.measurement(record))
    record["reference"]["fits"].append({**fit, "settled": False})
    assert "Fitted: optimal constants of 6 parts: KL 3.440 → 2.930 on 16 held-out rows, cut off" in " ".join(
        _printed(terminal.measurement(record)).split()
    )


def test_of_many_fits_a_few_are_listed_and_the_rest_counted():
    fit = {"what": "optimal constants of 6 parts", "rows": 32, "held": 16, "start": 3.44, "reached": 2.93}
    fits = [{**fit, "settled": place != 9} for place in range(10)]
    listed = words.fitted({"reference": {"fits": fits}})
    assert len(listed) == words.FITS + 1
    assert listed[-1] == ("Fitted besides", f"{10 - words.FITS} more, 1 of them cut off, in measurement.json")


def test_the_nines_of_every_row_are_the_certified_ones():
    record = fixture.record()
    row = next(row for row in record["table"] if not row.get("headline"))
    row |= {"nines": {"value": 0.58, "low": 0.51, "high": 0.66, "n": 30}, "nines_text": "0.51 nines over bigram"}
    cells = next(line for line in _printed(terminal.measurement(record), 140).splitlines() if "0.51" in line)
    assert "0.58" not in cells
