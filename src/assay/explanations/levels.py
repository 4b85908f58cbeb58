"""Which question a claim answers (docs/definitions.md#levels): where things matter, what they carry, how they work."""

from __future__ import annotations

from typing import Literal, get_args

Level = Literal["where", "what", "how"]
LEVELS: tuple[Level, ...] = get_args(Level)
