"""Two measurements in one picture, for a reader who has never seen one: over a weak floor, and over their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import altair as alt
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from assay.record.headline import TableRow
from assay.record.measurement import MeasurementRecord
from assay.report import words
from assay.report.style import CLAIM, FLOOR, chart_of, finish
from assay.report.terminal.bars import bar

WEAK = "unigram"
BAR = 16
_USUAL, _DECIDES = "the loss, over token counts alone", "predictions, over the parts switched off"
_DIM, _GOLD, _RED = "dim", "bold yellow", "bold red"
NamedRecords = Sequence[tuple[str, MeasurementRecord]]


class SideBySide:
    """The demo's text: what two claims say, the usual number of both, and the number that tells them apart.

    Args:
        runs: each claim in plain words, and its record, measured over `WEAK` and over its own parts' ablation.
        ends: lines below: where the pages are, and what to do next.
    """

    def __init__(self, runs: NamedRecords, ends: Sequence[str] = ()):
        self.runs, self.ends = runs, ends

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        first = self.runs[0][1]
        task, model = first.task, first.model.name
        yield Text(f"{model} · {words.count(task.tokens)} tokens of {words.count(task.documents)} texts", style=_DIM)
        yield Text("A small language model that reads novels and code. Which of two stories about its parts is true?\n")
        for letter, (said, _) in zip("AB", self.runs, strict=False):
            yield Text.assemble((f"  {letter}  ", _GOLD), said)
        yield Text(
            "\nThe test: put the rule in the place of the real part, and see what the model's predictions lose.\n"
        )
        yield self._table()
        yield Text()
        for letter, (_, record) in zip("AB", self.runs, strict=False):
            yield Text.assemble((f"  {letter}  ", _GOLD), self._verdict(record))
        yield Text("\n     A number means little without its floor: what is scored when nothing at all is explained.")
        yield from (Text(f"  {line}") for line in self.ends)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style=_DIM, padding=(0, 2, 0, 0))
        for column in ("  share of the model's performance kept", *"AB"[: len(self.runs)]):
            table.add_column(column, no_wrap=True)
        for name, style, row in (
            (f"  usual: {_USUAL}", _DIM, _over_counts),
            (f"▸ {_DECIDES}", "", _over_own),
        ):
            cells = [Text(name, style=style)]
            for _, record in self.runs:
                found = row(record).recovered_loss if row is _over_counts else row(record).recovered
                said = "undefined" if found.value is None else words.percent(found.value)
                cells.append(Text.assemble(bar(found, BAR), f" {said}"))
            table.add_row(*cells)
        return table

    def _verdict(self, record: MeasurementRecord) -> str:
        own = _over_own(record)
        kl = f"{words.value_text(own.kl_floor, 3)} nats with the parts switched off, "
        kl += f"{words.value_text(own.kl_explained, 3)} with the rule"
        if own.recovered.low is not None and own.recovered.low > 0:
            return f"holds up: the predictions move by {kl}."
        if own.recovered.high is not None and own.recovered.high < 0:
            return f"does not: they move by {kl}, so worse."
        return f"is not shown to help: the predictions move by {kl}."


def picture(runs: NamedRecords) -> alt.LayerChart:
    """The same as bars: a row a claim and floor."""
    rows = [
        {"claim": letter, "floor": floor, "value": found.value, "low": found.low, "high": found.high}
        for letter, (_, record) in zip("AB", runs, strict=False)
        for floor, found in (
            (_USUAL, _over_counts(record).recovered_loss),
            (_DECIDES, _over_own(record).recovered),
        )
        if found.value is not None
    ]
    y = alt.Y("claim:N", title=None)
    x = alt.X("value:Q", title="share of the model's performance kept", axis=alt.Axis(format="%", tickCount=6))
    scale = alt.Scale(domain=[_USUAL, _DECIDES], range=[FLOOR, CLAIM])
    legend = alt.Legend(orient="top", direction="vertical", columns=1, labelLimit=0)  # side by side they overlap
    colour = alt.Color("floor:N", title=None, scale=scale, legend=legend)
    offset = alt.YOffset("floor:N", sort=[_USUAL, _DECIDES])  # as in the legend
    bars = chart_of(rows).mark_bar(height=12).encode(x=x, y=y, yOffset=offset, color=colour)
    ends = chart_of(rows).mark_rule().encode(x="low:Q", x2="high:Q", y=y, yOffset=offset)
    said = alt.Title(
        [f"{letter}  {claim}" for letter, (claim, _) in zip("AB", runs, strict=False)], anchor="start", fontSize=11
    )
    return finish(alt.layer(bars, ends).properties(title=said), height=130)


def _over_counts(record: MeasurementRecord) -> TableRow:
    return next(row for row in record.table if row.floor == WEAK)


def _over_own(record: MeasurementRecord) -> TableRow:
    return next(row for row in record.table if row.headline)
