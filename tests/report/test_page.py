"""The page is self-contained, interprets nothing of a user's text, and says undefined where something is."""

import functools
import html
import json
import re
import shutil
import subprocess
import tempfile
import unicodedata
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest

from assay.report import circuit as circuits
from assay.report import page, shell
from tests.report import records

HIDDEN = "\x1b[31m\u202e\u2066\x00\x85\u200f"
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>'\"&{{7*7}}<!--"


class _Elements(HTMLParser):
    """Every element with its attributes, every script's text, and the text outside of scripts and styles."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._raw: str | None = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._raw = tag if tag in {"script", "style"} else None
        self.text += " " if tag in {"td", "th", "dt", "dd", "br", "p"} else ""
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._raw = None

    def handle_data(self, data):
        if self._raw == "script":
            self.scripts[-1] += data
        elif self._raw is None:
            self.text += data


def _drawn(record: dict[str, Any]) -> str:
    return page.render(records.measured(record), records.examples())


def _words(record: dict[str, Any]) -> str:
    return " ".join(_Elements(_drawn(record)).text.split())


@functools.cache
def _page() -> str:
    return _drawn(records.data())


_FIXED = {"state", "level", "kind", "ablation", "measure", "method", "where", "block", "piece", "parts", "part"}


def _poisoned(value, key="", evil=EVIL):
    if isinstance(value, str):
        return value if key in _FIXED else f"{value}{evil}"
    if isinstance(value, dict):
        return {name: _poisoned(item, name, evil) for name, item in value.items()}
    return [_poisoned(item, key, evil) for item in value] if isinstance(value, list) else value


def test_nothing_is_loaded_from_anywhere():
    found = _Elements(_page())
    for tag, attributes in found.elements:
        for name in ("src", "href", "srcset", "action", "poster", "background"):
            assert attributes.get(name) in (None, "data:,"), (tag, attributes)
        assert tag not in {"iframe", "object", "embed", "base", "form", "img"}
    style = _page()[_page().index("<style>") : _page().index("</style>")]
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
    assert len(_page().encode()) < 2_000_000
    assert _page().count("window.vegaEmbed=") == 1


def test_two_renderings_are_the_same_bytes_and_do_not_hold_the_time():
    later = records.data()
    later["timing"] |= {"started": "2031-01-01", "seconds": 999.0}
    assert _drawn(later) == _page()


def test_no_text_of_a_user_is_read_as_html():
    plain, evil = _Elements(_page()), _Elements(_drawn(_poisoned(records.data())))
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


def test_every_term_on_the_page_can_be_reached_by_keyboard():
    terms = [attributes for tag, attributes in _Elements(_page()).elements if tag == "dfn"]
    assert len(terms) > 15
    assert all(attributes["tabindex"] == "0" and attributes["data-tip"] for attributes in terms)


def test_control_characters_and_text_direction_are_made_visible():
    record = records.data()
    record["claim"]["sentence"] = "a\x1b[31mred\u202eevil\x00"
    rendered = _drawn(record)
    assert "\x1b" not in rendered
    assert "\u202e" not in rendered
    assert "\x00" not in rendered


def hidden_in(rendered: str) -> set[str]:
    """Control characters and marks of text direction on a page or in its data, but for line breaks and tabs."""

    def texts(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        for part in (*value, *value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from texts(part)

    found = _Elements(rendered)
    data = [text for script in found.scripts[:-2] for text in texts(json.loads(script))]
    everything = [found.text, *data, *(value or "" for _, names in found.elements for value in names.values())]
    return {char for text in everything for char in text
            if unicodedata.category(char) in ("Cc", "Cf") and char not in "\n\t"}  # fmt: skip


@pytest.mark.parametrize("name", ["program", "several", "remove", "circuit"])
def test_nothing_hidden_in_any_text_of_a_record_reaches_the_page(name):
    record: Any = _poisoned(records.data(name), evil=HIDDEN)
    assert hidden_in(_drawn(record)) == set()
    drawn = circuits.save(records.measured(record))
    assert not set(drawn or "") & set(HIDDEN) - {"[", "3", "1", "m"}


def test_markdown_on_the_page_is_the_table():
    block = html.unescape(_page().split('<pre id="markdown">')[1].split("</pre>")[0])
    rows = [line for line in block.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(records.data()["table"])
    assert "0.9990 [0.9986, 0.9993]" in rows[2]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on this machine")
def test_a_browser_without_network_draws_the_charts_and_runs_nothing_of_the_user(tmp_path):
    (tmp_path / "report.html").write_text(_drawn(_poisoned(records.data())), encoding="utf-8")
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
    assert 'data-drawn="6"' in done.stdout
    assert done.stdout.count("<svg") >= 6
    assert "could not be drawn" not in _Elements(done.stdout).text
    assert "onerror" not in {name for tag, a in _Elements(done.stdout).elements for name in a}


def test_undefined_is_said_with_its_reason_and_never_as_zero():
    record = records.data()
    nothing = records.estimate(None, reason="the gap is not resolved")
    record["headline"] |= {"recovered": nothing, "recovered_loss": nothing}
    record["headline"]["nines"] |= {"value": nothing, "certified": nothing, "shown": None}
    record |= {"recovered": nothing, "recovered_loss": nothing, "nines": nothing}
    record["table"] = [record["table"][0] | dict.fromkeys(("recovered", "recovered_loss", "nines"), nothing)]
    record["compute"] |= {"reason": "no family of models was given", "recovered": nothing, "share_floor": nothing}
    text = _Elements(_drawn(record)).text
    assert text.count("undefined, because the gap is not resolved") >= 5
    assert "undefined, because no family of models was given" in text
    assert "0.00" not in text.split("Floors and ablations")[0]
    assert "None" not in text
    assert not re.findall(r"\bnan\b", text)


def test_a_removal_has_necessity_and_no_nines():
    text = _words(records.data("remove"))
    assert "Necessity" in text
    assert "KL when removed" in text
    assert "removed − model" in text
    assert "certified" not in text.split("Floors and ablations")[0]


def test_fired_checks_come_first_and_are_told_by_words():
    record = records.data()
    text = _words(record)
    checks = text[text.index("Known ways in which") : text.index("Explanations that should not")]
    states = re.findall(r"[▲✓?] (fired|passed|unknown)", checks)
    assert len(states) == len(record["checks"])
    assert states == sorted(states, key=("fired", "unknown", "passed").index)
    assert len(set(states)) == 3


def test_what_a_share_of_a_floors_loss_is_worth_stands_beside_the_curve():
    text = _words(records.data())
    assert "99.9 %" in text
    assert "zoo:novel-2l" in text
    assert "by log-linear interpolation" in text
    record = records.data()
    for rung in record["compute"]["ladder"]:
        rung["share"] |= {"low": None, "high": None, "reason": "one document gives none"}
    assert "† no interval: one document gives none." in _words(record)


def test_the_claim_on_the_controls_rows_and_the_headline_are_told_apart():
    record = records.data()
    record["controls"]["groups"][0]["claim"] = records.estimate(0.64, 0.05)
    record["headline"]["recovered"] = records.estimate(0.62, 0.03)
    assert (
        "where the claim's own figure is 0.64 [0.59, 0.69]; its headline, on everything that is scored, is 0.62 "
        "[0.59, 0.65]." in _words(record)
    )


def test_a_single_control_is_a_row_with_the_paired_difference():
    record = records.data()
    place = next(i for i, group in enumerate(record["controls"]["groups"]) if group["n"] == 1)
    group = record["controls"]["groups"][place]
    group |= {"values": [0.31], "what": "a1.h0, a1.h2", "difference": records.estimate(0.33, 0.04)}
    assert "a1.h0, a1.h2 0.31 0.33 [0.29, 0.37]" in _words(record)
    assert f"spec-controls-{place}" not in _drawn(record)
    group |= {"values": [], "nats": [], "n": 0, "reason": "this is the claim itself"}
    assert "not scored, because this is the claim itself" in _words(record)


def test_each_component_stands_alone_and_a_reason_stands_where_there_is_none():
    record = records.data("several")
    record["parts"]["components"][0]["recovered"] = records.estimate(0.71, 0.05)
    record["parts"]["compound"]["recovered"] = records.estimate(0.62, 0.05)
    text = _words(record)
    assert f"{record['parts']['components'][0]['component']} 0.71 [0.66, 0.76]" in text
    assert "all at once 0.62 [0.57, 0.67]" in text
    assert "Not measured, because the claim has one component, and its figures are the claim's." in _words(
        records.data()
    )


def test_what_is_missing_says_why():
    record = records.data()
    record["controls"] |= {"random_weights": None, "random_weights_reason": "nothing was searched"}
    record |= {"rivals": [], "rivals_reason": "n-grams predict tokens"}
    reason = "stand-alone bits of a module are not defined"
    record["bits"] |= {"claim": {"bits": 40.0, "how": "so"}, "standalone": {"bits": None, "reason": reason}}
    text = _words(record)
    assert "Not measured, because nothing was searched." in text
    assert "None, because n-grams predict tokens." in text
    assert f"Stand-alone: undefined, because {reason}. As a claim: 40 bits (so)." in text


def test_the_adjusted_p_stands_beside_k_of_m():
    record = records.data()
    record["tries"] = {"tried": 3, "this": 1, "p": 0.069, "p_holm": 0.138, "without_p": 1}
    assert "Claim 1 of 3 tried on this split; p = 0.069, Holm-adjusted for 3 tries 0.138 (1 without a p" in _words(
        record
    )
    record["tries"] = {"tried": 2, "this": 2, "p": None, "p_holm": None, "without_p": 2}
    assert "no p to adjust, because no group of controls gives one" in _words(record)


def test_a_circuit_is_drawn_with_its_figures_and_its_undefined_ones_in_words():
    record = records.data("circuit")
    record["own"] |= {"total": 1519, "edges": 57, "live": 40, "nodes": 9}
    record["own"]["sufficiency"]["recovered"] = records.estimate(0.81, 0.03)
    record["own"]["necessity"]["recovered"] = records.estimate(None, reason="the floor is not told apart")
    rendered = _drawn(record)
    text = _words(record)
    assert rendered.count('<svg class="circuit"') == 1
    assert "57 of 1,519 edges (3.8 %), 40 of them on a path from input to logits, 9 nodes." in text
    assert "The circuit alone every edge that it lacks is ablated 0.81 [0.78, 0.84]" in text
    assert "Everything but the circuit its edges are ablated, the others kept undefined, because the floor" in text
    assert "worst draw" in text
    assert re.search(r"KL rise [−\d.]+ \[", rendered)  # the edges' strengths are rises, with their intervals
    for edge in record["own"]["drawing"]["edges"]:
        edge["strength"] = 0.5
    assert "it has no interval" in _words(record)
    assert "circuit" not in re.findall(r'<section id="([a-z]+)"', _page())


def test_no_text_in_a_circuit_is_read_as_html():
    record: Any = _poisoned(records.data("circuit"))
    found = _Elements(_drawn(record))
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
    record["own"] = {"block": "scaled", "pieces": [sentence, table, series, heat, tokens]}
    text = _words(record)
    for part in (f"Said {EVIL}", "a1.h0 0.500 [0.400, 0.600]", "m1 0.250", "A line", "A strip", "word"):
        assert part in text
    assert "spec-own-2" in _drawn(record)
    assert "spec-own-3" in _drawn(record)


def test_what_was_taken_from_the_reference_and_what_fits_reached_is_on_the_page():
    record = records.data("several")
    record["reference"]["statistics"] = {"rows": 192, "tokens": 49_152}
    record["reference"]["fits"] = record["reference"]["fits"][:1]
    record["reference"]["fits"][0] |= {"what": "optimal constants", "held": 16, "start": 3.44, "reached": 2.93}
    text = _words(record)
    assert "192 reference rows, 49,152 tokens" in text
    assert "Fitted: optimal constants KL 3.440 → 2.930 on 16 held-out rows" in text
