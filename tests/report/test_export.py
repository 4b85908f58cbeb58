"""A record in other forms: the verdict and the table, escaped for what reads them, and the same bytes each time."""

import re
from typing import Any

import pytest

from assay.report import export, verdict, words
from tests.report import records

EVIL = "a_b & 50% #1 $x$ {y} ~z^ \\q <i> | [l](u) `c` \x1b[31m"


def _unescaped(text: str) -> str:
    """The text without what is escaped, so that what is left would be read as LaTeX."""
    return re.sub(r"\\[&%$#_{}]", "", text)


def test_markdown_has_the_verdict_and_every_row_of_the_table():
    record = records.measured()
    text = export.markdown(record)
    said = verdict.verdict(record)
    assert text.startswith(f"**{said.title.replace('[', chr(92) + '[').replace(']', chr(92) + ']')}**")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(record.table)
    assert rows[2].startswith("| **mean** | ablated | 0.9990 [0.9986, 0.9993] |")
    assert len({row.count("|") for row in rows}) == 1
    assert "54,293 tokens of 30 documents" in text
    assert f"`{record.arguments.command}`" in text


def test_latex_is_a_table_whose_braces_match_and_whose_figures_are_the_records():
    record = records.measured()
    text = export.latex(record)
    plain = _unescaped(text)
    assert plain.count("{") == plain.count("}")
    assert re.findall(r"\\(begin|end)\{(table|tabular)\}", text) == [
        *(("begin", "table"), ("begin", "tabular"), ("end", "tabular"), ("end", "table"))
    ]
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert len(body) == len(record.table)
    columns = re.findall(r"\\begin\{tabular\}\{(l+)\}", text)[0]
    assert {_unescaped(line).count("&") for line in body} == {len(columns) - 1}
    assert "99.90 \\%" in text
    assert "−" not in text


@pytest.mark.parametrize("form", [export.latex, export.bibtex])
def test_what_a_user_wrote_is_no_latex(form: Any):
    record = records.data()
    record["model"]["name"] = record["claim"]["sentence"] = EVIL
    record["claim"]["hash"] = None
    text = form(records.measured(record))
    assert "\x1b" not in text
    for piece in (r"a\_b \& 50\% \#1 \$x\$ \{y\}", r"\textasciitilde{}z\textasciicircum{} \textbackslash{}q"):
        assert piece in text
    assert not re.findall(r"(?<!\\)[#%](?! \\usepackage)", text)


def test_what_a_user_wrote_is_no_markdown():
    record = records.data()
    record["claim"]["sentence"] = record["table"][0]["floor"] = EVIL
    text = export.markdown(records.measured(record))
    for line in text.splitlines():
        plain = re.sub(r"\\[\\|*_`<>\[\]]", "", line.split(" `assay")[0])
        assert not set("`<>") & set(plain.removeprefix("> "))
    assert r"\[l\](u)" in text


def test_a_bibtex_entry_has_one_key_for_one_claim_on_one_set_of_data():
    record = records.data()
    first = export.bibtex(records.measured(record))
    assert re.fullmatch(r"@misc\{assay-[0-9a-f]{8}-[0-9a-f]{6},\n(  [a-z]+ = \{.*\},?\n){3}\}\n", first)
    record["timing"]["seconds"] = 99.0
    assert export.bibtex(records.measured(record)) == first
    record["task"]["fingerprint"] = "f" * 64
    assert export.bibtex(records.measured(record)).splitlines()[0] != first.splitlines()[0]


def test_a_removal_has_the_columns_that_apply():
    record = records.data("remove")
    head = export.markdown(records.measured(record)).split("| ---")[0].splitlines()[-1]
    assert head == "| ablation | KL | loss: removed − model |"
    record["table"][0]["necessity"] = records.estimate(0.25, 0.125)
    text = export.markdown(records.measured(record))
    assert "| necessity |" in text
    assert "0.250 [0.125, 0.375]" in text


def test_a_search_has_a_row_a_method():
    record = records.searched()
    rows = [line for line in export.markdown(record).splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(record.methods)
    assert words.said(record.methods[0].area.log) in rows[2]
    assert export.latex(record).count(r"\\") == 1 + len(record.methods)
