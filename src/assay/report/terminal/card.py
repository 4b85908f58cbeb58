"""A measurement in at most 24 lines of 100 columns: what is claimed, what came out, what stands against it, what next.

What does not fit is in the page and in `assay report RUN --section NAME` (`sections.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from assay.record.controls import ControlGroup
from assay.record.headline import OWN_FLOORS, TableRow
from assay.record.measurement import MeasurementRecord
from assay.report import floors, slices, swaps, verdict, words
from assay.report.cells import bare, nines_cell, row_name, sample
from assay.report.plain import plain_text
from assay.report.terminal.bars import bar

WIDE, ROWS, GROUPS, CHECKS = 100, 5, 3, 4
LINES, AROUND = 24, 4  # a blank line, the floors' header, where the page is, what is next
CLAIM, HEAD = 2, 7  # lines of the claim at most; lines above the floors; each more costs a row of these
INDENT = " " * 10
BAR = 40
GAP = 2  # between columns
_DIM, _GOLD, _RED = "dim", "bold yellow", "bold red"


def telling(record: MeasurementRecord) -> str:
    """The section that says most beyond the card: checks that fired, swaps, worst examples, or else controls."""
    if record.fired:
        return "checks"
    return "swaps" if record.interchange else "worst" if record.residual.worst else "controls"


class Card:
    """What `assay measure` prints.

    Args:
        record: the measurement.
        report: the path of the page, if one was written; follow: the command to go on with.
    """

    def __init__(self, record: MeasurementRecord, report: str | None = None, follow: str | None = None):
        self.record, self.report, self.follow = record, report, follow

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        wide = min(WIDE, options.max_width)
        head = list(self._head(console, wide))
        rows = self._rows(max(2, ROWS - max(0, len(head) - HEAD)))
        yield from head
        yield Text()
        yield self._floors(rows, wide)
        more, table = list(self._more_rows(len(rows))), self._controls(wide)
        yield from (_cut(line, wide) for line in more)
        if table is not None:
            yield table
        above = len(head) + len(rows) + len(more) + (0 if table is None else table.row_count + 1)
        for line in self._ends(max(1, min(CHECKS, LINES - above - AROUND - len(words.not_measured(self.record))))):
            yield _cut(line, wide)
        for what, said in (("report", self.report), ("next:", self.follow)):  # to be copied: whole, however long
            if said:
                yield Text(f"  {what} {plain_text(said)}", no_wrap=True, overflow="ignore")

    # -- what is claimed, and what came out -------------------------------------------------------------------------

    def _head(self, console: Console, wide: int) -> Iterator[Text]:
        record = self.record
        model, task = record.model.name, record.task.name or record.task.kind
        named = [model, task.removesuffix(f" of {model}"), sample(record.task)]
        line = " · ".join(plain_text(one) for one in (*named, _duration(record.timing.seconds)))
        yield _cut(Text(line, style=_DIM), wide)
        said = words.claim_line(record).replace(f" of {model}", "")  # the line above names it
        claim, level = Text(words.few_names(said), style="bold"), f"   level: {record.level}"
        room = wide - len(INDENT) - len(level)
        lines = list(claim.wrap(console, room))
        if len(lines) > CLAIM:
            lines[CLAIM - 1 :] = [_cut(Text(" ").join(lines[CLAIM - 1 :]), room)]
        for i, one in enumerate(lines):
            last = level if i == len(lines) - 1 else ""
            yield Text.assemble((INDENT if i else "  CLAIM   ", _DIM), one, (last, _DIM))
        result = Text(self._result(), style=_GOLD).wrap(console, wide - len(INDENT))
        yield from (Text.assemble((INDENT if i else "  RESULT  ", _DIM), one) for i, one in enumerate(result))
        first = verdict.led(record)
        leads = first[1] if first else record.headline.kl if record.removal else record.headline.recovered
        if leads is not None and leads.defined and not record.removal:
            yield Text.assemble(f"{INDENT}floor ", bar(leads, BAR), " model")
        for line in (
            self._swaps(),
            self._moves(),
            self._recovers(),
            self._no_interval(leads),
            self._as_well(),
            self._left(),
        ):
            for one in Text(line).wrap(console, wide - len(INDENT)) if line else ():
                yield Text.assemble(INDENT, one)

    def _result(self) -> str:
        head, first, swapped = self.record.headline, verdict.led(self.record), self.record.interchange
        under = f"under {head.ablation}"
        if self.record.removal:
            nats = f" · {self._change(head.nats)}" if words.defined(head.nats) else ""
            return plain_text(f"KL {bare(head.kl, 3)} nats when removed, {under}{nats}")
        if swapped is not None and swapped.accuracy.defined:
            share = bare(head.recovered if first is None else first[1])
            of = "" if first is None else f" of the {first[0].name}"
            text = f"interchange accuracy {bare(swapped.accuracy)}, the rest {swaps.rest(swapped.perturbed)}"
            text += f" · scrubbed {share}{of}"
            return plain_text(f"{text} over {floors.over(head)}")
        if first is not None:
            named, share = first
            text = f"recovered {words.percent(share, reason=False)} of the {named.name}"
            return plain_text(f"{text} over {floors.over(head)}")
        if not head.recovered.defined:
            return plain_text(f"recovered: {words.said(head.recovered)}")
        nines = f"{head.nines.shown} nines" if head.nines.shown else "nines undefined"
        text = f"recovered {bare(head.recovered)} over {floors.over(head)} · {nines}"
        return plain_text(text)

    def _change(self, nats: words.Figure) -> str:
        """By how much a removal changes the loss, or the task's own metric in its own unit."""
        named = verdict.metric(self.record)
        if named is None:
            return f"loss {bare(nats)} nats more"
        change = verdict.as_figure(words.as_estimate(nats), named.change)
        return f"{named.name} {bare(change)}{f' {named.unit}' if named.unit else ''} more"

    def _swaps(self) -> str:
        """Interchange accuracy where everything is left alone, beside that which leads."""
        found = self.record.interchange
        if found is None or not found.accuracy.defined:
            return "" if found is None else swaps.verdict(found)
        which = words.few_names(", ".join(found.variables))
        worst = f"{which}, the worst of {len(found.rows)}" if len(found.rows) > 1 else which
        return plain_text(f"Swaps of {worst}; {bare(found.plain)} with the rest left alone. {swaps.SCALE}.")

    def _moves(self) -> str:
        """What the task's own metric is at the floor, with the claim and in the model."""
        named, row = verdict.metric(self.record), self.record.headline_row
        if named is None or row is None or self.record.removal:
            return ""
        share = (
            "" if row.recovered_loss.defined else f" Its share is undefined, because {words.why(row.recovered_loss)}."
        )
        return plain_text(f"The {named.name}: {verdict.reached(self.record, row)}.{share}")

    def _recovers(self) -> str:
        record, row = self.record, next((row for row in self.record.table if row.headline), None)
        if row is None:
            return ""
        if record.removal:
            share = row.necessity
            known = share is not None and share.defined
            return (
                f"That is {words.percent(share, reason=False)} of what separates a bigram from the model."
                if known
                else ""
            )
        to = f" to {words.target(record)}" if record.target else ""
        found, moved = row.recovered, f"KL{to} {_short(row.kl_floor)} → {_short(row.kl_explained)} nats"
        if verdict.same_run(row):
            return f"It puts its floor's own values in place, and so recovers 0 by construction: {moved}."
        if verdict.led(record) is not None:
            nines = f", {record.headline.nines.shown} nines" if record.headline.nines.shown else ""
            share = f"it recovers {words.percent(found, reason=False)}{nines}: " if found.defined else ""
            return plain_text(f"In its predictions {share}{moved}.")
        if not found.defined:
            return f"At the floor and with the claim in place: {moved}."
        if found.high is not None and found.high < 0:
            return f"It does worse than its floor: {moved}."
        if words.ends_why(found):
            return f"It recovers {words.percent(found, reason=False)} of what is lost at the floor: {moved}."
        if found.low is None or found.low <= 0:
            return f"It is not shown to do better than its floor: {moved}."
        return f"It recovers {words.percent(found)} of what is lost at the floor: {moved}."

    def _no_interval(self, figure: words.Figure) -> str:
        """Why the figure that leads has none, once for all that have none."""
        return f"No interval: {words.why(figure)}." if words.ends_why(figure) else ""

    def _as_well(self) -> str:
        """What competes: the rival or control that comes nearest to the claim."""
        record = self.record
        head = record.headline.recovered.value
        better = [
            rival
            for rival in record.rivals
            if head is not None and rival.recovered.value is not None and rival.recovered.value >= head
        ]
        if better and not record.removal:
            best = max(better, key=lambda rival: rival.recovered.value or 0.0)
            return plain_text(
                f"A simpler system does as well or better: {best.name} recovers {words.said(best.recovered)}."
            )
        groups = self._competing()
        if not groups:
            why = record.controls.reason or "none could be made"
            return plain_text(f"No control was scored, because {why}.")
        places = 3 if record.removal else 2
        best = max(groups, key=lambda group: group.known[-1])
        own, top, p = best.claim.value, best.known[-1], record.controls.largest_p
        said = f"{words.number(top, places)} ({best.name})"
        apart = best.difference
        level = apart is not None and apart.low is not None and apart.low <= 0
        if own is not None and (top >= own or level):
            its = "" if best.p is None else f"; p = {words.p_text(best.p)}"
            return plain_text(f"A control does as well: {said}, the claim {words.number(own, places)}{its}.")
        tail = "" if p is None else f"; p = {words.p_text(p)}"
        if p is not None and p > 0.05:
            n = min(group.n for group in groups if group.p is not None)
            tail += f", the least for {n}" if p <= 1 / (1 + n) else ""
        return plain_text(f"No control does as well: the best has {said}{tail}.")

    def _competing(self) -> list[ControlGroup]:
        """Groups that the claim has to be better than: those with a p, and single ones; near misses are neither."""
        groups = [group for group in self.record.controls.groups if group.known]
        return [group for group in groups if group.p is not None or group.difference is not None]

    def _left(self) -> str:
        """Where what is left sits: the slice that the page names, in fewer words."""
        record, item = self.record, words.item(self.record)
        if record.removal:
            return ""
        one = slices.telling(record)
        if one is None:
            line = slices.telling_line(record)
            return line and f"{line} in what is left."
        share, tokens = (words.number(100 * part, 0) for part in (one.share, one.tokens))
        of = slices.phrase(one.by, one.name, item)
        return plain_text(f"Of what is left, {share} % falls on {tokens} % of the {item}s: {of}.")

    # -- floors, controls, checks -----------------------------------------------------------------------------------

    def _rows(self, most: int) -> list[TableRow]:
        """The headline's row first, then the claim's own floor under other ablations, then other floors."""
        head, rows = self.record.headline, self.record.table
        order = sorted(rows, key=lambda row: (not row.headline, row.floor != head.floor, row.ablation != head.ablation))
        return order[: most if len(rows) <= most else most - 1]

    def _floors(self, rows: list[TableRow], wide: int) -> Table:
        """The table of floors; columns for which there is no room are left out, as no figure may be cut."""
        record, table, named = self.record, _table(), verdict.metric(self.record)
        columns = ("  floor", "recovered", "nines", "KL floor → claim", "loss floor → claim → model")
        if record.removal:
            columns = ("  ablation", "KL when removed", f"{named.name if named else 'loss'}, more")
        elif named is not None:
            columns = ("  floor", f"of {named.name}", "of KL", "KL floor → claim", "floor → claim → model")
        lines: list[Sequence[str]] = [columns]
        for row in rows:
            mark = "▸ " if row.headline else "  "
            if record.removal:
                nats = row.nats if named is None else verdict.as_figure(row.nats, named.change)
                cells = [mark + row_name(row), bare(row.kl_explained, 3), bare(nats)]
            else:
                own = row.floor in OWN_FLOORS
                name = row_name(row) if own else plain_text(f"{row.floor}, {row.ablation}")
                kl = f"{_short(row.kl_floor)} → {_short(row.kl_explained)}"
                losses = (row.loss_floor, row.loss_explained, record.losses.model)
                found, share = bare(row.recovered), bare(row.recovered_loss)
                if named is None:
                    cells = [mark + name, found, nines_cell(row), kl, " → ".join(map(_short, losses))]
                else:
                    figures = [words.value_text(verdict.as_figure(loss, named.figure)) for loss in losses]
                    cells = [mark + name, share, found, kl, " → ".join(figures)]
            lines.append(cells)
        order = (2,) if record.removal else (4, 3, 2) if named is None else (3, 4, 2)
        shown = _fitting(lines, wide, order)
        for i in shown:
            table.add_column(columns[i], no_wrap=True)
        for row, line in zip(rows, lines[1:], strict=True):
            table.add_row(*(Text(line[i]) for i in shown), style=_GOLD if row.headline else "")
        return table

    def _more_rows(self, shown: int) -> Iterator[Text]:
        if (more := len(self.record.table) - shown) > 0:
            yield Text(f"  {more} more rows: --section floors", style=_DIM)

    def _controls(self, wide: int) -> Table | None:
        chosen = sorted(self._competing(), key=lambda group: -group.known[-1])[:GROUPS]
        if not chosen:
            return None
        places, table = (3 if self.record.removal else 2), _table()
        own = bare(chosen[0].claim, places)
        columns = ("  control", "n", "median", "best", "p", f"claim, same rows: {own}")
        lines = [columns, *(_cells(group, places) for group in chosen)]
        shown = _fitting(lines, wide, (2, 1, 5))
        for i in shown:
            table.add_column(columns[i], justify="right" if 0 < i < 5 else "left", no_wrap=True)
        for line in lines[1:]:
            table.add_row(*(Text(line[i]) for i in shown))
        return table

    def _ends(self, most: int) -> Iterator[Text]:
        """The checks that fired, a line each, at most so many; what was not measured."""
        fired = [check for check in self.record.checks if check.state == "fired"]
        for check in fired[: most if len(fired) <= most else most - 1]:
            tries = words.tries_line(self.record.tries) if check.name == "1 of m" else ""
            advice = tries or words.ADVICE.get(check.name, check.evidence)
            yield Text.assemble(("  ▲ ", _RED), (words.check_name(check.name), _RED), f"  {plain_text(advice)}")
        if len(fired) > most:
            names = ", ".join(words.check_name(check.name) for check in fired[most - 1 :])
            yield Text.assemble(("  ▲ ", _RED), f"also {names}: --section checks")
        if not fired:
            yield Text(f"  ✓ {words.checks_line(self.record)}", style=_DIM)
        for why, blocks in words.not_measured(self.record):
            yield Text(f"  ○ {why}: {plain_text(', '.join(blocks))}", style=_DIM)


def _table() -> Table:
    return Table(box=None, pad_edge=False, header_style=_DIM, padding=(0, GAP, 0, 0))


def _fitting(lines: Sequence[Sequence[str]], wide: int, order: Sequence[int]) -> list[int]:
    """The columns for which there is room; those that there is none for are left out in this order."""
    shown, widths = list(range(len(lines[0]))), [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    for i in order:
        if sum(widths[k] + GAP for k in shown) - GAP > wide and i in shown:
            shown.remove(i)
    return shown


def _cells(group: ControlGroup, places: int) -> tuple[str, ...]:
    values = group.known
    middle = values[len(values) // 2] if len(values) % 2 else sum(values[len(values) // 2 - 1 :][:2]) / 2
    p = "" if group.p is None else words.p_text(group.p)
    less = ""
    if group.difference is not None and words.defined(group.difference):
        less = f"claim less this {bare(group.difference, places)}"
    name = f"  {plain_text(group.name)}"
    return name, words.count(len(values)), words.number(middle, places), words.number(values[-1], places), p, less


def _short(value: words.Figure) -> str:
    """Alone: digits that only its interval would bear are noise."""
    estimate = words.as_estimate(value)
    return "undefined" if estimate.value is None else words.value_text(estimate.value, 3)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _cut(line: Text, wide: int) -> Text:
    line.truncate(wide, overflow="ellipsis")
    return line
