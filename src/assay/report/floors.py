"""A floor in words: one name wherever it stands, and what it costs."""

from __future__ import annotations

from assay.record.headline import Headline, TableRow
from assay.report.plain import plain_text

_NAMES = {  # of the claim's own floors, with the ablation
    "ablated": ("{} ablation", "what ablating the same parts ({}) costs"),
    "empty": ("nothing kept ({})", "what ablating everything ({}) costs"),
    "unconditioned": ("unconditioned data ({})", "what unconditioned data cost (the rest: {})"),
}


def over(row: Headline | TableRow) -> str:
    """Its name, as after "over"."""
    return _said(row, 0) or plain_text(f"the {row.floor}")


def cost(row: Headline | TableRow) -> str:
    """What is lost at it, as "what ablating the same parts (mean) costs"."""
    return _said(row, 1) or f"what separates the {plain_text(row.floor)} from the model"


def _said(row: Headline | TableRow, which: int) -> str:
    found = _NAMES.get(row.floor)
    return "" if found is None else found[which].format(plain_text(row.ablation))
