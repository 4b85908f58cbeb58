"""A search for places in the terminal: the best candidates, what they do together, and the rivals."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from assay.record.places import PlacesRecord
from assay.report import words
from assay.report.plain import plain_text
from assay.stats.estimate import Estimate

MOST = 5  # candidates that are shown


def table(record: PlacesRecord, folder: str, follow: str) -> Group:
    """What `assay find hypothesis` prints."""
    chosen = record.points[record.chosen]
    end = chosen.evaluation
    title = f"{plain_text(record.variable)}: {plain_text(', '.join(chosen.places))}, of {len(record.candidates)} places"
    parts: list[RenderableType] = [Text(title, "bold")]
    best = [f"{plain_text(one.name)} {words.said(one.shift)}" for one in record.candidates[:MOST]]
    parts += [Text("swapped alone, nats towards the answer that the hypothesis gives: " + ", ".join(best)), Text("")]
    parts += [_together(record), Text("")]
    parts.append(
        Text(
            f"On documents that chose nothing, {words.said(end.left)} of the answers turn as the hypothesis says with "
            f"the rest left alone, {words.said(end.resampled)} with the rest resampled."
        )
    )
    parts.append(Text(_rivals(record)))
    parts.append(Text(f"saved in {plain_text(folder)} · next: {plain_text(follow)}"))
    return Group(*parts)


def _together(record: PlacesRecord) -> Table:
    out = Table(box=None, pad_edge=False)
    names = ("places", "searched: rest left", "resampled", "others: rest left", "resampled", "shift, nats")
    for i, name in enumerate(names):
        out.add_column(name, justify="left" if i == 0 else "right", no_wrap=True)
    for index, point in enumerate(record.points):
        searched, others = point.selection, point.evaluation
        cells: list[Estimate] = [searched.left, searched.resampled, others.left, others.resampled]
        shift = f"{others.shift.value:.1f}" if others.shift.value is not None else "undefined"
        mark = "▸ " if index == record.chosen else "  "
        out.add_row(f"{mark}{len(point.places)}", *(words.said(cell) for cell in cells), shift)
    return out


def _rivals(record: PlacesRecord) -> str:
    found = record.rivals
    if found.reason is not None:
        return f"Rivals: none, because {plain_text(found.reason)}."
    best = "" if found.best is None else f"; the best of them turns {words.said(found.best)}"
    return (
        f"Rivals: {found.within} of {found.n} other sets of as many places in the same layers, under a quarter of them "
        f"the same, do as well ({words.said(found.share)}){best}."
    )
