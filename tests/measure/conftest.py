"""What tests of several files measure."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml


@pytest.fixture
def claim(tmp_path: Path) -> Path:
    """A claim file whose measurement takes seconds and more than a small budget."""
    return claim_in(tmp_path)


def claim_in(folder: Path) -> Path:
    path = folder / "claim.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "model": "zoo:novel-1l",
                "task": {"kind": "repeat", "n": 24, "length": 10},
                "explanation": {"kind": "keep", "components": ["a0.h0", "a0.h1", "m0"]},
                "ablation": ["mean"],
                "controls": 19,
            }
        )
    )
    return path
