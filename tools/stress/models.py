"""Models that readers hold files against: loaded once a worker."""

from __future__ import annotations

from functools import cache
from typing import Any

from assay.model.load import load


@cache
def zoo() -> Any:
    """Llama's family with grouped heads, 5 layers, and a tokenizer of 512 words."""
    return load("zoo:stories-260k")
