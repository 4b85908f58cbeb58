"""A record in the terminal: takes records, gives rich renderables and Markdown. No text of a user is read as markup."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from assay.record import controls as blocks
from assay.record.about import TaskRecord
from assay.record.compute import Compute, Rung
from assay.record.headline import TableRow
from assay.record.measurement import MeasurementRecord
from assay.report import words
from assay.report.plain import plain_text
from assay.stats.estimate import Estimate

_DIM, _GOLD, _RED = "dim", "bold yellow", "bold red"


def measurement(record: MeasurementRecord, report: str | None = None, follow: str | None = None) -> Group:
    """What `assay measure` prints: the claim, a row an ablation, controls, worth, checks, the verdict, what is next.

    Args:
        record: the measurement.
        report: the path of the page, if one was written; follow: the command to go on with.
    """
    parts: list[RenderableType] = [
        Text.assemble(("claim      ", _DIM), (words.claim_line(record), "bold"), (f" (level: {record.level})", _DIM)),
        _rows(record),
        *_undefined(record),
    ]
    lines = [
        _controls(record),
        _random_weights(record),
        Text.assemble(("worth ", _DIM), compute_line(record)),
        _cut_off(record),
        Text.assemble(("checks ", _DIM), (words.checks_line(record), _RED if record.fired else "")),
        _tried(record),
        Text.assemble(("In one sentence: ", _DIM), (plain_text(record.sentence), "bold")),
    ]
    parts += [line for line in lines if line is not None]
    ends = [f"report {plain_text(report)}"] if report else []
    ends += [f"next: {plain_text(follow)}"] if follow else []
    if ends:
        parts.append(Text(" · ".join(ends)))
    return Group(*parts)


def as_markdown(record: MeasurementRecord) -> str:
    """The table of floors × ablations in Markdown, with the claim above it and the sample below it."""
    head = ["ablation", "floor", "recovered", "recovered (loss)", "nines", "KL: floor → explained"]
    head.append("loss: floor → explained → model")
    lines = [f"**{_cell(words.claim_line(record))}** (level: {record.level})", ""]
    lines += ["| " + " | ".join(head) + " |", "| " + " | ".join(["---"] * len(head)) + " |"]
    for row in record.table:
        name = f"**{_cell(row_name(row))}**" if row.headline else _cell(row_name(row))
        losses = (row.loss_floor, row.loss_explained, record.losses.model)
        figures = [words.said(row.recovered), words.said(row.recovered_loss), words.said(row.nines)]
        figures += [f"{words.said(row.kl_floor, 3)} → {words.said(row.kl_explained, 3)}"]
        figures += [" → ".join(words.said(x, 3) for x in losses)]
        cells = [name, _cell(row.floor), *(_cell(figure, links=False) for figure in figures)]
        lines.append("| " + " | ".join(cells) + " |")
    command = plain_text(record.arguments.command or "").replace("`", "")
    lines += ["", f"{sample(record.task)}; intervals: 95 %, over documents." + (f" `{command}`" if command else "")]
    return "\n".join(lines) + "\n"


def row_name(row: TableRow) -> str:
    """The ablation of a row with its option."""
    return plain_text(f"{row.ablation} ({row.option})" if row.option else row.ablation)


def group_line(group: blocks.ControlGroup) -> str:
    """One group of controls: how many, what they are, how the best and the middle one score, and p."""
    values, lead = group.known, group_name(group)
    if not values:
        return f"{lead}: not scored, because {group_why(group)}"
    middle = values[len(values) // 2] if len(values) % 2 else sum(values[len(values) // 2 - 1 :][:2]) / 2
    kl, places = ("KL ", 3) if group.measure == "kl" else ("", 2)  # a remove claim's parts cost KL
    if len(values) == 1:
        text = f"{lead}: {kl}{words.number(middle, places)}"
    else:
        best = words.number(values[-1], places)
        text = f"{lead}: median {kl}{words.number(middle, places)}, {'largest' if kl else 'best'} {best}"
    if words.defined(group.difference):
        text += f", the claim less this {words.said(group.difference, places)}"
    return text + (f", p = {words.p_text(group.p)}" if group.p is not None else "")


def group_name(group: blocks.ControlGroup) -> str:
    """How many controls, and what they are."""
    what, n = words.few_names(plain_text(group.what or group.name)), group.n
    return what if n < 2 or {str(n), words.count(n)} & set(what.split()) else f"{words.count(n)} × {what}"


def group_why(group: blocks.ControlGroup) -> str:
    """Why a group has no figures."""
    own = "ablating the parts of each changes nothing (under 10⁻⁶ nats a token)" if group.n else "there is none"
    return plain_text(group.reason or own)


def compute_line(record: MeasurementRecord) -> str:
    """What the claim is worth in training compute, and its length."""
    compute = record.compute
    return f"{words.tidy(compute.text)}{_ladder(compute)} · {bits_line(record)}"


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


def bits_line(record: MeasurementRecord) -> str:
    """The two lengths."""
    claim, alone = record.bits.claim.bits, record.bits.standalone.bits
    if claim is None and alone is None:
        return f"bits undefined, because {plain_text(record.bits.reason or 'they were not counted')}"
    return f"{words.bits(claim)} as a claim, {words.bits(alone)} stand-alone"


def _rows(record: MeasurementRecord) -> Table:
    table = Table(box=None, pad_edge=False, header_style=_DIM, padding=(0, 1, 0, 0))
    table.add_column("ablation", overflow="fold")
    model = record.losses.model
    if record.removal:
        for column in ("necessity", "KL", "loss: removed → model"):
            table.add_column(column, overflow="fold")
        for row in record.table:  # the paired difference says more than two losses
            loss = f"{words.said(model, 3)}, {words.said(row.nats, 3)} more"
            cells = (row_name(row), words.said(row.necessity), words.said(row.kl_explained, 3), loss)
            table.add_row(*(Text(cell) for cell in cells), style=_GOLD if row.headline else "")
        return table
    several = len({row.floor for row in record.table}) > 1
    for column in ("recovered", "nines", "KL: floor → explained", "loss: floor → explained → model"):
        table.add_column(column, overflow="fold", min_width=17 if column == "recovered" else None)
    for row in record.table:
        name = row_name(row) + (f", {plain_text(row.floor)}" if several else "")
        # In 80 columns only the headline figure has room for its interval; the page and the JSON have them all.
        kl = " → ".join(_short(x, 3) for x in (row.kl_floor, row.kl_explained))
        loss = " → ".join(_short(x, 3) for x in (row.loss_floor, row.loss_explained, model))
        found = words.said(row.recovered) if row.recovered.defined else "undefined"
        cells = (name, found, _nines_cell(row), kl, loss)
        table.add_row(*(Text(cell) for cell in cells), style=_GOLD if row.headline else "")
    return table


def _undefined(record: MeasurementRecord) -> list[RenderableType]:
    """Why figures of the table are undefined: a line each, since the reasons do not fit its columns."""
    rows = [] if record.removal else [row for row in record.table if not row.recovered.defined]
    named = ((f"{row_name(row)}, {plain_text(row.floor)}", words.why(row.recovered)) for row in rows)
    return [Text(f"{name}: undefined, because {why}", style=_DIM) for name, why in named]


def _nines_cell(row: TableRow) -> str:
    """The certified number alone: the row's name is the floor's name."""
    return plain_text(row.nines_shown) if row.nines_shown else words.value_text(row.nines)


def _short(value: Estimate | None, least: int) -> str:
    if value is None or value.value is None:
        return "undefined"
    return words.value_text(value.value, least)  # alone: digits that only its interval would bear are noise


def _controls(record: MeasurementRecord) -> Text | None:
    if not record.controls.groups:
        return None
    lines = [words.claim_on_controls(record), *map(group_line, record.controls.groups)]
    return Text.assemble(("controls ", _DIM), "; ".join(lines))


def _random_weights(record: MeasurementRecord) -> Text | None:
    found, reason = record.controls.random_weights, record.controls.random_weights_reason
    if found is None and not reason:
        return None
    text = f"not measured, because {plain_text(reason)}"
    if found is not None:
        text = f"{words.few_names(plain_text(found.what))}: {words.said(found.control)}"
        text += f"; difference {words.said(found.difference)}"
    return Text.assemble(("random weights ", _DIM), text)


def _cut_off(record: MeasurementRecord) -> Text | None:
    """Fits that still got better when they were ended."""
    lines = [f"{name}: {text}" for name, text in words.fitted(record, settled=False)]
    return Text.assemble(("fits ", _DIM), "; ".join(lines)) if lines else None


def _tried(record: MeasurementRecord) -> Text | None:
    """Which of how many claims on this split, with the p over all of them: said from the second on."""
    if record.tries is None or record.tries.tried < 2:
        return None
    return Text.assemble(("tries ", _DIM), f"this is {words.tries_line(record.tries)}")


def sample(task: TaskRecord) -> str:
    """How much was scored."""
    return f"{words.count(task.documents)} documents, {words.count(task.tokens)} scored tokens"


def _cell(text: object, links: bool = True) -> str:
    # Intervals keep their brackets: without a parenthesis after it a bracket is no link.
    plain = plain_text(text).replace("\\", "\\\\")
    for char in "|*_`<>" + ("[]" if links else ""):
        plain = plain.replace(char, f"\\{char}")
    return plain
