"""Pages of stored records as a reader meets them: elements, scripts and words."""

import functools
import json
import re
import subprocess
import tempfile
import unicodedata
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

from assay.report.page import page
from tests.report import records

HIDDEN = "\x1b[31m\u202e\u2066\x00\x85\u200f"
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>'\"&{{7*7}}<!--"


class Elements(HTMLParser):
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


def drawn(record: dict[str, Any]) -> str:
    return page.render(records.measured(record), records.examples())


def words_of(record: dict[str, Any]) -> str:
    return " ".join(Elements(drawn(record)).text.split())


@functools.cache
def whole_page() -> str:
    return drawn(records.data())


_FIXED = {
    "state",
    "level",
    "kind",
    "ablation",
    "measure",
    "method",
    "where",
    "block",
    "piece",
    "parts",
    "part",
    "metric",
}


def poisoned(value, key="", evil=EVIL):
    if isinstance(value, str):
        return value if key in _FIXED else f"{value}{evil}"
    if isinstance(value, dict):
        return {name: poisoned(item, name, evil) for name, item in value.items()}
    return [poisoned(item, key, evil) for item in value] if isinstance(value, list) else value


def hidden_in(rendered: str) -> set[str]:
    """Control characters and marks of text direction on a page or in its data, but for line breaks and tabs."""

    def texts(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        for part in (*value, *value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from texts(part)

    found = Elements(rendered)
    data = [text for script in found.scripts[:-2] for text in texts(json.loads(script))]
    everything = [found.text, *data, *(value or "" for _, names in found.elements for value in names.values())]
    return {char for text in everything for char in text
            if unicodedata.category(char) in ("Cc", "Cf") and char not in "\n\t"}  # fmt: skip


def browsed(html: str, script: str, tmp_path: Any) -> Elements:
    """The page's elements after a script of the test has run in it."""
    free = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    (tmp_path / "page.html").write_text(free.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    with tempfile.TemporaryDirectory() as profile:
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
        command += ["--proxy-server=127.0.0.1:9", "--virtual-time-budget=8000", "--dump-dom"]
        page = (tmp_path / "page.html").as_uri()
        done = subprocess.run([*command, page], capture_output=True, text=True, timeout=180, check=False)
    return Elements(done.stdout)


def examples_in(record: dict[str, Any]) -> dict[str, Any]:
    data = drawn(record).split('id="worst-data">')[1].split("</script>")[0]
    return json.loads(data)
