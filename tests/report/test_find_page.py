"""The page of a search: the frontier and its band, figures with intervals, undefined in words, no foreign HTML."""

import copy
import json
import re
import shutil
import subprocess
import tempfile
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from assay.report import find_page, frontier, heat, style
from tests.report import circuit_fixture, fixture
from tests.report.test_page import HIDDEN, _Elements, _poisoned, hidden_in

FRONTIER = circuit_fixture.frontier()


def _record() -> dict[str, Any]:
    return copy.deepcopy(FRONTIER)


def _words(record) -> str:
    return " ".join(_Elements(find_page.render(record)).text.split())


def _values(chart) -> list[dict[str, Any]]:
    return [row for rows in chart.to_dict()["datasets"].values() for row in rows]


def test_the_verdict_has_size_share_interval_and_controls():
    record = _record()
    point = next(p for p in record["methods"][0]["sizes"] if p["edges"] == record["circuit"]["edges"])
    point["recovered"] = fixture.estimate(0.914, 0.012)
    point["control"] = {"n": 100, "low": -0.09, "median": 0.01, "high": 0.11, "best": 0.15, "p": 1 / 101}
    assert find_page.verdict(record) == (
        f"{point['edges']} of 32,491 edges (0.43 %), chosen by attribution, recover 91 % [90, 93] of what is lost with "
        "none of them, under resample_joint ablation; of 100 random circuits of that size the middle one recovers 1 % "
        "(90 % of them: [−9, 11] %; p\u00a0=\u00a00.010)."
    )
    point["control"] = None
    assert find_page.verdict(record).endswith("No random circuits of this size were scored.")
    point["recovered"] = fixture.estimate(None, reason="the floor is not told apart")
    assert "what they recover is undefined, because the floor is not told apart" in find_page.verdict(record)
    record["circuit"]["edges"] = 142
    assert "this size was not scored" in find_page.verdict(record)
    assert find_page.verdict({}) == "No circuit was found."


def test_every_point_of_the_frontier_carries_its_interval():
    record = _record()
    chart = frontier.overview(record)
    assert chart is not None
    rows = [row for row in _values(chart) if row.get("method") == "attribution"]
    sizes = [p for p in record["methods"][0]["sizes"] if p["recovered"]["value"] >= frontier.LEAST]
    drawn = {row["edges"]: row for row in rows}
    assert sorted(drawn) == [p["edges"] for p in sizes]
    for point in sizes:
        row = drawn[point["edges"]]
        assert (row["low"], row["value"], row["high"]) == tuple(point["recovered"][k] for k in ("low", "value", "high"))
        assert re.search(r"\[.+, .+\]", row["figure"])


def test_an_undefined_size_is_not_drawn_and_the_table_says_why():
    record = _record()
    undefined = record["methods"][0]["sizes"][3]["edges"]
    chart = frontier.overview(record, "recovered_loss")
    assert chart is not None
    assert undefined not in {row["edges"] for row in _values(chart) if row.get("method") == "attribution"}
    assert "undefined, because gap not resolved: the model's loss is not told from the floor's" in _words(record)
    for method in record["methods"]:
        for point in method["sizes"]:
            point["recovered"] = fixture.estimate(None, reason="nothing")
    assert frontier.overview(record) is None
    assert "No size has a recovered share that is defined." in _words(record)


def test_the_band_is_drawn_from_its_ends_and_a_method_without_one_is_named():
    record = _record()
    chart = frontier.band(record, 0)
    assert chart is not None
    point = record["methods"][0]["sizes"][7]
    (row,) = [r for r in _values(chart) if r.get("controls") and r["edges"] == point["edges"]]
    assert (row["low"], row["median"], row["high"]) == tuple(point["control"][k] for k in ("low", "median", "high"))
    for point in record["methods"][2]["sizes"]:
        point["control"] = None
    assert frontier.band(record, 2) is None
    assert frontier.band(record, 9) is None
    assert "No random circuits were scored for acdc." in _words(record)


def test_the_written_circuits_method_comes_first_and_keeps_its_colour():
    record = _record()
    record["circuit"]["method"] = "acdc"
    assert [m["method"] for m in frontier.methods_of(record)][:2] == ["acdc", "attribution"]
    spec = json.dumps(frontier.band(record, 1).to_dict())  # type: ignore[union-attr]
    assert style.SERIES[1] in spec
    assert style.SERIES[0] not in spec


def test_a_share_far_below_zero_is_a_triangle_with_its_figure():
    record = _record()
    record["methods"][0]["sizes"][5]["recovered"] = fixture.estimate(-40.0, 3.0)
    chart = frontier.overview(record)
    assert chart is not None
    assert any(row.get("below") and row["figure"] == "−40.00 [−43.00, −37.00]" for row in _values(chart))


def test_every_size_is_in_the_table_with_its_controls():
    record = _record()
    text = _words(record)
    assert text.count("not scored") == len(record["methods"])  # the whole model has no controls
    assert "asked:" not in text
    record["methods"][0]["sizes"][4]["asked"] = 7777
    assert "asked: 7,777" in _words(record)


def test_areas_definitions_and_the_over_recovery_warning():
    text = _words(_record())
    assert "attribution steps 5 1,234 0.50 [0.48, 0.52] 0.90 [0.89, 0.91] 0.95 [0.94, 0.96] 0.10 [0.09, 0.11]" in text
    assert text.count("Over-recovery:") == 1
    assert "MIB's circuit performance ratio" in text


def test_the_leak_check_and_the_two_samples_are_on_the_page():
    record = _record()
    text = _words(record)
    assert re.search(r"✓ passed ?leak 0 documents and 0 13-grams are shared", text)
    assert "Searched on 48 documents, 12,288 tokens Scored on 60 documents, 15,360 tokens" in text
    record["leak"] = {"state": "fired", "evidence": "12 documents are in both"}
    assert re.search(r"▲ fired ?leak 12 documents are in both", _words(record))


def test_the_heat_map_has_every_cell_once_and_leaves_out_what_was_not_measured():
    block = _record()["heat"]
    chart = heat.heat(block)
    assert chart is not None
    assert len(_values(chart)) == 144 * 15
    block["values"][0][0] = None
    assert len(heat.cells(block)) == 144 * 15 - 1
    top = heat.strongest(block, 5)
    assert all(abs(row["value"]) > 0.2 for row in top)
    assert {row["row"] for row in top} == {"a3.h4", "a3.h5", "a3.h6", "a3.h7", "a7.h6"}
    cell = {"rows": ["a0.h1"], "columns": ["3"], "values": [[0.5]], "low": [[0.25]], "high": [[0.75]]}
    assert [row["said"] for row in heat.cells(cell)] == ["0.500 [0.250, 0.750]"]
    assert heat.heat(None) is None
    assert heat.heat({"rows": ["a"], "columns": ["0"], "values": [[None]]}) is None
    used = set(re.findall(r'"(#[0-9a-f]{6})"', json.dumps(chart.to_dict())))
    assert used <= set(style.DARK)


def test_every_colour_of_the_frontier_has_a_dark_counterpart():
    names = tuple(f"method {i}" for i in range(10))
    chart = frontier.overview(circuit_fixture.frontier(names))
    assert chart is not None
    assert set(re.findall(r'"(#[0-9a-f]{6})"', json.dumps(chart.to_dict()))) <= set(style.DARK)


def test_no_text_of_a_user_is_read_as_html():
    record: Any = _poisoned(_record())
    record["circuit"]["drawing"] = circuit_fixture.drawing(2, 2, 5)
    record["circuit"]["method"] = record["methods"][0]["method"]
    plain = _record()
    plain["circuit"]["drawing"] = circuit_fixture.drawing(2, 2, 5)
    found, clean = _Elements(find_page.render(record)), _Elements(find_page.render(plain))
    assert [tag for tag, _ in found.elements] == [tag for tag, _ in clean.elements]
    assert not any(name.startswith("on") for _, attributes in found.elements for name in attributes)
    assert found.scripts[-2:] == clean.scripts[-2:]
    for script in found.scripts[:-2]:
        assert "http" not in json.loads(script)
    assert "<script>alert(1)</script>" in found.text
    assert "{{7*7}}" in found.text


def test_nothing_hidden_in_any_text_of_a_search_reaches_the_page():
    record: Any = _poisoned(_record(), evil=HIDDEN)
    record["circuit"]["drawing"] = _poisoned(circuit_fixture.drawing(2, 2, 5), evil=HIDDEN)
    assert hidden_in(find_page.render(record)) == set()


_BLOCKS = ("methods", "heat", "circuit", "losses", "leak", "task", "selection", "notes", "total")


@pytest.mark.parametrize("missing", _BLOCKS)
def test_a_search_without_a_block_still_makes_a_page(missing):
    assert "How many" not in _words(_record() | {missing: None})
    assert "No circuit was found." in _words({})


def test_long_names_are_kept_whole():
    name = "integrated gradients on activations with 25 steps and a name that goes on and on " * 2
    record = circuit_fixture.frontier((name.strip(),))
    assert name.strip() in _words(record)


def test_two_renderings_are_the_same_bytes_and_do_not_hold_the_time():
    later = _record() | {"timing": {"seconds": 99999.0}}
    assert find_page.render(later) == find_page.render(_record())


def test_the_saved_drawing_is_a_file_of_its_own():
    saved = find_page.save_circuit(_record())
    assert saved is not None
    assert ET.fromstring(saved).tag.endswith("svg")
    assert find_page.save_circuit({}) is None


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on this machine")
def test_a_browser_without_network_draws_everything(tmp_path):
    (tmp_path / "report.html").write_text(find_page.render(_record()), encoding="utf-8")
    with tempfile.TemporaryDirectory() as profile:
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        command += [f"--user-data-dir={profile}", "--disable-background-networking", "--proxy-server=127.0.0.1:9"]
        command += ["--virtual-time-budget=8000", "--dump-dom", (tmp_path / "report.html").as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert 'data-drawn="11"' in done.stdout  # an overview, four figures, a band a method, the heat map
    assert "could not be drawn here" not in _Elements(done.stdout).text
