"""Parts of a measurement in full, for `assay report RUN --section NAME`: what the card has no room for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from assay.record.compute import Compute, Rung
from assay.record.graph import Graph
from assay.record.measurement import MeasurementRecord
from assay.record.pieces import HeatMap, Piece, Sentence, TablePiece, TokenStrip
from assay.report import cells as cells_of
from assay.report import slices, words
from assay.report import strength as strength_of
from assay.report import swaps as swaps_of
from assay.report.cells import bare, bits_line, group_line, nines_cell, row_name
from assay.report.charts import graph
from assay.report.page import details, sees
from assay.report.page import worst as worst_of
from assay.report.plain import plain_lines, plain_text
from assay.report.verdict import NamedMetric, as_figure, metric, undefined
from assay.report.verdict import verdict as verdict_of
from assay.stats.estimate import Estimate

_DIM, _GOLD, _RED = "dim", "bold yellow", "bold red"


def floors(record: MeasurementRecord) -> list[RenderableType]:
    """A row a floor and ablation."""
    intervals = (line for line in cells_of.missing(_figures(record)) if line.startswith("No"))
    return [_rows(record), *(Text(line, style=_DIM) for line in (*undefined(record), *intervals))]


def swaps(record: MeasurementRecord) -> list[RenderableType]:
    """Interchange accuracy of each variable."""
    found = record.interchange
    if found is None:
        return [Text("none, because the claim names no variables whose values could be swapped")]
    table = _table(*swaps_of.columns(found))
    for row in swaps_of.rows(found):
        table.add_row(*(Text(cell if isinstance(cell, str) else bare(cell)) for cell in row))
    shown = [table] if found.rows else []
    others = swaps_of.coarser(found)
    if others:
        shown.append(_table(*swaps_of.COARSER))
        for row in others:
            shown[-1].add_row(*(Text(cell if isinstance(cell, str) else bare(cell)) for cell in row))
    return [*shown, Text(swaps_of.sees(found), style=_DIM)]


def controls(record: MeasurementRecord) -> list[RenderableType]:
    """Every group of controls, and the search on random weights."""
    lines = [words.claim_on_controls(record), *map(group_line, record.controls.groups)]
    if record.controls.reason:
        lines.append(f"none, because {plain_text(record.controls.reason)}")
    lines += [line for line in (_random_weights(record), words.tries_line(record.tries)) if line]
    return [Text(line) for line in lines if line]


def rivals(record: MeasurementRecord) -> list[RenderableType]:
    """Simpler systems that compete for the same credit."""
    if not record.rivals:
        return [Text(f"none, because {plain_text(record.rivals_reason or 'none could be made')}")]
    named, figures = metric(record), list[tuple[str, words.Figure]]()
    own = named.name if named else "loss"
    table = _table("rival", "recovered", "KL", own, "bits")
    for one in record.rivals:
        loss = _figure(named, words.as_estimate(one.loss))
        figures += [("recovered", one.recovered), ("KL", one.kl), (own, loss)]
        cells = (
            plain_text(one.name),
            *(bare(x, places) for (_, x), places in zip(figures[-3:], (2, 3, 3), strict=True)),
        )
        table.add_row(*(Text(cell) for cell in (*cells, words.bits(one.bits) if one.bits is not None else "none")))
    return [table, *(Text(line, style=_DIM) for line in cells_of.missing(figures))]


def compute(record: MeasurementRecord) -> list[RenderableType]:
    """What the claim is worth in training compute."""
    return [Text(f"{words.tidy(record.compute.text)}{_ladder(record.compute)}")]


def length(record: MeasurementRecord) -> list[RenderableType]:
    """The two lengths."""
    return [Text(bits_line(record))]


def residual(record: MeasurementRecord) -> list[RenderableType]:
    """Where what is left sits (no interval: too few documents), and the worst examples."""
    table = _table("slice", "tokens", "KL", "gap in loss", "share of what is left")
    for by, rows in record.residual.slices.items():
        for one in rows[:8] if len(rows) > 1 else ():
            share = "undefined" if one.share is None else words.share(one.share)
            found = (f"{words.value_text(x, 3)} {words.interval_text(x, 3)}".rstrip() for x in (one.kl, one.gap))
            cells = (plain_text(f"{by}: {one.slice}"), words.count(one.tokens), *found, share)
            table.add_row(*(Text(cell) for cell in cells))
    lines: list[RenderableType] = [table, Text(words.tidy(record.residual.signal.text))]
    for one in record.residual.worst[:5]:
        before = "".join(token.token for token in one.text[: one.position][-24:])
        text = plain_text(f"{one.document}, KL {words.number(one.kl, 2)}: …{before}[{one.token}]")
        lines.append(Text(text))
    return lines


def checks(record: MeasurementRecord) -> list[RenderableType]:
    """Every check with its evidence, those that fired first."""
    table = _table("", "check", "what was seen", "what to do")
    for check in sorted(record.checks, key=lambda check: list(words.STATES).index(check.state)):
        advice = words.ADVICE.get(check.name, "") if check.state == "fired" else ""
        cells = (words.STATES[check.state], words.check_name(check.name), words.tidy(check.evidence), advice)
        table.add_row(*(Text(cell) for cell in cells), style=_RED if check.state == "fired" else "")
    return [table]


def parts(record: MeasurementRecord) -> list[RenderableType]:
    """Each component alone, and all at once."""
    block = record.parts
    if block.reason:
        return [Text(f"none, because {plain_text(block.reason)}")]
    table = _table("component", "recovered", "KL floor → explained", "necessity")
    figures = list[tuple[str, words.Figure]]()
    for row in (*block.components, *([block.compound] if block.compound else [])):
        kl = " → ".join(words.value_text(x, 3) for x in (row.kl_floor, row.kl_explained))
        needed = "" if row.necessity is None else bare(row.necessity)
        figures += [("recovered", row.recovered), *([("necessity", row.necessity)] if needed else [])]
        table.add_row(*(Text(cell) for cell in (plain_text(row.component), bare(row.recovered), kl, needed)))
    return [table, *(Text(line, style=_DIM) for line in cells_of.missing(figures))]


def headline(record: MeasurementRecord) -> list[RenderableType]:
    """The figures that the page draws as bars."""
    return [Text(sees.headline(record)), _rows(record)]


def worst(record: MeasurementRecord) -> list[RenderableType]:
    """The worst examples, each with the tokens around it."""
    found = worst_of.examples(record)
    if found is None:
        return [Text("none, because no example was kept")]
    table = _table(words.item(record), "KL", "loss gap", "where")
    for one in found.rows:
        figures = (words.number(one.kl, 2), "" if one.gap is None else words.number(one.gap, 2))
        cells = (plain_text(f"{one.before}[{one.token}]{one.after}".replace("\n", "")), *figures, plain_text(one.where))
        table.add_row(*map(Text, cells))
    line = slices.telling_line(record)
    return [*([Text(f"{line}.")] if line else []), table]


def agreement(record: MeasurementRecord) -> list[RenderableType]:
    """How far the explained run agrees with the model."""
    return _facts(details.agreement(record))


def measured(record: MeasurementRecord) -> list[RenderableType]:
    """The model and its data, and what was taken from the reference."""
    return _facts(details.facts(record))


def missing(record: MeasurementRecord) -> list[RenderableType]:
    """What was not measured, and why."""
    return _facts(details.missing(record)) or [Text("nothing is missing")]


def again(record: MeasurementRecord) -> list[RenderableType]:
    """What repeats it: the command, the claim file, versions; and passes by stage."""
    table = _table("stage", "passes over all scored rows")
    for stage in record.budget.stages:
        table.add_row(plain_text(stage.name), words.number(stage.passes, 2))
    told = [text for text in (record.arguments.command, record.claim.text) if text]
    return [*(Text(plain_lines(text)) for text in told), *_facts(details.versions(record)), table]


def terms(record: MeasurementRecord) -> list[RenderableType]:
    """What every word means."""
    return _facts(list(details.glossary(record).items()))


def verdict(record: MeasurementRecord) -> list[RenderableType]:
    """The measurement in sentences that can be quoted."""
    said = verdict_of(record)
    return [Text(f"{said.title}.", style="bold"), *map(Text, said.sentences)]


def strength(record: MeasurementRecord) -> list[RenderableType]:
    """The claim by how hard everything else is ablated."""
    found = record.strength
    if found is None:
        return [Text("the claim says nothing that everything else could be ablated around")]
    lines: list[RenderableType] = [Text(strength_of.sees(record))]
    if found.rows:
        named = metric(record)
        table = _table(*strength_of.columns(found, named.name if named else "loss"))
        for row in strength_of.rows(found, named.figure if named else None):
            cells = (cell if isinstance(cell, str) else bare(cell, 3) for cell in row)
            table.add_row(*map(Text, cells))
        lines.append(table)
    return lines


SECTIONS: dict[str, Callable[[MeasurementRecord], list[RenderableType]]] = {
    one.__name__: one
    for one in (
        *(verdict, swaps, headline, controls, worst, length, compute),
        *(floors, strength, agreement, checks, parts, rivals, residual, measured, missing, again, terms),
    )
}


def names(record: MeasurementRecord) -> list[str]:
    """Sections of this record's page, as its links name them; what its kind alone says is under the kind's name."""
    return [*SECTIONS, *([record.own.block] if record.own else [])]


def section(record: MeasurementRecord, name: str) -> Group:
    """One part of the record in full; `name` is one of `names`."""
    return Group(*(SECTIONS[name](record) if name in SECTIONS else own(record)))


def own(record: MeasurementRecord) -> list[RenderableType]:
    """What only this kind of claim says."""
    assert record.own is not None
    lines: list[RenderableType] = [Text(plain_text(record.own.title), style="bold")]
    for piece in record.own.pieces:
        lines += _piece(piece)
    return [*lines, *(Text(plain_text(note), style=_DIM) for note in record.own.notes)]


def _piece(piece: Piece) -> list[RenderableType]:
    if isinstance(piece, Sentence):
        return [Text(plain_text(piece.text))]
    if isinstance(piece, Graph):
        return [Text(graph.size_line(piece))]
    if isinstance(piece, TokenStrip):
        return [Text(plain_text(f"{piece.title}: {''.join(token.token for token in piece.tokens)}"))]
    rows: list[tuple[Estimate | float | str | None, ...]]
    if isinstance(piece, TablePiece):
        title, text, columns, rows = piece.title, piece.text, piece.columns, list(piece.rows)
    elif isinstance(piece, HeatMap):
        title, text, columns = piece.unit, None, ("", *piece.columns)
        rows = [(name, *values) for name, values in zip(piece.rows, piece.values, strict=True)]
    else:
        title, text, columns = piece.title, None, (piece.x, "", piece.y)
        rows = [(x, name, y) for name, line in piece.lines.items() for x, y in line]
    table = _table(*map(plain_text, columns))
    for row in rows:
        table.add_row(*map(_cell, row))
    return [
        Text(plain_text(title), style=_DIM),
        *([Text(plain_text(text))] if text else []),
        *([table] if rows else []),
    ]


def _cell(value: Estimate | float | str | None) -> Text:
    if value is None or isinstance(value, str):
        return Text(plain_text(value or ""))
    return Text(words.said(value) if isinstance(value, Estimate) else words.number(value, 3))


def _facts(found: Sequence[tuple[str, object]]) -> list[RenderableType]:
    return [Text(plain_text(f"{name}: {text}")) for name, text in found]


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style=_DIM, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _rows(record: MeasurementRecord) -> Table:
    model, named = record.losses.model, metric(record)
    loss = "loss" if named is None else f"{named.name}, {named.unit}" if named.unit else named.name
    if record.removal:
        needed = any(words.defined(row.necessity) for row in record.table)
        table = _table("ablation", *(["necessity"] if needed else []), "KL", f"{loss}: model, removed − model")
        for row in record.table:  # the paired difference says more than two losses
            change = row.nats if named is None else as_figure(row.nats, named.change)
            own = f"{bare(_figure(named, model), 3)}, {bare(change, 3)}"
            cells = [bare(row.necessity)] if needed else []
            cells = (row_name(row), *cells, bare(row.kl_explained, 3), own)
            table.add_row(*(Text(cell) for cell in cells), style=_GOLD if row.headline else "")
        return table
    columns = ("recovered", _of(record), "nines", "KL: floor → explained", f"{loss}: floor → explained")
    table = _table("ablation, floor", *columns)
    for row in record.table:
        kl, losses = ((row.kl_floor, row.kl_explained), (row.loss_floor, row.loss_explained))
        pairs = (kl, [_figure(named, x) for x in losses])
        shown = [" → ".join(bare(x, 3) for x in pair) for pair in pairs]
        found, lost = map(bare, (row.recovered, row.recovered_loss))
        name = f"{row_name(row)}, {plain_text(row.floor)}"
        cells = (name, found, lost, nines_cell(row), *shown)
        table.add_row(*(Text(cell) for cell in cells), style=_GOLD if row.headline else "")
    return table


def _figures(record: MeasurementRecord) -> Sequence[tuple[str, words.Figure]]:
    """The figures of these rows."""
    rows = record.table
    return [("KL", row.kl_explained) for row in rows] + [("recovered", row.recovered) for row in rows]


def _figure(named: NamedMetric | None, loss: Estimate | None) -> Estimate | None:
    """A loss, or the task's own metric where there is one."""
    return loss if named is None else as_figure(loss, named.figure)


def _of(record: MeasurementRecord) -> str:
    named = metric(record)
    return f"of the {named.name if named else 'loss'}"


def _random_weights(record: MeasurementRecord) -> str:
    found, reason = record.controls.random_weights, record.controls.random_weights_reason
    if found is None:
        return f"random weights: not measured, because {plain_text(reason)}" if reason else ""
    text = f"random weights: {words.few_names(plain_text(found.what))}: {words.said(found.control)}"
    return f"{text}; the claim less this {words.said(found.difference)}"


def _ladder(compute: Compute) -> str:
    """What 90 and 99 % recovered of the headline floor's loss would be worth."""
    first = [r for r in compute.ladder if (r.floor, r.own) == (compute.ladder[0].floor, compute.ladder[0].own)]
    told = [r for r in first if r.recovered in (0.9, 0.99) and r.share.defined]
    if not told:
        return ""
    whys = list(dict.fromkeys(words.ends_why(r.share) for r in told))
    if len(whys) == 1:  # one reason for both: said once
        shown = [f"{words.value_text(r.share)} {words.interval_text(r.share)}".rstrip() for r in told]
        tail = f" {whys[0]}" if whys[0] else ""
    else:
        shown, tail = [words.said(r.share) for r in told], ""
    shares = ", ".join(f"{100 * r.recovered:g} % {share}" for r, share in zip(told, shown, strict=True))
    return f"; of the model's compute, a loss recovered over {_floor_words(told[0])} by {shares}{tail}"


def _floor_words(rung: Rung) -> str:
    """The claim's own floor with its ablation; others as they are called."""
    return plain_text(f"this floor ({rung.floor})" if rung.own else f"the {rung.floor}")
