"""The page over runs: a row a run, thumbnails that say what the record says, nothing of a user's text read as HTML."""

import re
import shutil
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from assay.report.page import index
from assay.report.page.index import IndexedRun
from tests.report import records
from tests.report.rendered import EVIL, HIDDEN, Elements, browsed, hidden_in, poisoned


def _runs(**changed: Any) -> list[IndexedRun]:
    names = ("program", "several", "remove", "circuit")
    runs = [IndexedRun(f"runs/{name}", records.measured(changed.get(name) or records.data(name))) for name in names]
    return [*runs, IndexedRun("a search", records.searched(), None)]


def _words(html: str) -> str:
    return " ".join(Elements(html).text.split())


def test_every_run_is_a_row_that_leads_to_its_page():
    html = index.render("runs", _runs(), [("notes.txt", "a file, and no run folder")])
    found = Elements(html)
    links = [a["href"] for tag, a in found.elements if tag == "a"]
    assert links == [f"runs/{name}/report.html" for name in ("program", "several", "remove", "circuit")]
    assert sum(tag == "tr" and "data-order" in a for tag, a in found.elements) == 5
    assert sum(a.get("class") == "thumb" for _, a in found.elements) == 5
    assert "notes.txt a file, and no run folder" in _words(html)
    assert "5 runs in runs" in _words(html)
    assert len(html.encode()) < 120_000  # no bundle of charts


def test_nothing_is_loaded_and_nothing_of_a_user_is_read():
    record: Any = poisoned(records.data())
    html = index.render(EVIL, [IndexedRun(EVIL, records.measured(record))], [(EVIL, EVIL)])
    found = Elements(html)
    assert "img" not in {tag for tag, _ in found.elements}
    assert not any(name.startswith("on") for _, attributes in found.elements for name in attributes)
    (link,) = [a["href"] for tag, a in found.elements if tag == "a"]
    assert re.fullmatch(r"[\w%./~-]+/report\.html", link or "")
    hidden: Any = poisoned(records.data(), evil=HIDDEN)
    assert hidden_in(index.render("runs", [IndexedRun("a", records.measured(hidden))], [(HIDDEN, HIDDEN)])) == set()


def test_a_link_to_a_folder_with_any_name_is_a_path_of_its_own():
    html = index.render("runs", [IndexedRun("a b/c#1?", records.measured())])
    assert 'href="a%20b/c%231%3F/report.html"' in html


def test_rows_carry_the_records_figures():
    program, several, remove, circuit, search = index.lines(_runs())
    assert program.recovered == records.data()["headline"]["recovered"]["value"]
    assert (remove.recovered, remove.kl) == (None, records.data("remove")["headline"]["kl"]["value"])
    assert several.fired == tuple(c["name"] for c in records.data("several")["checks"] if c["state"] == "fired")
    assert circuit.kind == "circuit"
    assert (search.kind, search.level) == ("search", "where")


def _thumb(value: float, half: float = 0.05) -> tuple[ET.Element, dict[str, str]]:
    record = records.data()
    record["headline"]["recovered"] = records.estimate(value, half)
    root = ET.fromstring(index.thumbnail(records.measured(record)))
    return root, {path.get("class") or "": path.get("d") or "" for path in root.iter("path")}


def test_a_thumbnail_is_a_bar_from_the_floor_to_the_figure():
    root, paths = _thumb(0.5)
    left = index._x(-1.0, -1.0, 1.0)
    zero, half, one = (index._x(x, -1.0, 1.0) for x in (0.0, 0.5, 1.0))
    assert left == index.EDGE
    assert one == index.WIDE - index.EDGE
    assert paths["bar r"] == f"M{zero:.1f} 23H{half:.1f}"
    assert paths["span"] == f"M{index._x(0.45, -1, 1):.1f} 23H{index._x(0.55, -1, 1):.1f}"
    controls = sum(len(g.known) for g in records.measured().controls.groups if "near misses" not in g.what)
    assert sum(1 for _ in root.iter("circle")) == controls
    _, paths = _thumb(-0.5)
    zero, end = (float(x) for x in re.findall(r"[MH]([\d.]+)", paths["bar r below"]))
    assert end < zero


def test_removals_are_drawn_to_one_scale():
    bars = []
    for kl in (0.1, 0.4):
        record = records.data("remove")
        record["headline"]["kl"] = records.estimate(kl, 0.0)
        root = ET.fromstring(index.thumbnail(records.measured(record), 0.4))
        bar = next(path for path in root.iter("path") if path.get("class") == "bar k")
        first, last = (float(x) for x in re.findall(r"[MH]([\d.]+)", bar.get("d") or ""))
        bars.append(last - first)
    assert bars[1] == pytest.approx(4 * bars[0], abs=0.2)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on this machine")
def test_a_browser_sorts_and_filters(tmp_path):
    script = "document.querySelector('th[data-sort=\"4\"] button').click();const f=document.getElementById('find');"
    script += "f.value='llama suffice';f.dispatchEvent(new Event('input'));"
    found = browsed(index.render("runs", _runs()), script, tmp_path)
    rows = [a for tag, a in found.elements if tag == "tr" and "data-order" in a]
    values = [float((a["data-order"] or "").split(", ")[-3]) for a in rows]
    assert values == sorted(values, reverse=True)
    assert [a["data-kind"] for a in rows if "hidden" not in a] == ["circuit"]


def test_the_figure_that_leads_a_page_leads_its_row():
    record = records.data()
    record["task"] |= {"metric": "logit_diff", "kind": "prompts"}
    record["headline"]["recovered_loss"] = records.estimate(0.86, 0.05)
    html = _words(index.render("runs", [IndexedRun("a", records.measured(record))]))
    assert "86 % [81, 91] of the logit difference, 99.90 % [99.86, 99.93] of the KL" in html
    assert "of the KL" not in _words(index.render("runs", _runs()))
