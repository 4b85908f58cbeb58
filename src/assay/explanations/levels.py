"""Which question a claim answers (docs/definitions.md#levels): where things matter, what they carry, how they work."""

from __future__ import annotations

from typing import Literal

Level = Literal["where", "what", "how"]
