"""A record for other documents: takes it, gives Markdown, LaTeX and BibTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence

from assay.record.headline import TableRow
from assay.record.measurement import MeasurementRecord
from assay.record.search import SearchRecord
from assay.report import search_words, verdict, words
from assay.report.plain import plain_text
from assay.stats.estimate import Estimate

_TEX = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "−": "$-$",
    "×": r"$\times$",
    "→": r"$\rightarrow$",
    "‖": r"$\|$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "▲": r"$\blacktriangle$",
    "·": r"$\cdot$",
    "–": "--",
    "—": "---",
    "“": "``",
    "”": "''",
    "\u00a0": "~",
    "…": r"\ldots{}",
}
_RAISED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


def copies(record: MeasurementRecord | SearchRecord) -> list[tuple[str, str]]:
    """All forms, by name."""
    return [("Markdown", markdown(record)), ("LaTeX", latex(record)), ("BibTeX", bibtex(record))]


def markdown(record: MeasurementRecord | SearchRecord) -> str:
    """The verdict as a quotation, the table below it, the sample and the command."""
    title, sentences, head, rows, note, command = _content(record)
    lines = [f"**{_md(title)}**", "", f"> {_md(' '.join(sentences))}", ""]
    lines += ["| " + " | ".join(map(_md, head)) + " |", "| " + " | ".join(["---"] * len(head)) + " |"]
    for leads, cells in rows:
        shown = [_md(cell, links=False) for cell in cells]
        shown[0] = f"**{shown[0]}**" if leads else shown[0]
        lines.append("| " + " | ".join(shown) + " |")
    lines += ["", note + (f" `{plain_text(command).replace('`', '')}`" if command else "")]
    return "\n".join(lines) + "\n"


def latex(record: MeasurementRecord | SearchRecord) -> str:
    """The same as a table with its caption, for the package booktabs."""
    title, sentences, head, rows, note, _ = _content(record)
    body = []
    for leads, cells in rows:
        shown = [tex(cell) for cell in cells]
        shown[0] = rf"\textbf{{{shown[0]}}}" if leads else shown[0]
        body.append(" & ".join(shown) + r" \\")
    return (
        "\n".join(
            [
                r"% \usepackage{booktabs}",
                r"\begin{table}",
                r"\centering\small",
                rf"\caption{{\textbf{{{tex(title)}.}} {tex(' '.join(sentences))} {tex(note)}}}",
                rf"\label{{tab:assay-{_key(record)}}}",
                rf"\begin{{tabular}}{{{'l' * len(head)}}}",
                r"\toprule",
                " & ".join(tex(name) for name in head) + r" \\",
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
            ]
        )
        + "\n"
    )


def bibtex(record: MeasurementRecord | SearchRecord) -> str:
    """An entry for the measurement: its title, what made it, and the fingerprints by which it is found again."""
    title, *_ = _content(record)
    revision = f", revision {record.assay.revision}" if record.assay.revision else ""
    fields = {
        "title": f"{{{tex(title)}}}",
        "howpublished": f"{{Measured with assay {tex(record.assay.version)}{tex(revision)}}}",
        "note": f"{{Model {tex(record.model.name)} ({record.model.fingerprint[:12]}), "
        f"data {record.task.fingerprint[:12]}, seed {tex(record.arguments.resolved.get('seed'))}}}",
    }
    return f"@misc{{assay-{_key(record)},\n" + ",\n".join(f"  {k} = {v}" for k, v in fields.items()) + "\n}\n"


def tex(text: object) -> str:
    """Text that LaTeX prints as it is.

    Example:
        >>> tex("a0.h1_x: 5 % of 1.2 × 10¹² → −3")
        'a0.h1\\\\_x: 5 \\\\% of 1.2 $\\\\times$ 10$^{12}$ $\\\\rightarrow$ $-$3'
    """
    out = "".join(_TEX.get(char, char) for char in plain_text(text))
    return re.sub("[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda found: f"$^{{{found[0].translate(_RAISED)}}}$", out)


Content = tuple[str, Sequence[str], Sequence[str], Sequence[tuple[bool, Sequence[str]]], str, str | None]


def _content(record: MeasurementRecord | SearchRecord) -> Content:
    """Title, sentences, head of the table, its rows (whether one leads, and its cells), a note, and the command."""
    if isinstance(record, SearchRecord):
        return _search(record)
    said = verdict.verdict(record)
    item, task = words.item(record), record.task
    sample = f"{words.count(task.tokens)} {item}s"
    sample += "" if item == "example" else f" of {words.count(task.documents)} documents"
    note = f"{sample}; KL in {words.per(record)}; intervals: 95 %, over documents."
    named = verdict.metric(record)
    loss = "loss" if named is None else f"{named.name}, {named.unit}" if named.unit else named.name
    head = ["ablation", "KL", f"{loss}: removed − model", "necessity"]
    if not record.removal:
        head = ["ablation", "floor", "recovered", f"of the {named.name if named else 'loss'}", "nines"]
        head += ["KL: floor → explained", f"{loss}: floor → explained → model" if named else ""]
    rows = [(row.headline, _cells(record, row)) for row in record.table]
    filled = [i for i in range(len(head)) if any(cells[i] for _, cells in rows)]
    kept = [(leads, [cells[i] for i in filled]) for leads, cells in rows]
    return said.title, said.sentences, [head[i] for i in filled], kept, note, record.arguments.command


def _cells(record: MeasurementRecord, row: TableRow) -> list[str]:
    name = f"{row.ablation} ({row.option})" if row.option else row.ablation
    named = verdict.metric(record)
    if record.removal:
        nats = row.nats if named is None else verdict.as_figure(row.nats, named.change)
        figures = (row.kl_explained, nats, row.necessity)
        return [name, *(words.said(figure, 3) if words.defined(figure) else "" for figure in figures)]
    shares = [words.said(share) if share.defined else "undefined" for share in (row.recovered, row.recovered_loss)]
    losses = (row.loss_floor, row.loss_explained, record.losses.model) if named else ()
    reached = " → ".join(_alone(verdict.as_figure(loss, named.figure)) for loss in losses) if named else ""
    nines = row.nines_shown or (words.value_text(row.nines) if words.defined(row.nines) else "undefined")
    return [name, row.floor, *shares, nines, f"{_alone(row.kl_floor)} → {_alone(row.kl_explained)}", reached]


def _alone(figure: Estimate | None) -> str:
    return words.value_text(figure.value, 3) if figure is not None and figure.defined else "undefined"


def _search(record: SearchRecord) -> Content:
    rows = [
        (
            one.method == record.circuit.method,
            [one.method, *(words.said(x) for x in (one.area.log, one.area.linear, one.mib.cpr, one.mib.cmd))],
        )
        for one in record.methods
    ]
    head = ["method", "area (log)", "area (share)", "CPR", "CMD"]
    note = f"{words.count(record.evaluation.documents)} documents that were not searched on; intervals: 95 %."
    return search_words.title(record), [search_words.verdict(record)], head, rows, note, record.arguments.command


def _key(record: MeasurementRecord | SearchRecord) -> str:
    """A short name that is the same for the same claim, model and data."""
    own = record.claim.hash if isinstance(record, MeasurementRecord) else None
    return plain_text((own or record.model.fingerprint)[:8] + "-" + record.task.fingerprint[:6])


def _md(text: object, links: bool = True) -> str:
    # Intervals keep their brackets: without a parenthesis after it a bracket is no link.
    plain = plain_text(text).replace("\\", "\\\\")
    for char in "|*_`<>" + ("[]" if links else ""):
        plain = plain.replace(char, f"\\{char}")
    return plain
