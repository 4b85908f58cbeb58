"""A share as a bar of text, from its floor to the model."""

from __future__ import annotations

from rich.text import Text

from assay.stats.estimate import Estimate


def bar(share: Estimate, wide: int) -> Text:
    """Full up to the interval's lower end, lighter within it; below the floor or above the model an arrow.

    Args:
        share: of the way from floor to model; undefined gives an empty bar.
        wide: characters between the ends.
    """
    value = share.value if share.value is not None else 0.0
    low, high = (value if end is None else end for end in (share.low, share.high))
    sure, maybe = (round(wide * min(max(end, 0.0), 1.0)) for end in (low, high))
    text = Text("◂" if value < 0 else "▕", style="bold red" if value < 0 else "dim")
    text.append("█" * sure, style="bold yellow")
    text.append("▒" * (maybe - sure), style="bold yellow")
    text.append("░" * (wide - maybe), style="dim")
    return text.append("▸" if value > 1 else "▏", style="dim")
