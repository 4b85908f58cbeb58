"""The examples of the README and of docs/: Python blocks run, a namespace a file; YAML blocks are valid claims."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from assay.explanations.claims.file import claim_of
from assay.explanations.claims.source import parse

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


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
        if words != "no-run":
            exec(compile("\n" * line + text, str(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_yaml_examples_are_valid_claims(page: Path):
    for line, words, text in blocks(page, "yaml"):
        if words != "no-run":
            claim_of(parse(text, f"{page.name}:{line}").data)


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
