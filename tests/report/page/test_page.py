"""The page is self-contained, interprets nothing of a user's text, and says undefined where something is."""

import html
import itertools
import json
import re
import shutil
import subprocess
import tempfile
from typing import Any

import pytest

from assay.report import export
from assay.report.charts import graph
from assay.report.page import shell
from tests.report import records
from tests.report.rendered import EVIL, HIDDEN, Elements, browsed, drawn, examples_in, hidden_in, poisoned, whole_page


def test_nothing_is_loaded_from_anywhere():
    found = Elements(whole_page())
    for tag, attributes in found.elements:
        for name in ("src", "href", "srcset", "action", "poster", "background"):
            to = attributes.get(name)
            assert to in (None, "data:,") or (tag == "a" and to.startswith("#")), (tag, attributes)
        assert tag not in {"iframe", "object", "embed", "base", "form", "img"}
    style = whole_page()[whole_page().index("<style>") : whole_page().index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    policy = next(a["content"] or "" for t, a in found.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy
    assert "unsafe-eval" not in policy
    assert "script-src 'sha256-" in policy
    for script in found.scripts[:-2]:  # all but the bundle and our own script are data
        json.loads(script)
        assert "http" not in script
    assert "http" not in found.scripts[-1]


def test_the_page_is_small_and_has_the_chart_bundle_once():
    assert len(whole_page().encode()) < 2_000_000
    assert whole_page().count("window.vegaEmbed=") == 1


def test_two_renderings_are_the_same_bytes_and_do_not_hold_the_time():
    later = records.data()
    later["timing"] |= {"started": "2031-01-01", "seconds": 999.0}
    assert drawn(later) == whole_page()


def test_no_text_of_a_user_is_read_as_html():
    plain, evil = Elements(whole_page()), Elements(drawn(poisoned(records.data())))
    kinds = [tag for tag, _ in plain.elements]
    assert [tag for tag, _ in evil.elements] == kinds
    assert not any(name.startswith("on") for _, attributes in evil.elements for name in attributes)
    assert len(evil.scripts) == len(plain.scripts)
    assert evil.scripts[-2:] == plain.scripts[-2:]
    for script in evil.scripts[:-2]:
        json.loads(script)
    assert "<script>alert(1)</script>" in evil.text
    assert "{{7*7}}" in evil.text
    assert "49<!--" not in evil.text


def test_json_in_a_script_element_cannot_end_it():
    text = shell.inline_json({"a": EVIL + "\u2028"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": EVIL + "\u2028"}


@pytest.mark.parametrize("name", ["program", "several", "remove", "circuit"])
def test_every_entry_of_the_contents_and_every_link_leads_to_a_section_and_every_section_is_listed(name):
    found = Elements(drawn(records.data(name))).elements
    ids = [attributes["id"] for _, attributes in found if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for tag, attributes in found if tag == "a"]
    assert {link.removeprefix("#") for link in links if link} <= set(ids)
    sections = [attributes["id"] for tag, attributes in found if tag == "section"]
    contents = [link for link in links if link][1:][: len(sections)]  # the first one skips to the verdict
    assert contents == [f"#{section}" for section in sections]
    permalinks = [attributes["href"] for tag, attributes in found if attributes.get("class") == "perma"]
    assert permalinks == [f"#{section}" for section in sections[1:]]


def test_the_figures_that_decide_come_first_and_everything_else_is_folded():
    rendered = whole_page()
    deciding, details = rendered.split('<h2 class="divide">Details</h2>')
    assert re.findall(r'<section id="([a-z]+)"', deciding) == [
        *("verdict", "headline", "controls", "worst", "length", "compute")
    ]
    assert all(f'<section id="{name}">' not in details for name in ("floors", "checks", "residual", "terms"))
    assert details.count('<section class="folded"') == details.count("<details><summary><h2>") > 8
    assert deciding.count('class="see"') == 5


def test_every_chart_is_named_for_those_who_cannot_see_it():
    for name in ("program", "several", "remove", "circuit"):
        charts = [a for _, a in Elements(drawn(records.data(name))).elements if a.get("class") == "chart"]
        assert charts
        assert all(a["role"] == "img" and len(a["aria-label"] or "") > 20 for a in charts)


def test_every_term_on_the_page_can_be_reached_by_keyboard():
    terms = [attributes for tag, attributes in Elements(whole_page()).elements if tag == "dfn"]
    assert len(terms) > 12
    assert all(attributes["tabindex"] == "0" and attributes["data-tip"] for attributes in terms)


def test_control_characters_and_text_direction_are_made_visible():
    record = records.data()
    record["claim"]["sentence"] = "a\x1b[31mred\u202eevil\x00"
    rendered = drawn(record)
    assert "\x1b" not in rendered
    assert "\u202e" not in rendered
    assert "\x00" not in rendered


@pytest.mark.parametrize("name", ["program", "several", "remove", "circuit"])
def test_nothing_hidden_in_any_text_of_a_record_reaches_the_page(name):
    record: Any = poisoned(records.data(name), evil=HIDDEN)
    assert hidden_in(drawn(record)) == set()
    picture = graph.save(records.measured(record))
    assert not set(picture or "") & set(HIDDEN) - {"[", "3", "1", "m"}


@pytest.mark.parametrize("form", ["markdown", "latex", "bibtex"])
def test_what_is_copied_is_on_the_page_with_a_button(form):
    block = html.unescape(whole_page().split(f'<pre class="wrap" id="copy-{form}">')[1].split("</pre>")[0])
    assert block == getattr(export, form)(records.measured())
    assert f'data-copy="copy-{form}"' in whole_page()


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on this machine")
def test_a_browser_without_network_draws_the_charts_and_runs_nothing_of_the_user(tmp_path):
    (tmp_path / "report.html").write_text(drawn(poisoned(records.data())), encoding="utf-8")
    with tempfile.TemporaryDirectory() as profile:
        command = [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            f"--user-data-dir={profile}",
        ]
        command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        command += ["--proxy-server=127.0.0.1:9", "--virtual-time-budget=8000", "--dump-dom"]
        done = subprocess.run(
            [*command, (tmp_path / "report.html").as_uri()], capture_output=True, text=True, timeout=90, check=False
        )
    assert 'data-drawn="5"' in done.stdout
    assert done.stdout.count("<svg") >= 5
    assert "could not be drawn" not in Elements(done.stdout).text
    assert "onerror" not in {name for tag, a in Elements(done.stdout).elements for name in a}


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on this machine")
def test_examples_are_sorted_filtered_and_looked_at_token_by_token(tmp_path):
    record = records.data()
    for place, row in enumerate(record["residual"]["worst"]):
        row["slices"] = {"source": ("en", "fr")[place % 2]}
        for token in row["text"]:
            if token["kl"] is not None:
                token |= {"top_explained": [["likely", 0.75]], "kl_floor": 1.0}
    script = """
      document.querySelector('#worst th[data-sort=gap] button').click();
      document.querySelector('a[data-filter="source:fr"]').click();
      document.querySelector('[data-measure=loss]').click();
      const at = document.querySelector('.tok[aria-selected=true]');
      at.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft', bubbles: true}));
    """
    found = browsed(drawn(record), script, tmp_path)
    rows = [a for tag, a in found.elements if tag == "tr" and "data-i" in a]
    data = examples_in(record)["examples"]
    gaps = [data[int(a["data-i"] or 0)]["order"]["gap"] for a in rows]
    assert gaps == sorted(gaps, reverse=True)
    shown = [int(a["data-i"] or 0) for a in rows if "hidden" not in a]
    assert shown
    assert all("source:fr" in data[i]["slices"] for i in shown)
    (picked,) = [int(a["data-i"] or 0) for a in rows if a["aria-selected"] == "true"]
    assert picked == shown[0]
    tokens = [a for tag, a in found.elements if (a.get("class") or "").startswith("tok ")]
    assert len(tokens) == len(data[picked]["tokens"])
    (now,) = [i for i, a in enumerate(tokens) if a["aria-selected"] == "true"]
    assert now == data[picked]["focus"] - 1
    pressed = {a["data-measure"]: a["aria-pressed"] for _, a in found.elements if "data-measure" in a}
    assert pressed == {"kl": "false", "loss": "true"}
    bars = [a for tag, a in found.elements if tag == "i" and a.get("class") in ("r0", "r1", "r2")]
    scored = sum(figures is not None for _, figures in data[picked]["tokens"])
    assert len(bars) == 3 * scored  # model, explanation and floor of every token
    if data[picked]["tokens"][now][1] is not None:
        assert "likely75 %" in found.text


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on this machine")
def test_a_link_unfolds_what_it_leads_to(tmp_path):
    script = "document.querySelector('.fired a').click();"
    found = browsed(whole_page(), script, tmp_path)
    state = {}
    for (_, outer), (tag, inner) in itertools.pairwise(found.elements):
        if outer.get("class") == "folded" and tag == "details":
            state[outer["id"]] = "open" in inner
    assert [name for name, opened in state.items() if opened] == ["checks"]
    (current,) = [a["href"] for tag, a in found.elements if a.get("aria-current")]
    assert current
