"""Text files that a claim names, made a task."""

from __future__ import annotations

from pathlib import Path

from assay.explanations.claims.file import load_claim
from tools.stress.models import zoo
from tools.stress.reader import FileReader, Seed
from tools.stress.readers.claims import STORY

CLAIM = """\
model: zoo:stories-260k
task: {kind: text, files: [%s, one.txt]}
reference: {files: [two.txt]}
explanation: {kind: keep, components: [a0.h1]}
"""


def seeds(folder: Path) -> list[Seed]:
    (folder / "one.txt").write_text(
        "Ben had a big blue boat. He took it to the lake and it went very fast with the wind."
    )
    (folder / "two.txt").write_text(
        "A cat and a dog sat in the sun. The cat was old and sad, but the dog wanted to play."
    )
    texts = {"plain.txt": STORY.encode(), "long.md": (STORY * 40).encode()}
    texts["bom"] = b"\xef\xbb\xbf" + STORY.replace("girl", "fille très naïve \U0001f98a").encode()
    return [Seed(name, content) for name, content in texts.items()]


def read(path: Path) -> None:
    claim = path.parent / "claim.yaml"
    claim.write_text(CLAIM % path.name)
    load_claim(claim).build_task(zoo())


TEXTS = FileReader(seeds, read)
