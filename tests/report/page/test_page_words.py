"""What the page says, by what was measured; what is undefined is said with its reason."""

import re
from typing import Any

import pytest

from assay.report import words
from assay.stats.estimate import Estimate
from tests.report import records
from tests.report.rendered import EVIL, Elements, drawn, examples_in, poisoned, words_of


def test_undefined_is_said_with_its_reason_and_never_as_zero():
    record = records.data()
    nothing = records.estimate(None, reason="the gap is -2 nats")
    record["headline"] |= {"recovered": nothing, "recovered_loss": nothing}
    record["headline"]["nines"] |= {"value": nothing, "certified": nothing, "shown": None}
    record |= {"recovered": nothing, "recovered_loss": nothing, "nines": nothing}
    record["table"] = [record["table"][0] | dict.fromkeys(("recovered", "recovered_loss", "nines"), nothing)]
    reason = "no family of models was given"
    record["compute"] |= {"reason": reason, "recovered": nothing, "share_floor": nothing, "points": [], "marks": {}}
    text = Elements(drawn(record)).text
    assert text.count("undefined, because the gap is −2 nats") >= 5
    assert f"Undefined, because {reason}." in text
    assert "Training compute" not in text
    assert "0.00" not in text.split("Controls")[0]
    assert "None" not in text.replace("None of", "")
    assert not re.findall(r"\bnan\b", text)


def test_a_removal_has_no_row_that_does_not_apply():
    record = records.data("remove")
    text = words_of(record)
    head = text.split("Details")[1]
    assert "KL when removed" in head
    assert "certified" not in head
    for word in ("Necessity", "necessity", "floor:", "Nines"):
        assert word not in text.split("Terms", 1)[0].split("What is missing, and why")[0], word
    assert "Necessity Undefined, because worse than its bigram" in text
    necessity = records.estimate(0.31, 0.02)
    record["headline"]["necessity"] = record["table"][0]["necessity"] = necessity
    text = words_of(record)
    assert "N = 0.31 [0.29, 0.33] of what separates the bigram from the model" in text
    assert "Necessity 0.31 [0.29, 0.33]" in text


def test_a_page_speaks_of_what_is_scored():
    record = records.data("remove")
    for kind, word in (("text", "a token"), ("classify", "an example"), ("prompts", "a prompt")):
        record["task"]["kind"] = kind
        text = words_of(record).split("What was measured")[0]
        assert {other for other in ("a token", "an example", "a prompt") if f"nats {other}" in text} == {word}


def test_a_metric_that_the_task_names_leads_in_its_own_unit():
    record = records.data()
    record["task"] |= {"kind": "prompts", "metric": "logit_diff"}
    record["losses"]["model"] = records.estimate(-3.25, 0.5)
    record["losses"]["explained"] = records.estimate(-2.0, 0.5)
    record["table"][0]["loss_floor"] = records.estimate(0.5, 0.25)
    record["headline"]["recovered_loss"] = records.estimate(0.62, 0.03)
    record["table"][0]["loss_explained"] = records.estimate(-2.0, 0.5)
    text = words_of(record)
    reached = "floor −0.50, explained 2.00, model 3.25 logits"
    assert "Recovers 62 % [59, 65] of the logit difference over mean ablation" in text
    lead = "recovers 62 % [59, 65] of what ablating the same parts (mean) costs in logit difference"
    assert f"{lead} ({reached}). Of what it costs in predictions it recovers 99.90 % [99.86, 99.93]" in text
    assert "Recovered of the logit difference 0.62" in text
    assert "model3.250 [2.750, 3.750]" in text
    assert "floor−0.500 [−0.750, −0.250]" in text
    assert "of the logit difference" in text


def test_a_share_below_the_floor_is_a_bar_to_the_left_of_it():
    record = records.data()
    record["headline"]["recovered"] = record["recovered"] = records.estimate(-0.5, 0.1)
    record["table"][0]["recovered"] = records.estimate(-0.5, 0.1)
    card = drawn(record).split('<div class="card">')[1].split("</div>")[0]
    assert 'class="range below"' in card
    ends = {k: float(v) for k, v in re.findall(r"--([a-z]):([\d.]+)%", card)}
    assert ends["a"] == ends["v"] < ends["b"] == ends["z"]
    assert ends["z"] == pytest.approx(100 * 0.6 / 1.6, abs=0.01)
    text = words_of(record)
    assert "Worse than its floor: recovers −50 % [−60, −40] over mean ablation" in text
    assert "this program computes" not in text
    assert "to the left of 0 is further from the model than its floor is" in text


def test_two_kinds_of_minus_are_not_on_one_page():
    record = records.data()
    record["residual"]["signal"]["text"] = "It recovers -0.10 [-0.71, 0.50]."
    record["checks"][0] |= {"evidence": "from -0.95 to -0.06"}
    record["table"][1]["recovered"] = records.estimate(None, reason="the gap is -0.02 nats")
    text = Elements(drawn(record)).text
    kept = text.split("The command")[0]  # what is run is copied as it is
    assert not re.findall(r"(?<![\w.])-\d", kept)


def test_an_interval_that_is_but_rounding_is_none():
    assert words.percent(Estimate(0.4, 0.4 - 1e-15, 0.4 + 1e-15, 30)).startswith("40 % [40, 40]")


def test_fired_checks_come_first_and_are_told_by_words():
    record = records.data()
    text = words_of(record)
    checks = text[text.index("Known ways in which") :]
    states = re.findall(r"[▲✓?] (fired|passed|unknown)", checks)
    assert len(states) == len(record["checks"])
    assert states == sorted(states, key=("fired", "unknown", "passed").index)
    assert len(set(states)) == 3
    fired = next(check for check in record["checks"] if check["state"] == "fired")
    assert f"▲ {fired['name']} {fired['evidence']}" in text.split("Recovered by floor")[1]


def test_what_a_share_of_a_floors_loss_is_worth_stands_beside_the_curve():
    text = words_of(records.data())
    assert "99.9 %" in text
    assert "zoo:novel-2l" in text
    assert "log-linear" in text
    record = records.data()
    for rung in record["compute"]["ladder"]:
        rung["share"] |= {"low": None, "high": None, "reason": "one document gives none"}
    assert "† no interval: one document gives none." in words_of(record)


def test_the_claim_on_the_controls_rows_and_the_headline_are_told_apart():
    record = records.data()
    record["controls"]["groups"][0]["claim"] = records.estimate(0.64, 0.05)
    record["headline"]["recovered"] = records.estimate(0.62, 0.03)
    assert (
        "where the claim's own figure is 0.64 [0.59, 0.69]; its headline, on everything that is scored, is 0.62 "
        "[0.59, 0.65]." in words_of(record)
    )


def test_every_control_is_listed_by_name_with_the_difference_of_a_single_one():
    record = records.data()
    groups = record["controls"]["groups"]
    place = next(i for i, group in enumerate(groups) if group["n"] == 1)
    group = groups[place]
    group |= {"values": [0.31], "names": ["a1.h0, a1.h2"], "difference": records.estimate(0.33, 0.04)}
    text = words_of(record)
    assert "claim less this 0.33 [0.29, 0.37] a1.h0, a1.h2 0.31" in text
    for name, value in zip(groups[0]["names"], groups[0]["values"], strict=True):
        assert f"{name} {words.number(value, 2)}" in text
    assert "0 of 7 0.125" in text
    group |= {"values": [], "nats": [], "n": 0, "reason": "this is the claim itself"}
    assert f"Not scored: {group['what']}, because this is the claim itself." in words_of(record)


def test_each_component_stands_alone_and_a_reason_stands_where_there_is_none():
    record = records.data("several")
    record["parts"]["components"][0]["recovered"] = records.estimate(0.71, 0.05)
    record["parts"]["compound"]["recovered"] = records.estimate(0.62, 0.05)
    text = words_of(record)
    assert f"{record['parts']['components'][0]['component']} 0.71 [0.66, 0.76]" in text
    assert "all at once 0.62 [0.57, 0.67]" in text
    reason = "Undefined, because the claim has one component, and its figures are the claim's."
    assert f"Each component alone {reason}" in words_of(records.data())


def test_what_is_missing_says_why():
    record = records.data()
    record["controls"] |= {"random_weights": None, "random_weights_reason": "nothing was searched"}
    record |= {"rivals": [], "rivals_reason": "n-grams predict tokens"}
    reason = "stand-alone bits of a module are not defined"
    record["bits"] |= {"claim": {"bits": 40.0, "how": "so"}, "standalone": {"bits": None, "reason": reason}}
    record["bits"] |= {"points": [], "reason": reason}
    text = words_of(record)
    assert "The same search on random weights Undefined, because nothing was searched." in text
    assert "Rivals Undefined, because n-grams predict tokens." in text
    assert f"Length beside rivals Undefined, because {reason}." in text
    assert "Length as a claim 40 bits" in text


def _telling(record: dict[str, Any]) -> None:
    """A record whose repeated tokens hold most of what is left."""
    rows = record["residual"]["slices"]["repeat"]
    for row, kl, share in zip(rows, (0.237, 0.1, 0.05), (0.52, 0.30, 0.18), strict=True):
        row |= {"kl": records.estimate(kl, 0.01), "share": share}


def test_the_slice_that_stands_out_is_said():
    record = records.data()
    _telling(record)
    text = words_of(record).split(" Details ")[1]
    said = (
        "52 % of the KL that is left falls on tokens that follow the same token as before in the window, which are 13 %"
    )
    assert text.count(said) == 2  # in the verdict, and above the examples
    assert re.search(r"\(0\.237 nats each against 0\.0\d\d elsewhere\)", text)
    for row in record["residual"]["slices"]["repeat"]:
        row["kl"] |= {"low": 0.0}  # its lower end is no longer above the others'
    assert said not in words_of(record)


def test_the_worst_examples_have_what_each_run_makes_of_every_token():
    record = records.data()
    row = record["residual"]["worst"][1]
    at = next(i for i, token in enumerate(row["text"]) if token["kl"] == row["kl"])
    row["text"][at] |= {
        "top_model": [[" the", 0.71], [" a", 0.2]],
        "top_explained": [[EVIL, 0.5]],
        "top_floor": [["\n", 0.25]],
        "kl_floor": 2.5,
    }
    row["slices"] = {"source": "fr", "repeat": "new in the window"}
    data = examples_in(record)
    example = data["examples"][1]
    assert [name for _, name in data["runs"]] == ["model", "explanation", "floor"]
    assert example["focus"] == at
    assert example["slices"] == ["source:fr", "repeat:new in the window"]
    _, figures = example["tokens"][at]
    assert [tops for *_, tops in figures] == [[[" the", 0.71], [" a", 0.2]], [[EVIL, 0.5]], [["↵", 0.25]]]
    assert [kl for _, kl, _ in figures] == [0.0, pytest.approx(row["kl"], rel=1e-3), 2.5]
    scored = [token["kl"] is not None for token in row["text"]]
    assert [figures is not None for _, figures in example["tokens"]] == scored
    text = words_of(record)
    assert "model “ the” 0.71, “ a” 0.20" in text


def test_examples_are_in_the_order_that_their_head_says():
    record = records.data()
    record["residual"]["worst"].reverse()
    order = [example["order"]["kl"] for example in examples_in(record)["examples"]]
    assert order == sorted(order, reverse=True)
    assert len(set(order)) > 1


def test_slices_lead_to_their_examples():
    record = records.data()
    for place, row in enumerate(record["residual"]["worst"]):
        row["slices"] = {"source": ("en", "fr", "python")[place % 3]}
    rendered = drawn(record)
    links = re.findall(r'<a href="#worst" data-filter="(source:[a-z]+)"', rendered)
    options = re.findall(r'<option value="(source:[a-z]+)"', rendered)
    assert links == options == ["source:en", "source:fr", "source:python"]


def test_an_example_of_a_classifier_is_its_class_and_what_each_run_holds_for_likely():
    record = records.data()
    record["task"]["kind"] = "classify"
    token = {"token": "3", "kl": 1.5, "kl_floor": 2.0, "loss_model": 0.1, "loss_explained": 2.0, "loss_floor": 1.0}
    token |= {"top_model": [["3", 0.9]], "top_explained": [["8", 0.6]], "top_floor": [["3", 0.1]]}
    row = {"document": "example 7", "row": 7, "position": 0, "token": "3", "kl": 1.5, "row_kl": 1.5, "text": [token]}
    record["residual"]["worst"] = [row]
    assert "3example 7model “3” 0.90explanation “8” 0.60" in words_of(record)
    assert examples_in(record)["examples"][0]["tokens"][0][1][1][2] == [["8", 0.6]]


def test_the_adjusted_p_stands_beside_k_of_m():
    record = records.data()
    record["tries"] = {"tried": 3, "this": 1, "p": 0.069, "p_holm": 0.138, "without_p": 1}
    assert "Claim 1 of 3 tried on this split; p = 0.069, Holm-adjusted for 3 tries 0.138 (1 without a p" in words_of(
        record
    )
    record["tries"] = {"tried": 2, "this": 2, "p": None, "p_holm": None, "without_p": 2}
    assert "no p to adjust, because no group of controls gives one" in words_of(record)


def test_a_circuit_is_drawn_with_its_figures_and_its_undefined_ones_in_words():
    record = records.data("circuit")
    graph, sides, complete, _ = record["own"]["pieces"]
    graph |= {"total": 1519, "edges": 57, "live": 40, "nodes": 9}
    sides["rows"][0][1] = records.estimate(0.81, 0.03)
    sides["rows"][1][1] = records.estimate(None, reason="the floor is not told apart")
    record["own"]["terms"] = {"completeness": "What it means to be complete."}
    complete["rows"] = [["a0.h0", complete["rows"][0][1], 0.5]] * 9 + [["a0.h1, m0", 0.25, 0.125]] * 3
    rendered = drawn(record)
    text = words_of(record)
    assert rendered.count('<svg class="circuit"') == 1
    assert "57 of 1,519 edges (3.8 %), 40 of them on a path from input to logits, 9 nodes." in text
    assert "the circuit alone: every edge that it lacks is ablated 0.810 [0.780, 0.840]" in text
    assert "its edges are ablated, the others kept undefined, because the floor" in text
    assert 'data-tip="What it means to be complete."' in rendered
    assert "2 more knocked out KL loss gap a0.h1, m0 0.250 0.125" in text
    assert re.search(r"KL rise [−\d.]+ \[", rendered)  # the edges' strengths are rises, with their intervals
    graph |= {"strength": "score", "strengths": {}, "note": "They have no intervals."}
    assert "They have no intervals." in words_of(record)
    assert not re.search(r"KL rise [−\d.]+ \[", drawn(record))


def test_no_text_in_a_circuit_is_read_as_html():
    record: Any = poisoned(records.data("circuit"))
    found = Elements(drawn(record))
    assert not any(name.startswith("on") for _, attributes in found.elements for name in attributes)
    assert "img" not in {tag for tag, _ in found.elements}
    assert "8 edges are not drawn, because the model has no such parts" in found.text


def test_what_only_a_kind_says_is_drawn_without_knowing_it():
    record = records.data()
    sentence = {"piece": "sentence", "text": f"Said {EVIL}"}
    table = {"piece": "table", "title": "A table", "columns": ["part", "share"], "rows": []}
    table["rows"] = [["a1.h0", records.estimate(0.5, 0.1)], ["m1", 0.25], ["m2", None]]
    line = [[1.0, records.estimate(0.5, 0.1)], [2.0, records.estimate(None, reason="none")]]
    series = {"piece": "series", "title": "A line", "x": "size", "y": "share", "lines": {"one": line}}
    heat = {"piece": "heat map", "rows": ["a0.h0"], "columns": ["1"], "values": [[0.5]], "unit": "KL"}
    tokens = {"piece": "tokens", "title": "A strip", "tokens": [{"token": "word", "kl": 0.1}]}
    graph = records.data("circuit")["own"]["pieces"][0]
    record["own"] = {"block": "scaled", "pieces": [sentence, table, series, heat, tokens, graph], "notes": ["Note it."]}
    text = words_of(record)
    assert drawn(record).count('<svg class="circuit"') == 1
    for part in (
        f"Said {EVIL}",
        "8 of 82 edges",
        "What only this claim says",
        "Note it.",
        "a1.h0 0.500 [0.400, 0.600]",
        "m1 0.250",
        "A line",
        "A strip",
        "word",
    ):
        assert part in text
    assert "spec-own-2" in drawn(record)
    assert "spec-own-3" in drawn(record)


def test_what_was_taken_from_the_reference_and_what_fits_reached_is_on_the_page():
    record = records.data("several")
    record["reference"]["statistics"] = {"rows": 192, "tokens": 49_152}
    record["reference"]["fits"] = record["reference"]["fits"][:1]
    record["reference"]["fits"][0] |= {"what": "optimal constants", "held": 16, "start": 3.44, "reached": 2.93}
    text = words_of(record)
    assert "192 reference rows, 49,152 tokens" in text
    assert "Fitted: optimal constants KL 3.440 → 2.930 on 16 held-out rows" in text
