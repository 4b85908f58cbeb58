"""Words of a record that the card, the sections and the page share, and its table in Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from assay.record import controls as blocks
from assay.record.about import TaskRecord
from assay.record.headline import TableRow
from assay.record.measurement import MeasurementRecord
from assay.report import words
from assay.report.plain import plain_text

UNDEFINED = "undefined"


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


def cell(figure: words.Figure, least: int = 2) -> str:
    """A figure of a table, which has no room for the reason of an undefined one: that stands elsewhere."""
    return words.said(figure, least) if words.defined(figure) else UNDEFINED


def bare(figure: words.Figure, least: int = 2) -> str:
    """The same, of a figure without an interval the value alone: why it has none stands elsewhere too."""
    if not words.defined(figure):
        return UNDEFINED
    return f"{words.value_text(figure, least)} {words.interval_text(figure, least)}".rstrip()


def missing(figures: Iterable[tuple[str, words.Figure]]) -> list[str]:
    """Why figures of a table are undefined, or have no interval: a line a reason.

    Args:
        figures: each with the name of its column.
    """
    found: dict[tuple[bool, str], dict[str, None]] = {}
    for name, figure in figures:
        if not words.defined(figure) or words.ends_why(figure):
            found.setdefault((words.defined(figure), words.why(figure)), {})[name] = None
    return [
        f"No interval: {why}" if known else f"Undefined: {', '.join(names)}, because {why}"
        for (known, why), names in found.items()
    ]


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


def bits_line(record: MeasurementRecord) -> str:
    """The two lengths."""
    claim, alone = record.bits.claim.bits, record.bits.standalone.bits
    if claim is None and alone is None:
        return f"bits undefined, because {plain_text(record.bits.reason or 'they were not counted')}"
    return f"{words.bits(claim)} as a claim, {words.bits(alone)} stand-alone"


def nines_cell(row: TableRow) -> str:
    """The certified number alone: the row's name is the floor's name."""
    return plain_text(row.nines_shown) if row.nines_shown else words.value_text(row.nines)


def sample(task: TaskRecord) -> str:
    """How much was scored: tokens of documents, prompts or examples."""
    one = words.ITEMS.get(task.kind)
    if one is None:
        return f"{words.count(task.documents)} documents, {words.count(task.tokens)} scored tokens"
    many = f"{words.count(task.tokens)} {one}s"
    return many if task.documents == task.tokens else f"{many} of {words.count(task.documents)} documents"


def _cell(text: object, links: bool = True) -> str:
    # Intervals keep their brackets: without a parenthesis after it a bracket is no link.
    plain = plain_text(text).replace("\\", "\\\\")
    for char in "|*_`<>" + ("[]" if links else ""):
        plain = plain.replace(char, f"\\{char}")
    return plain
