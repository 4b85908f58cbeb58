"""A model's face for tasks: a real tokenizer of the zoo with the sizes that its model has; no weights are loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest

from assay.zoo import corpus

MODELS = corpus.FOLDER.parent / "models"


@dataclass(frozen=True, eq=False)
class Handle:
    """Name, tokenizer, BOS, context and vocabulary."""

    name: str
    tokenizer: Any
    bos: int | None = 0
    config: Any = field(default_factory=lambda: SimpleNamespace(context=256, vocab=4_096))


@cache
def tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer

    if not (MODELS / name).is_dir():
        pytest.skip(f"zoo:{name} is not built in: {MODELS / name} is missing", allow_module_level=True)
    return AutoTokenizer.from_pretrained(MODELS / name)


def novel(**changes: Any) -> Handle:
    """A model of the novel family; `changes` go to its config."""
    config = SimpleNamespace(**{"context": 256, "vocab": 4_096, **changes})
    return Handle("zoo:novel-attn2-rep", tokenizer("novel-attn2-rep"), 0, config)


def stories() -> Handle:
    return Handle("zoo:stories-260k", tokenizer("stories-260k"), 1, SimpleNamespace(context=512, vocab=512))
