"""Which question a claim answers (docs/definitions.md#levels): where things matter, what they carry, how they work."""

from __future__ import annotations

from typing import get_args

from assay.names import Level

LEVELS: tuple[Level, ...] = get_args(Level)
