"""How long `assay --help` takes beside importing torch: what a lazy public face saves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from speed.timing import best


def _run(code: str) -> float:
    return best(lambda: subprocess.run([sys.executable, "-c", code], check=True, capture_output=True), repeats=3)


def rows() -> Iterator[tuple[str, float, str, float]]:
    """One comparison."""
    yield "assay --help", _run("from assay.cli import main; main(['--help'])"), "import torch", _run("import torch")
