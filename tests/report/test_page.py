"""The page is self-contained, interprets nothing of a user's text, and says undefined where something is."""

import copy
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
from assay.report import page, shell, words
from tests.report import circuit_fixture, fixture

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


@functools.cache
def _page() -> str:
    return page.render(fixture.record(), fixture.examples())


def _poisoned(value, key="", evil=EVIL):
    if isinstance(value, str):
        return value if key in {"state", "level", "kind", "ablation"} else f"{value}{evil}"
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
    later = fixture.record()
    later["timing"] = {"started": "2031-01-01", "seconds": 999.0, "forwards": 1}
    assert page.render(later, fixture.examples()) == _page()


def test_no_text_of_a_user_is_read_as_html():
    record: Any = _poisoned(fixture.record())
    table = fixture.examples()
    plain, evil = _Elements(_page()), _Elements(page.render(record, table))
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


def test_undefined_is_said_with_its_reason_and_never_as_zero():
    record = fixture.record()
    reason = "the gap is not resolved"
    nothing = fixture.estimate(None, reason=reason)
    record["sentence"] = ""
    record["headline"] |= {"recovered": nothing, "recovered_loss": nothing, "nines": {"text": "", "certified": nothing}}
    record |= {"recovered": nothing, "recovered_loss": nothing, "nines": nothing}
    record["table"] = [record["table"][0] | dict.fromkeys(("recovered", "recovered_loss", "nines"), nothing)]
    record["compute"] = {"family": None, "reason": "no family of models was given", "recovered": nothing}
    text = _Elements(page.render(record)).text
    assert text.count(f"undefined, because {reason}") >= 5
    assert "How much this explains is undefined, because the gap is not resolved." in text
    assert "undefined, because no family of models was given" in text
    assert "0.00" not in text.split("Floors and ablations")[0]
    assert "None" not in text
    assert "nan" not in re.findall(r"\bnan\b", text)


_BLOCKS = ("controls", "compute", "bits", "residual", "beside", "checks", "rivals", "register", "table", "versions")


@pytest.mark.parametrize("missing", _BLOCKS)
def test_a_record_without_a_block_still_makes_a_page(missing):
    record = fixture.record() | {missing: None}
    assert "FIXTURE" in _Elements(page.render(record)).text


@pytest.mark.parametrize("empty", [None, {}])
def test_a_record_of_nothing_says_that_nothing_is_defined(empty):
    record = dict.fromkeys([*_BLOCKS, "losses", "headline", "claim", "task", "model"], empty)
    assert "is undefined, because it was not measured" in _Elements(page.render(record)).text
    assert "is undefined, because it was not measured" in _Elements(page.render({})).text


def test_a_removal_has_necessity_and_no_nines():
    record = fixture.record()
    reason = "Remove claims have no nines"
    nothing = fixture.estimate(None, reason=reason)
    record["headline"] = {
        "ablation": "mean",
        "floor": "bigram",
        "necessity": fixture.estimate(0.021, 0.004),
        "kl": fixture.estimate(0.081, 0.006),
    }
    record |= {"recovered": nothing, "recovered_loss": nothing, "nines": nothing}
    record["table"] = [
        {
            "ablation": "mean",
            "floor": "",
            "necessity": fixture.estimate(0.021, 0.004),
            "headline": True,
            "kl_explained": fixture.estimate(0.081, 0.006),
            "loss_explained": fixture.estimate(3.99, 0.08),
        }
    ]
    text = _Elements(page.render(record, fixture.examples())).text
    assert f"Each part removed on its own ({record['parts']['ablation']}), beside all of them" in " ".join(text.split())
    assert "Necessity" in text
    assert "0.021 [0.017, 0.025]" in " ".join(text.split())
    assert "undefined" not in text.split("Floors and ablations")[0]


def test_where_says_that_it_is_not_yet_an_explanation():
    record = fixture.record()
    record |= {"level": "where", "level_note": ""}
    assert "not yet an explanation" in _Elements(page.render(record)).text
    record["level_note"] = "These parts matter."
    assert "not yet an explanation" in words.level_note(record)


def test_fired_checks_come_first_and_are_told_by_words():
    text = " ".join(_Elements(_page()).text.split())
    checks = text[text.index("Known ways in which") : text.index("Explanations that should not")]
    states = re.findall(r"[▲✓?] (fired|passed|unknown)", checks)
    assert states == ["fired", "fired", "unknown", "passed", "passed", "passed"]


def test_every_term_on_the_page_can_be_reached_by_keyboard():
    terms = [attributes for tag, attributes in _Elements(_page()).elements if tag == "dfn"]
    assert len(terms) > 15
    assert all(attributes["tabindex"] == "0" and attributes["data-tip"] for attributes in terms)


def test_control_characters_and_text_direction_are_made_visible():
    record = copy.deepcopy(fixture.record())
    record["claim"]["sentence"] = "a\x1b[31mred\u202eevil\x00"
    rendered = page.render(record)
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


@pytest.mark.parametrize("circuit", [False, True])
def test_nothing_hidden_in_any_text_of_a_record_reaches_the_page(circuit):
    record = fixture.record() | ({"circuit": circuit_fixture.circuit()} if circuit else {})
    record: Any = _poisoned(record, evil=HIDDEN)
    assert hidden_in(page.render(record, fixture.examples())) == set()
    drawn = circuits.save(record)
    assert not set(drawn or "") & set(HIDDEN) - {"[", "3", "1", "m"}


def test_markdown_on_the_page_is_the_table():
    block = html.unescape(_page().split('<pre id="markdown">')[1].split("</pre>")[0])
    rows = [line for line in block.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(fixture.record()["table"])
    assert "0.62 [0.59, 0.65]" in rows[2]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on this machine")
def test_a_browser_without_network_draws_the_charts_and_runs_nothing_of_the_user(tmp_path):
    record: Any = _poisoned(fixture.record())
    (tmp_path / "report.html").write_text(page.render(record, fixture.examples()), encoding="utf-8")
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


def test_what_a_share_of_a_floors_loss_is_worth_stands_beside_the_curve():
    text = _Elements(page.render(fixture.record(), fixture.examples())).text
    assert "99.9 %" in text
    assert "zoo:novel-2l" in text
    assert "undefined, because the bigram is below the family" in text


def _words(record) -> str:
    return " ".join(_Elements(page.render(record)).text.split())


def test_the_claim_on_the_controls_rows_and_the_headline_are_told_apart():
    text = _words(fixture.record())
    assert (
        "Controls are scored on 32 rows (32 documents, 12,345 tokens), where the claim's own figure is 0.64 [0.59, "
        "0.69]; its headline, on everything that is scored, is 0.62 [0.59, 0.65]." in text
    )
    record = fixture.record()
    for group in record["controls"]["groups"]:
        group["claim"] = {"value": 0.642, "nats": 0.05}  # an older record
    assert "is 0.64 (no interval was recorded); its headline" in _words(record)


def test_a_single_control_is_a_row_with_the_paired_difference():
    record = fixture.record()
    text = _words(record)
    assert "a1.h0, a1.h2 0.31 0.33 [0.29, 0.37]" in text
    assert "spec-controls-2" not in page.render(record)
    record["controls"]["groups"][2] |= {"values": [], "n": 0, "reason": "this is the claim itself"}
    assert "not scored, because this is the claim itself" in _words(record)


def test_each_component_stands_alone_and_a_reason_stands_where_there_is_none():
    record = fixture.record()
    text = _words(record)
    assert "a1.h3 0.71 [0.66, 0.76]" in text
    assert "a1.h6 0.44 [open, 0.49] (the floor's lower end is 0)" in text
    assert "all at once 0.62 [0.57, 0.67]" in text
    assert "0.80 (no interval: 4.0 % of the resamples have no finite value)" in text
    record["parts"] = {"components": [], "compound": None, "reason": "the claim has one component"}
    assert "Not measured, because the claim has one component." in _words(record)


def test_accuracies_of_model_floor_and_what_is_recovered_of_them():
    text = _words(fixture.record())
    assert "accuracy of the model 40 % [38, 42]" in text
    assert "accuracy of the explained run 33 % [31, 35]" in text
    assert "accuracy of the floor 21 % [19, 23]" in text
    assert "(explained − floor) / (model − floor) 0.62 [0.56, 0.68]" in text


def test_what_is_missing_says_why():
    record = fixture.record()
    record["controls"] |= {"random_weights": None, "random_weights_reason": "nothing was searched"}
    record |= {"rivals": [], "rivals_reason": "n-grams predict tokens"}
    reason = "stand-alone bits of a module are not defined"
    record["bits"] = {"claim": {"bits": 40, "how": "so"}, "standalone": {"bits": None}, "reason": reason}
    text = _words(record)
    assert "Not measured, because nothing was searched." in text
    assert "None, because n-grams predict tokens." in text
    assert f"Stand-alone: undefined, because {reason}. As a claim: 40 bits (so)." in text


def test_the_adjusted_p_stands_beside_k_of_m():
    text = _words(fixture.record())
    assert "Claim 1 of 3 tried on this split; p = 0.069, Holm-adjusted for 3 tries 0.138 (1 without a p" in text
    record = fixture.record()
    record["register"] = {"tried": 2, "this": 2, "p": None, "p_holm": None, "without_p": 2}
    assert "no p to adjust, because no group of controls gives one" in _words(record)


def test_a_circuit_is_drawn_with_its_figures_and_its_undefined_ones_in_words():
    record: Any = fixture.record()
    record["circuit"] = circuit_fixture.circuit()
    rendered = page.render(record)
    text = " ".join(_Elements(rendered).text.split())
    assert rendered.count('<svg class="circuit"') == 1
    assert "57 of 1,519 edges (3.8 %), 40 of them on a path from input to logits" in text
    assert "The circuit alone every edge that it lacks is ablated 0.81 [0.78, 0.84]" in text
    assert "Everything but the circuit its edges are ablated, the others kept undefined, because the floor" in text
    assert "worst draw 0.280 [0.270, 0.290]" in text
    assert "For 6 of them the rise in KL is not told from 0." in text
    assert "it has no interval" in text
    assert "circuit" not in "".join(re.findall(r'<section id="([a-z]+)"', page.render(fixture.record())))


def test_strengths_that_are_rises_of_kl_carry_their_intervals():
    record: Any = fixture.record()
    record["circuit"] = circuit_fixture.circuit()
    edges = record["circuit"]["drawing"]["edges"][:5]
    rows = []
    for place, edge in enumerate(edges):
        part = f"<{edge['part']}>" if edge["part"] else ""
        rise = fixture.estimate(0.5 - 0.1 * place, 0.031)
        edge["strength"] = rise["value"]
        rows.append({"part": f"{edge['writer']}->{edge['reader']}{part}", "increase": rise})
    record["circuit"]["minimality"] = {"parts": "edges", "rows": rows, "tried": 5, "of": 5}
    rendered = page.render(record)
    assert "KL rise 0.500 [0.469, 0.531]" in rendered
    assert "not an estimate" not in rendered


def test_no_text_in_a_circuit_is_read_as_html():
    record: Any = fixture.record()
    record["circuit"] = _poisoned(circuit_fixture.circuit())
    record["circuit"]["drawing"]["edges"] += circuit_fixture.circuit()["drawing"]["edges"][:3]
    found = _Elements(page.render(record))
    assert not any(name.startswith("on") for _, attributes in found.elements for name in attributes)
    assert "img" not in {tag for tag, _ in found.elements}
    assert "40 edges are not drawn, because the model has no such parts" in found.text


def test_compute_by_log_linear_interpolation_stands_beside_the_figure():
    text = " ".join(_Elements(_page()).text.split())
    assert "0.66 by log-linear interpolation" in text
    assert "share, floor alone, log-linear 0.78" in text
    record = fixture.record()
    del record["compute"]["linear"]  # of an older version
    assert "log-linear" not in page.render(record, fixture.examples())


def test_what_was_taken_from_the_reference_and_what_fits_reached_is_on_the_page():
    record = fixture.record()
    fit = {"what": "optimal constants of 6 parts", "rows": 32, "held": 16, "start": 3.44, "reached": 2.93}
    record["reference"] = {"statistics": {"rows": 192, "tokens": 49_152}, "fits": [{**fit, "settled": True}]}
    text = _words(record)
    assert "192 reference rows, 49,152 tokens" in text
    assert "Fitted: optimal constants of 6 parts" in text
    assert "KL 3.440 → 2.930 on 16 held-out rows" in text
