"""What a claim file may say of component sets, and what level each kind claims."""

from __future__ import annotations

from typing import Literal, get_args

from assay.explanations.levels import Level

LEVELS: dict[str, Level] = {"keep": "where", "remove": "where", "constant": "how"}
ConstantName = Literal["mean", "mean_position", "zero", "optimal"]
CONSTANTS: tuple[ConstantName, ...] = get_args(ConstantName)
