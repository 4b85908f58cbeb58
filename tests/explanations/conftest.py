"""Reading a claim file, and the sentence that refuses one."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.errors import ClaimError
from assay.explanations.claims.file import ClaimFile, load_claim


@pytest.fixture
def claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Reads a text as claim.yaml in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def read(text: str | bytes) -> ClaimFile:
        Path("claim.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_claim("claim.yaml")

    return read


@pytest.fixture
def refusal(claim):
    """The sentence with which a text is refused."""

    def refused(text: str | bytes) -> str:
        with pytest.raises(ClaimError) as caught:
            claim(text)
        sentence = str(caught.value)
        assert "\n" not in sentence
        assert len(sentence) < 300
        return sentence

    return refused
