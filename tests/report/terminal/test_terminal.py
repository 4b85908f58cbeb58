"""What the terminal says is in the record, undefined with its reason, and no text of a user is read as markup."""

import re
from typing import Any

import pytest

from assay.cli.output import print_cost
from assay.record.about import STOPPED
from assay.record.controls import ControlGroup
from assay.report import words
from assay.report.cells import as_markdown, group_line
from assay.report.terminal import compared
from assay.report.terminal import find as find_terminal
from assay.report.terminal.card import Card, telling
from assay.report.terminal.sections import section
from assay.report.words import interval_text
from assay.stats.estimate import Estimate
from tests.report import records
from tests.report.printed import once, printed


def estimate(*figures: Any, **more: Any) -> Estimate:
    return Estimate.from_json(records.estimate(*figures, **more))


def test_markup_and_escapes_in_names_are_text():
    record = records.data()
    record["claim"]["sentence"] = "[red]a[/red] \x1b[31m [/nothing]"
    record["checks"][1] |= {"name": "[bold]x[/]", "state": "fired"}
    text = printed(Card(records.measured(record)))
    assert "[red]a[/red] ␛[31m [/nothing]" in text
    assert "[bold]x[/]" in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (estimate(0.624, 0.03), "0.62 [0.59, 0.65]"),
        (estimate(0.99934, 0.0002), "0.9993 [0.9991, 0.9995]"),
        (Estimate(-0.004, -0.024, 0.016, 90), "0.00 [−0.02, 0.02]"),
        (Estimate(0.5, 0.4, None, 3, "unbounded"), "0.50 [0.40, open]"),
        (estimate(None, reason="no family."), "undefined, because no family"),
        (None, "undefined, because it was not measured"),
        (0.5, "0.50"),
    ],
)
def test_figures_are_said_with_their_interval_or_reason(figure, text):
    assert words.said(figure) == text


def test_numbers_keep_their_sign_and_size():
    assert words.number(-0.001, 2) == "0.00"
    assert words.value_text(-0.00012) == "−0.00012"
    assert words.value_text(3.1e-9) == "3.1 × 10⁻⁹"
    assert words.number(-1.5, 2) == "−1.50"
    assert words.number(0.0, 2) == "0.00"
    assert words.count(24735) == "24,735"
    assert words.bits(412) == "412 bits"
    assert words.bits(18_230_144) == "18.2 Mbit"
    assert words.bits(None) == "not counted"
    assert words.percent(estimate(0.62, 0.03)) == "62 % [59, 65]"
    assert words.percent(0.0) == "0 %"


def test_a_figure_that_is_nearly_nothing_is_not_printed_as_zeros():
    assert words.said(estimate(3e-12, 1e-12), 3) == "3.0 × 10⁻¹² [2.0 × 10⁻¹², 4.0 × 10⁻¹²]"
    assert words.said(estimate(0.0, 0.0), 3) == "0.000 [0.000, 0.000]"
    assert words.said(Estimate(0.000047, 0.0, 0.00013, 16), 3) == "0.00005 [0.00000, 0.00013]"
    assert words.percent(estimate(1 - 1e-12, 0.0)) == "100 % [100, 100]"


def group(**changes: Any) -> ControlGroup:
    """The first group of the demo's controls, changed."""
    values = changes.get("values", ())
    return records.measured().controls.groups[0].model_copy(update={"n": len(values), "p": None, **changes})


@pytest.mark.parametrize("name", ["program", "several", "remove", "circuit"])
def test_a_card_has_at_most_24_lines_of_100_columns_and_the_figures_that_decide(name):
    record = records.data(name)
    record["checks"] = [check | {"state": "fired"} for check in record["checks"]]
    shown = records.measured(record)
    text = printed(Card(shown, "runs/demo/report.html", "assay again"), 140)
    lines = text.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100
    head = shown.headline
    figure = f"KL {words.said(head.kl, 3)}" if shown.removal else f"recovered {words.said(head.recovered)}"
    assert figure in text
    assert f"level: {shown.level}" in text
    assert lines[-2:] == ["  report runs/demo/report.html", "  next: assay again"]
    assert re.search(f"  ▲ also .*{shown.checks[3].name}, {shown.checks[4].name}", text)


@pytest.mark.parametrize(
    ("low", "high", "said", "bar"),
    [
        (0.5, 0.75, "It recovers 62 % [50, 75] of what is lost", "▕" + "█" * 20 + "▒" * 10 + "░" * 10 + "▏"),
        (-0.25, 0.25, "It is not shown to do better", "▕" + "▒" * 10 + "░" * 30 + "▏"),
        (-0.75, -0.25, "It does worse than its floor", "◂" + "░" * 40 + "▏"),
        (1.1, 1.3, "It recovers 120 % [110, 130]", "▕" + "█" * 40 + "▸"),
    ],
)
def test_the_bar_and_the_sentence_say_the_same(low, high, said, bar):
    record = records.data()
    figure = records.estimate((low + high) / 2, (high - low) / 2)
    record["headline"]["recovered"] = figure
    record["table"][0]["recovered"] = figure
    text = printed(Card(records.measured(record)), 100)
    assert said in text
    assert bar in text


def test_the_slice_that_stands_out_is_the_one_of_the_page():
    record = records.data()
    rows = record["residual"]["slices"]["repeat"]
    for row, kl, share in zip(rows, (0.237, 0.1, 0.05), (0.52, 0.30, 0.18), strict=True):
        row |= {"kl": records.estimate(kl, 0.01), "share": share}
    shown = " ".join(printed(Card(records.measured(record))).split())
    assert "Of what is left, 52 % falls on 13 % of the tokens: tokens that follow the same token as before" in shown
    for row in rows:
        row["kl"] |= {"low": 0.0}
    assert "Of what is left, 52 %" not in " ".join(printed(Card(records.measured(record))).split())


def test_an_undefined_headline_has_its_reason_and_no_bar():
    record, nothing = records.data(), records.estimate(None, reason="the gap is not resolved")
    record["headline"]["recovered"] = nothing
    record["table"][0]["recovered"] = nothing
    text = printed(Card(records.measured(record)), 100)
    assert "recovered: undefined, because the gap is not resolved" in text
    assert "▕" not in text


def test_what_does_as_well_is_named():
    record = records.data()
    said = "No control does as well: the best has 0.45 (other programs); p = 0.125, the least"
    assert said in printed(Card(records.measured(record)), 100)
    group = record["controls"]["groups"][0]
    group["values"][0] = 1.01
    assert f"A control does as well: 1.01 ({group['name']})" in printed(Card(records.measured(record)), 100)
    lone = {"p": None, "difference": records.estimate(-0.01, 0.02), "values": [1.02], "name": "top attribution", "n": 1}
    record["controls"]["groups"].append(group | lone)
    said = "A control does as well: 1.02 (top attribution), the claim"
    (line,) = (x for x in printed(Card(records.measured(record)), 100).splitlines() if said in x)
    assert "p =" not in line  # that of another group
    record["rivals"][0]["recovered"] = records.estimate(0.9999, 0.0)
    name = record["rivals"][0]["name"]
    assert f"A simpler system does as well or better: {name} recovers" in printed(Card(records.measured(record)), 100)


def test_a_metric_of_the_tasks_own_stands_beside_kl():
    record = records.data()
    record["task"]["metric"] = "logit_diff"
    record["table"][0]["recovered_loss"] = records.estimate(0.86, 0.05)
    record["task"]["kind"] = "prompts"
    record["headline"]["recovered_loss"] = record["table"][0]["recovered_loss"]
    record["losses"]["model"] = records.estimate(-3.25, 0.5)
    record["table"][0] |= {"loss_floor": records.estimate(0.5, 0.25), "loss_explained": records.estimate(-2.5, 0.25)}
    text = printed(Card(records.measured(record)), 100)
    assert "recovered 86 % [81, 91] of the logit difference over mean ablation" in text
    assert "The logit difference: floor −0.50, explained 2.50, model 3.25 logits." in text
    assert "In its predictions it recovers 99.90 % [99.86, 99.93], 2.8 nines: KL 0.387 → 0.00041 nats." in text
    assert "of logit difference" in text
    assert "−0.50 → 2.50 → 3.25" in text
    assert len(text.splitlines()) <= 24
    assert max(map(len, text.splitlines())) <= 100


def test_long_sentences_are_wrapped_and_cost_rows_and_no_words():
    record = records.data()
    record["rivals"][0] |= {"recovered": records.estimate(0.9999, 0.0), "name": "a rival with a name " * 6}
    text = printed(Card(records.measured(record)), 100)
    assert "…" not in text
    assert len(text.splitlines()) <= 24
    assert " ".join(text.split()).count("a rival with a name") == 6
    assert "more rows: --section floors" in text


def test_an_undefined_share_is_one_word_in_a_column_and_its_reason_stands_below():
    record = records.data()
    record["task"]["metric"] = "accuracy"
    record["table"][1]["recovered_loss"] = records.estimate(None, reason="the gap is not resolved")
    text = printed(section(records.measured(record), "floors"), 200)
    name = f"{record['table'][1]['ablation']}, {record['table'][1]['floor']}"
    assert text.count("the gap is not resolved") == 1
    assert f"Undefined: of the accuracy ({name}), because the gap is not resolved" in text


def test_without_intervals_values_stand_and_the_reason_is_saidonce():
    record, why = records.data(), "too few documents for an interval: 6 documents"
    open_ends = {"low": None, "high": None, "reason": why}
    record["headline"]["recovered"] |= open_ends
    for row in record["table"]:
        for name in ("recovered", "recovered_loss", "kl_floor", "kl_explained"):
            row[name] |= open_ends
    text = printed(Card(records.measured(record)), 100)
    assert " ".join(text.split()).count(why) == 1
    assert "…" not in text
    assert "It recovers 9" in text
    assert "not shown to do better" not in text


@pytest.mark.parametrize(("name", "rows"), [("rivals", "rivals"), ("parts", "components")])
def test_undefined_figures_of_rivals_and_parts_have_their_reason_below_the_table(name, rows):
    record = records.data("several")
    table = record["rivals"] if name == "rivals" else record["parts"][rows]
    table[0]["recovered"] = records.estimate(None, reason="the gap is not resolved")
    table[1]["recovered"] |= {"low": None, "high": None, "reason": "too few documents"}
    text = printed(section(records.measured(record), name), 200)
    assert text.count("Undefined: recovered, because the gap is not resolved") == 1
    assert text.count("No interval: too few documents") == 1
    assert "(no interval" not in text


def test_every_check_has_advice():
    assert {check.name for check in records.measured().checks} == set(words.ADVICE)


def test_a_removal_is_printed_by_what_it_costs():
    record = records.data("remove")
    text = printed(Card(records.measured(record)))
    assert "when removed" in text
    assert " more" in text
    assert "recovered" not in text
    assert "necessity" in once(record, "floors")


def test_a_long_claim_has_two_lines_and_its_level():
    record = records.data()
    record["claim"]["sentence"] = "; ".join(f"r{i}@-1 carries 'v{i}'" for i in range(6))
    lines = printed(Card(records.measured(record))).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("  CLAIM"))
    assert "…" not in lines[at] + lines[at + 1]
    assert lines[at + 1].endswith("'v5'   level: how")
    record["claim"]["sentence"] += "; r9 carries more than there is room for on two lines of a terminal" * 2
    lines = printed(Card(records.measured(record))).splitlines()
    assert lines[at + 1].endswith("…   level: how")
    assert "RESULT" in lines[at + 2]
    assert all(len(line) <= 100 for line in lines)


def test_what_is_next_is_not_what_was_run():
    record = records.data()
    for check in record["checks"]:
        check["state"] = "passed"
    assert telling(records.measured(record)) == "worst"
    record["checks"][0]["state"] = "fired"
    assert telling(records.measured(record)) == "checks"


def test_nothing_in_the_name_of_a_run_folder_is_obeyed():
    evil = "runs/a\x1b[31m\u202eb\nc/report.html"
    shown = printed(Card(records.measured(), evil, f"assay measure {evil}"))
    shown += printed(find_terminal.table(records.searched(), evil, f"assay measure {evil}"))
    shown += printed(compared.compare([records.measured()] * 2, [evil, "b"]))
    assert shown.count("report runs/a␛[31m�b↵c/report.html") == 2
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_undefined_figures_of_a_search_have_their_reason_below_the_table():
    record = records.data("search")
    assert printed(find_terminal.table(records.searched(record))).count("Undefined: CPR, CMD, because harmful") == 1
    for one in record["methods"]:
        one["mib"] |= {"cpr": records.estimate(0.9), "cmd": records.estimate(0.1)}
    assert "undefined" not in printed(find_terminal.table(records.searched(record)))


def test_a_group_of_controls_is_a_plain_sentence():
    some = group(what="3 random programs", values=(0.1, 0.2, 0.4), p=0.01)
    assert group_line(some) == "3 random programs: median 0.20, best 0.40, p = 0.010"
    empty = group(what="the largest parts", values=(), reason="this is the claim itself")
    assert group_line(empty) == "the largest parts: not scored, because this is the claim itself"
    assert group_line(group(what="other heads", values=(None, None, None))) == (
        "3 × other heads: not scored, because ablating the parts of each changes nothing (under 10⁻⁶ nats a token)"
    )
    alone = group(what="the largest parts: " + ", ".join(f"a0.h{i}" for i in range(8)), values=(0.72,))
    assert group_line(alone) == ("the largest parts: a0.h0, a0.h1, a0.h2, a0.h3, a0.h4, a0.h5 and 2 more: 0.72")
    removed = group(what="other parts", values=(0.012, 0.3, 0.1), measure="kl", p=1.0)
    assert group_line(removed) == "3 × other parts: median KL 0.100, largest 0.300, p = 1"
    assert group_line(group(what="random programs", n=12345, values=(0.1, 0.2))).startswith("12,345 × random")


def test_a_figure_without_its_interval_has_no_more_digits_than_it_can_bear():
    record = records.data()
    record["losses"]["model"] = records.estimate(-1.5963172, 1e-7)
    record["table"][0] |= {"kl_floor": records.estimate(0.0000412, 1e-7), "kl_explained": records.estimate(0.0312)}
    text = printed(Card(records.measured(record)), 140)
    assert "−1.596 " in text
    assert "0.000041 → 0.031" in text


def test_markdown_cells_cannot_break_the_table():
    record = records.data()
    record["table"][0]["ablation"] = "a|b\n<i>"
    row = as_markdown(records.measured(record)).splitlines()[4]
    assert row.startswith("| **a\\|b↵\\<i\\>** | ablated | 0.9990 [0.9986, 0.9993] |")


def test_the_ladder_says_why_a_share_has_no_interval():
    record, reason = records.data(), "4.0 % of the resamples have no finite value"
    told = [rung for rung in record["compute"]["ladder"] if rung["recovered"] in (0.9, 0.99)][:2]
    for rung, value in zip(told, (0.97, 1.0), strict=True):
        rung["share"] = records.estimate(value, 0.02)
    assert "by 90 % 0.97 [0.95, 0.99], 99 % 1.00 [0.98, 1.02]" in once(record, "compute")
    for rung in told:
        rung["share"] |= {"low": None, "high": None, "reason": reason}
    assert f"by 90 % 0.97, 99 % 1.00 (no interval: {reason})" in once(record, "compute")
    told[0]["share"] |= {"high": 0.99}
    assert f"by 90 % 0.97 [open, 0.99], 99 % 1.00 (no interval: {reason})" in once(record, "compute")


def test_the_claims_figure_on_the_controls_rows_and_the_paired_difference_areprinted():
    record = records.data()
    record["controls"]["groups"][0]["claim"] = records.estimate(0.64, 0.05)
    single = next(group for group in record["controls"]["groups"] if group["n"] == 1)
    single |= {"values": [0.31], "what": "a1.h0, a1.h2", "difference": records.estimate(0.33, 0.04)}
    record["controls"] |= {"random_weights": None, "random_weights_reason": "nothing was searched"}
    text = once(record, "controls")
    assert "the claim's own figure is 0.64 [0.59, 0.69]; its headline, on everything that is scored, is 0.999" in text
    assert "a1.h0, a1.h2: 0.31, the claim less this 0.33 [0.29, 0.37]" in text
    assert "random weights: not measured, because nothing was searched" in text


def test_a_command_to_be_copied_is_whole_however_long():
    command = f"assay measure --continue {'long/' * 30}run"
    shown = printed(Card(records.measured(records.data()), f"{'long/' * 30}report.html", command), 100).splitlines()
    assert shown[-1] == f"  next: {command}"
    assert shown[-2] == f"  report {'long/' * 30}report.html"


def test_tries_are_printed_beside_the_controls():
    record = records.data()
    record["tries"] = {"tried": 3, "this": 1, "p": 0.069, "p_holm": 0.138}
    said = "claim 1 of 3 tried on this split; p = 0.069, Holm-adjusted for 3 tries 0.138"
    assert said in once(record, "controls")


def test_fits_that_were_cut_off_are_told_and_of_many_a_few_are_listed():
    record = records.data("several")
    fit = {"what": "optimal constants of 6 parts", "rows": 32, "held": 16, "start": 3.44, "reached": 2.93}
    fit["evaluations"] = 9
    record["reference"]["fits"] = [{**fit, "settled": True}]
    record["reference"]["fits"].append({**fit, "settled": False})
    assert "Fitted: optimal constants of 6 parts: KL 3.440 → 2.930 on 16 held-out rows, cut off" in once(
        record, "measured"
    )
    record["reference"] = {"statistics": None, "fits": [{**fit, "settled": place != 9} for place in range(10)]}
    listed = words.fitted(records.measured(record))
    assert len(listed) == words.FITS + 1
    assert listed[-1] == ("Fitted besides", f"{10 - words.FITS} more, 1 of them cut off, in measurement.json")


def test_the_nines_of_every_row_are_the_certified_ones():
    record = records.data()
    record["table"][1] |= {"nines": records.estimate(0.58, 0.07), "nines_shown": "0.51"}
    lines = printed(Card(records.measured(record)), 140).splitlines()
    assert "0.58" not in next(line for line in lines if "0.51" in line)


@pytest.mark.parametrize("width", [64, 80, 100])
@pytest.mark.parametrize("name", ["program", "several", "remove", "circuit"])
def test_a_narrow_terminal_drops_columns_and_cuts_no_figure(name: str, width: int):
    record = records.measured(name)
    lines = printed(Card(record), width).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(("  floor", "  ablation")))
    end = next(i for i, line in enumerate(lines) if line.startswith(("  ▲", "  ✓")))
    table = lines[start:end]
    assert len(table) > 1
    assert not any("…" in line for line in table), table
    if not record.removal:
        assert interval_text(record.headline.recovered) in table[1]
        assert ("nines" in table[0]) or width < 100 or "of " in table[0]


def test_what_was_not_measured_is_named_with_its_reason_and_the_budget_it_would_have_had():
    given = records.data()
    given["budget"] = {"passes": 2134.0, "stages": [], "wanting": {"rivals": "it did not fit", "controls": STOPPED}}
    given["arguments"]["resolved"]["budget"] = None
    shown = printed(Card(records.measured(given)), 100)
    assert "○ not measured, for want of budget (2,134 passes: a small model's 10¹² operations): rivals\n" in shown
    assert "○ not measured, as the run was stopped or still goes on: controls\n" in shown
    assert len(shown.splitlines()) <= 24
    given["arguments"]["resolved"]["budget"] = 2134
    assert "for want of budget (2,134 passes): rivals" in printed(Card(records.measured(given)), 100)
    assert words.budget_line(40.0, None) == "40 passes"


def test_a_dry_run_says_what_is_allowed(capsys: pytest.CaptureFixture[str]):
    stages = {"headline": {"passes": 3.0, "minutes": 1.0}}
    cost = {"forwards": 30, "minutes": 1.0, "memory_gb": 1.0, "budget": 2134.0, "stages": stages}
    print_cost(cost, as_json=False)
    assert "\nallowed: 2,134 passes: a small model's 10¹² operations\n" in capsys.readouterr().out
    print_cost(cost, as_json=False, budget=2134)
    assert "\nallowed: 2,134 passes\n" in capsys.readouterr().out
    print_cost(cost | {"budget": None}, as_json=False)
    assert "allowed" not in capsys.readouterr().out
