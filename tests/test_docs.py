"""The examples of the README and of docs/: Python blocks run, a namespace a file; YAML blocks are valid claims."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import assay
from assay.explanations.claims.file import claim_of
from assay.explanations.claims.source import parse
from tools import claim_files
from tools.results_figures import figure, pictures

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LONGEST = 12  # rows of a table of results that is not folded
NEEDS = "needs-"  # a block that needs another library: `test_neighbours` runs it where that is installed
_BLOCK = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[tuple[int, str, str]]:
    """(line, words after the language, text) of a page's fenced blocks."""
    text = page.read_text(encoding="utf-8")
    found = _BLOCK.finditer(text)
    return [(text.count("\n", 0, m.start()) + 1, m[2].strip(), m[3]) for m in found if m[1] == language]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for line, words, text in blocks(page, "python"):
        if words != "no-run" and not words.startswith(NEEDS):
            exec(compile("\n" * line + text, str(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_yaml_examples_are_valid_claims(page: Path):
    for line, words, text in blocks(page, "yaml"):
        if words != "no-run":
            claim_of(parse(text, f"{page.name}:{line}").data)


def test_prompts_that_pages_show_can_be_scored(tmp_path: Path):
    model = assay.load("zoo:novel-attn2-rep")
    seen = 0
    for page in PAGES:
        for line, _, text in blocks(page, ""):
            if text.startswith("clean,"):
                head, *rows = text.splitlines()
                other = rows[0].replace(" door", " river").replace(" garden", " letter")
                (tmp_path / "prompts.csv").write_text("\n".join([head, *rows, other]))
                assert len(assay.Task.prompts(model, tmp_path / "prompts.csv").documents) == len(rows), f"{page}:{line}"
                seen += 1
    assert seen


def test_the_page_of_claim_files_is_up_to_date():
    written = claim_files.PAGE.read_text(encoding="utf-8")
    assert written == claim_files.page(), "python -m tools.claim_files writes it anew"


def anchors(page: Path) -> set[str]:
    """Where links into a page may lead: its headings, as GitHub names them."""
    headings = re.findall(r"^#+ +(.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def leads_somewhere(page: Path, anchor: str) -> bool:
    return page.exists() and (not anchor or anchor in anchors(page))


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target, anchor in re.findall(r"\]\(([^)#:]*)#?([^):]*)\)", page.read_text(encoding="utf-8")):
            assert leads_somewhere(page.parent / target if target else page, anchor), f"{page.name}: {target}#{anchor}"


def test_references_in_code_lead_to_pages_of_docs():
    found = 0
    for file in (file for folder in ("src", "tests", "tools", "speed") for file in (ROOT / folder).rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        for target, anchor in re.findall(r"\b(docs/[\w/]+\.md)(?:#([\w-]+))?", text):
            assert leads_somewhere(ROOT / target, anchor), f"{file}: {target}#{anchor}"
            found += 1
        assert not re.search(r"\b[A-Z]{4,} (§\d|A\d\b)", text), f"{file} names a page that is not in this repository"
    assert found > 20


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_lines_of_prose_are_short(page: Path):
    lines = page.read_text(encoding="utf-8").splitlines()
    assert not [n for n, line in enumerate(lines, 1) if len(line) > 160 and not line.startswith("|")]


def test_pictures_of_results_are_drawn_from_the_tables_as_they_are():
    for path, picture in pictures().items():
        assert path.read_text(encoding="utf-8") == picture, f"python -m tools.results_figures draws {path.name} anew"
        assert picture.count("<circle") > 3
        assert f"({path.name})" in path.with_suffix(".md").read_text(encoding="utf-8")
    assert figure("−0.16 [−0.23, −0.08] (0.04; 0.25; 0.94)") == (-0.16, -0.23, -0.08)
    assert figure("0.96") == (0.96, 0.96, 0.96)
    assert figure("not measured") is None


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "results").glob("*.md")), ids=lambda page: page.stem)
def test_long_tables_of_results_are_folded(page: Path):
    inside, rows = False, 0
    for line in page.read_text(encoding="utf-8").splitlines():
        inside = line.startswith("<details") or (inside and not line.startswith("</details"))
        rows = rows + 1 if line.startswith("|") else 0
        assert inside or rows <= 2 + LONGEST, f"{page.name}: fold the table that has the row {line[:60]!r}"
