"""Every section of a page can be printed by its name, and what a kind says of its own is among them."""

import re
from pathlib import Path

import pytest

from assay.report import words
from assay.report.plain import plain_text
from assay.report.terminal.sections import SECTIONS, names, section
from tests.report import records
from tests.report.printed import once, printed
from tests.report.rendered import Elements, drawn


@pytest.mark.parametrize("name", SECTIONS)
def test_every_section_is_printed_of_every_record(name):
    for case in ("program", "several", "remove", "circuit"):
        text = printed(section(records.measured(case), name))
        assert text.strip()
        assert "None" not in text


ALWAYS = {"verdict", "headline", "floors", "agreement", "checks", "residual", "measured", "again", "terms"}


@pytest.mark.parametrize("case", ["program", "several", "remove", "circuit", "hypothesis"])
def test_every_section_of_a_page_can_be_printed_by_its_name(case: str):
    data = records.data("program" if case == "hypothesis" else case)
    if case == "hypothesis":
        share = records.estimate(0.5, 0.1)
        row = {"variables": ["u"], "swaps": 64, "changed": 0.5, "majority": 0.25}
        row["by_rest"] = {key: {"raw": share, "accuracy": share} for key in ("left", "mean")}
        found = {"accuracy": share, "plain": share, "unswapped": share, "variables": ["u"], "perturbed": "mean"}
        data["interchange"] = {**found, "rows": [row]}
        data["own"] = {"block": "hypothesis", "pieces": [{"piece": "sentence", "text": "Of the hypothesis alone."}]}
    record = records.measured(data)
    page = Elements(drawn(data))
    shown = {attributes["id"] for tag, attributes in page.elements if tag == "section"}
    assert shown >= ALWAYS
    assert shown <= set(names(record))
    own = {record.own.block} if record.own else set()
    assert set(names(record)) == {*SECTIONS, *own}
    assert own <= shown
    for name in own:
        assert once(data, name).startswith(plain_text(record.own.title if record.own else ""))


def test_the_terminal_has_no_section_that_no_page_has():
    template = (Path(words.__file__).parent / "page" / "template.html").read_text()
    ids = set(re.findall(r'(?:<section id=|call fold\()"(\w+)"', template)) | {"again", "terms"}
    assert set(SECTIONS) == ids


def test_what_a_kind_says_is_printed_piece_by_piece():
    record = records.data("circuit")
    line = [[1.0, records.estimate(0.5, 0.1)], [2.0, records.estimate(None, reason="none is")]]
    heat = {"piece": "heat map", "rows": ["a0.h0"], "columns": ["7"], "values": [[0.25]], "unit": "KL"}
    tokens = {"piece": "tokens", "title": "A strip", "tokens": [{"token": "wo", "kl": 0.1}, {"token": "rd"}]}
    series = {"piece": "series", "title": "A line", "x": "size", "y": "share", "lines": {"one": line}}
    record["own"]["pieces"] += [series, heat, tokens]
    text = once(record, "circuit")
    for part in ("8 of 82 edges", "Minimality", "10.39 [8.29, 12.48]", "0.50 [0.40, 0.60]", "because none is"):
        assert part in text
    assert "A strip: word" in text
    assert "a0.h0 0.250" in text
