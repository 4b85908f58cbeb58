"""The page of a search: the frontier and its band, figures with intervals, undefined in words, no foreign HTML."""

import json
import re
import shutil
import subprocess
import tempfile
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from assay.report import style, words
from assay.report.charts import frontier, heat
from assay.report.page import find as find_page
from tests.report import records
from tests.report.rendered import EVIL, HIDDEN, Elements, hidden_in, poisoned


def _record() -> dict[str, Any]:
    return records.data("search")


def _words(record) -> str:
    return " ".join(Elements(find_page.render(records.searched(record))).text.split())


def _values(chart) -> list[dict[str, Any]]:
    return [row for rows in chart.to_dict()["datasets"].values() for row in rows]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on this machine")
def test_a_browser_without_network_draws_everything(tmp_path):
    (tmp_path / "report.html").write_text(find_page.render(records.searched()), encoding="utf-8")
    with tempfile.TemporaryDirectory() as profile:
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        command += [f"--user-data-dir={profile}", "--disable-background-networking", "--proxy-server=127.0.0.1:9"]
        command += ["--virtual-time-budget=8000", "--dump-dom", (tmp_path / "report.html").as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert 'data-drawn="6"' in done.stdout  # an overview, two figures that are defined, a band a method
    assert "could not be drawn here" not in Elements(done.stdout).text


def _chosen(record: dict[str, Any]) -> dict[str, Any]:
    method = next(m for m in record["methods"] if m["method"] == record["circuit"]["method"])
    return next(p for p in method["sizes"] if p["edges"] == record["circuit"]["edges"])


def test_the_verdict_has_size_share_interval_and_controls():
    record = _record()
    point = _chosen(record)
    point["recovered"] = records.estimate(0.914, 0.012)
    point["control"] |= {"n": 100, "low": -0.09, "median": 0.01, "high": 0.11, "p": 1 / 101}
    ablation, method = record["ablation"], record["circuit"]["method"]

    def verdict() -> str:
        return find_page.verdict(records.searched(record))

    assert verdict() == (
        f"{point['edges']} of {record['total']} edges ({words.share(point['edges'] / record['total'])}), found by "
        f"{method}, recover 91 % [90, 93] of what is lost with none of them, under {ablation} ablation; of 100 random "
        "circuits of that size the middle one recovers 1 % (90 % of them: [−9, 11] %; p\u00a0=\u00a00.010)."
    )
    point["control"] = None
    assert verdict().endswith("No random circuits of this size were scored.")
    point["recovered"] = records.estimate(None, reason="the floor is not told apart")
    assert "what they recover is undefined, because the floor is not told apart" in verdict()
    record["circuit"]["edges"] = 3
    assert "this size was not scored" in verdict()


def test_every_point_of_the_frontier_carries_its_interval_and_an_undefined_one_its_reason():
    record = _record()
    first = record["methods"][0]
    first["sizes"][0]["recovered"] = records.estimate(0.5, 0.1)
    first["sizes"][1]["recovered"] = records.estimate(None, reason="gap not resolved")
    chart = frontier.overview(records.searched(record))
    (row,) = [row for row in _values(chart) if row.get("method") == first["method"]]
    assert (row["low"], row["value"], row["high"], row["figure"]) == (0.4, 0.5, 0.6, "0.50 [0.40, 0.60]")
    assert "undefined, because gap not resolved" in _words(record)
    first["sizes"][0]["recovered"] = records.estimate(-40.0, 3.0)
    rows = _values(frontier.overview(records.searched(record)))
    assert any(row.get("below") and row["figure"] == "−40.00 [−43.00, −37.00]" for row in rows)
    assert {row["line"] is None for row in rows if row.get("below")} == {True}  # a line to it would have a wrong slope
    assert all(row["line"] == row["value"] for row in rows if row.get("below") is False)
    for point in (point for method in record["methods"] for point in method["sizes"]):
        point["recovered"] = records.estimate(None, reason="nothing")
    assert frontier.overview(records.searched(record)) is None
    assert "No size has a recovered share that is defined." in _words(record)


def test_the_loss_of_another_metric_goes_by_that_metrics_name():
    record = _record()
    assert "Loss of the model" in _words(record)
    record["task"]["metric"] = "logit_diff"
    assert "logit_diff, as a loss, of the model" in _words(record)
    assert "Loss of the model" not in _words(record)


def test_the_band_is_drawn_from_its_ends_and_a_method_without_one_is_named():
    record = _record()
    record["circuit"]["method"] = record["methods"][0]["method"]
    point = record["methods"][0]["sizes"][0]
    rows = [r for r in _values(frontier.band(records.searched(record), 0)) if r.get("controls")]
    row = next(r for r in rows if r["edges"] == point["edges"])
    ends = [max(frontier.LEAST, point["control"][k]) for k in ("low", "median", "high")]
    assert [row["low"], row["median"], row["high"]] == ends
    for point in record["methods"][2]["sizes"]:
        point["control"] = None
    assert frontier.band(records.searched(record), 2) is frontier.band(records.searched(record), 9) is None
    assert f"No random circuits were scored for {record['methods'][2]['method']}." in _words(record)


def test_the_written_circuits_method_comes_first_and_keeps_its_colour():
    record = _record()
    record["circuit"]["method"] = "random"
    found = records.searched(record)
    assert [method.method for method in frontier.methods_of(found)][:2] == ["random", record["methods"][0]["method"]]
    spec = json.dumps(frontier.band(found, 1).to_dict())  # type: ignore[union-attr]
    assert style.SERIES[1] in spec
    assert style.SERIES[0] not in spec
    assert set(re.findall(r'"(#[0-9a-f]{6})"', spec)) <= set(style.DARK)


def test_sizes_areas_warnings_the_leak_and_the_samples_are_on_the_page():
    record = _record()
    record["methods"][0]["sizes"][1]["asked"] = 7777
    record["methods"][0]["mib"] |= {"over_recovery": True, "over_recovery_at": [14]}
    record["selection"] |= {"documents": 48, "rows": 48, "tokens": 12288}
    text = _words(record)
    assert "asked: 7,777" in text
    assert text.count("Over-recovery:") == 1
    assert "MIB's circuit performance ratio" in text
    assert re.search(r"✓ passed ?leak selection and evaluation share 0 documents", text)
    assert "Searched on 48 documents, 48 rows, 12,288 tokens" in text
    record["leak"] |= {"state": "fired", "evidence": "12 documents are in both"}
    assert re.search(r"▲ fired ?leak 12 documents are in both", _words(record))


def test_the_heat_map_has_every_cell_once_and_leaves_out_what_was_not_measured():
    record = _record()
    values = [[0.5, None], [-0.25, 0.125]]
    ends = {"low": [[0.25, None], [-0.5, 0.0]], "high": [[0.75, None], [0.0, 0.25]]}
    record["heat"] = {"rows": ["a0.h1", "m1"], "columns": ["3", "4"], "values": values, **ends, "unit": "KL <b>"}
    block = records.searched(record).heat
    chart = heat.heat(block)
    assert len(_values(chart)) == len(heat.cells(block)) == 3
    assert [row["said"] for row in heat.strongest(block, 1)] == ["0.500 [0.250, 0.750]"]
    assert "What each part does at each position on its own: KL <b>." in _words(record)
    assert heat.heat(None) is None
    assert set(re.findall(r'"(#[0-9a-f]{6})"', json.dumps(chart.to_dict()))) <= set(style.DARK)  # type: ignore[union-attr]


def test_no_text_of_a_user_is_read_as_html_and_nothing_hidden_reaches_the_page():
    record: Any = poisoned(_record())
    for method, plain in zip(record["methods"], _record()["methods"], strict=True):
        method["method"] = plain["method"] + EVIL
    record["circuit"]["method"] = record["methods"][0]["method"]
    found, clean = (Elements(find_page.render(records.searched(one))) for one in (record, _record()))
    assert not any(name.startswith("on") for _, attributes in found.elements for name in attributes)
    assert "img" not in {tag for tag, _ in found.elements}
    assert found.scripts[-2:] == clean.scripts[-2:]
    assert "<script>alert(1)</script>" in found.text
    assert hidden_in(find_page.render(records.searched(poisoned(_record(), evil=HIDDEN)))) == set()


def test_two_renderings_are_the_same_bytes_and_do_not_hold_the_time():
    later = _record()
    later["timing"]["seconds"] = 99999.0
    assert find_page.render(records.searched(later)) == find_page.render(records.searched())


def test_the_saved_drawing_is_a_file_of_its_own():
    assert ET.fromstring(find_page.save_circuit(records.searched())).tag.endswith("svg")
