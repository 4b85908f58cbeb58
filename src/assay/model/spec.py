"""Names of number types, for whoever checks one before torch is imported."""

from __future__ import annotations

DTYPES = ("float32", "float64", "bfloat16", "float16")
