"""The documentation's site, as mkdocs builds it: a hook that takes in the pages which lie outside of docs/.

The README is the home page, and what pages link to elsewhere in the repository (examples, the change log) is copied.
Links are written as they are true on GitHub, and rewritten here.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
HOME = "README.md", "index.md"
OUTSIDE = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE", "CITATION.cff")
_LINK = re.compile(r"(\]\()([^)#:\s]+)(#[^)]*)?(\))|(<img [^>]*src=\")([^\":]+)()(\")")
_WORDS = re.compile(r"^(```\w+) [^\n]+$", re.MULTILINE)  # after a block's language, for the tests
_FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def on_config(config: Any) -> Any:
    """Headings have the anchors that GitHub gives them."""
    config.mdx_configs["toc"]["slugify"] = _slug
    return config


def _slug(text: str, separator: str) -> str:
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", separator)


def on_files(files: Files, config: Any) -> Files:
    """Adds what lies outside of docs/."""
    examples = sorted(path for path in (ROOT / "examples").rglob("*") if path.is_file())
    for path in (ROOT / HOME[0], *(ROOT / name for name in OUTSIDE), *examples):
        files.append(File.generated(config, _on_site(str(path.relative_to(ROOT))), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links of a page lead to where their targets are on the site; blocks begin with their language alone."""
    source = page.file.src_uri
    return "".join(
        _WORDS.sub(r"\1", part) if part.startswith("```") else _LINK.sub(lambda found: _relinked(found, source), part)
        for part in _FENCE.split(markdown)
    )


def _relinked(found: re.Match[str], source: str) -> str:
    start, target, anchor, end = found.groups()[:4] if found[1] else found.groups()[4:]
    folder = posixpath.dirname(_in_repository(source))
    place = _on_site(posixpath.normpath(posixpath.join(folder, target)))
    return f"{start}{posixpath.relpath(place, posixpath.dirname(source) or '.')}{anchor or ''}{end}"


def _in_repository(page: str) -> str:
    """The path in the repository of a page of the site."""
    outside = page in OUTSIDE or page.startswith("examples/")
    return HOME[0] if page == HOME[1] else page if outside else f"docs/{page}"


def _on_site(path: str) -> str:
    """The path on the site of a file of the repository."""
    return HOME[1] if path == HOME[0] else path.removeprefix("docs/")
