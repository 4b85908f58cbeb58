"""A search for circuits in the terminal: takes frontier.json's record, gives a line a method and a line a size."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from assay.record.search import MethodRecord, RocRecord, SearchRecord
from assay.report import search_words, words
from assay.report.cells import missing
from assay.report.charts import roc
from assay.report.page import find as find_page
from assay.report.plain import plain_text
from assay.report.verdict import metric_of
from assay.stats.estimate import Estimate

_MOST = 12  # sizes of the table


def table(record: SearchRecord, report: str | None = None, follow: str | None = None) -> Group:
    """What `assay find circuit` prints.

    Args:
        report: the path of the page; follow: the command to go on with.
    """
    parts: list[RenderableType] = [Text(find_page.title(record), "bold"), _methods(record), Text("")]
    if (chosen := record.chosen_method) is not None:
        heading = f"sizes of {plain_text(chosen.method)} (edges that are left after pruning)"
        parts += [Text(heading), _sizes(chosen, record), Text("")]
    if record.roc is not None:
        parts += [Text(roc.line(record.roc)), _roc(record.roc), Text("")]
    parts += [Text(line) for line in missing(_figures(record))]
    parts.append(Text(f"leak: {record.leak.state}; {plain_text(record.leak.evidence)}"))
    for one in record.methods:
        if one.mib.over_recovery:
            parts.append(Text(f"over-recovery: {plain_text(one.method)} beats the model, which its CPR counts"))
    parts.append(Text.assemble((find_page.verdict(record), "bold"), f" {search_words.chosen(record)}"))
    ends = [f"{what} {plain_text(text)}" for what, text in (("report", report), ("next:", follow)) if text]
    if ends:
        parts.append(Text(" · ".join(ends)))
    return Group(*parts)


def _methods(record: SearchRecord) -> Table:
    out = Table(box=None, pad_edge=False)
    for i, name in enumerate(("method", "area, linear", "area, log", "CPR", "CMD", "passes")):
        out.add_column(name, justify="left" if i == 0 else "right", no_wrap=i > 0)
    for one in record.methods:
        areas, mib = map(_short, (one.area.linear, one.area.log)), map(_value, (one.mib.cpr, one.mib.cmd))
        out.add_row(plain_text(one.method), *areas, *mib, words.count(round(one.passes)))
    return out


def _figures(record: SearchRecord) -> list[tuple[str, Estimate]]:
    """The figures of the tables that may be undefined, by their columns."""
    named, chosen = metric_of(record.task.metric), record.chosen_method
    found = [(name, figure) for one in record.methods for name, figure in (("CPR", one.mib.cpr), ("CMD", one.mib.cmd))]
    for point in chosen.sizes if chosen else ():
        own = (named.name, point.recovered_loss) if named else ("accuracy", point.accuracy)
        found += [("recovered", point.recovered), ("KL", point.kl), own]
    return found


def _roc(found: RocRecord) -> Table:
    out = Table(box=None, pad_edge=False, show_header=bool(found.methods))
    for i, name in enumerate(("method", "area under the ROC curve", "right among its best")):
        out.add_column(name, justify="left" if i == 0 else "right")
    for row in roc.rows(found):
        out.add_row(*row)
    return out


def _sizes(method: MethodRecord, record: SearchRecord) -> Table:
    """A row a size, the written circuit's among them; a task's own metric stands in the place of accuracy."""
    out, named = Table(box=None, pad_edge=False), metric_of(record.task.metric)
    own = named.name if named else "accuracy"
    for name in ("  edges", "share", "nodes", "recovered", "KL", own, "random circuits", "p"):
        out.add_column(name, justify="right")
    points, written = method.sizes, record.circuit.edges
    step = max(1, -(-len(points) // _MOST))
    for i, point in enumerate(points):
        if i % step and point.edges != written and i != len(points) - 1:
            continue
        control, band, p = point.control, "", ""
        if control is not None:
            ends = [words.number(100 * end, 0) for end in (control.median, control.low, control.high)]
            band, p = f"{ends[0]} % [{ends[1]}, {ends[2]}]", words.p_text(control.p)
        out.add_row(
            ("▸ " if point.edges == written else "") + words.count(point.edges),
            f"{100 * point.share:.3g} %",
            words.count(point.nodes),
            _short(point.recovered, 100.0, " %"),
            _value(point.kl),
            _short(point.recovered_loss, 100.0, " %") if named else _value(point.accuracy),
            band,
            p,
            style="bold" if point.edges == written else "",
        )
    return out


def _short(found: Estimate, times: float = 1.0, unit: str = "") -> str:
    """A figure with its interval to three digits, so that a row fits."""
    if found.value is None:
        return "undefined"
    decimals = 1 if times > 1 else 3
    if found.low is None and found.high is None:
        return f"{words.number(times * found.value, decimals)}{unit}"
    ends = ["open" if end is None else words.number(times * end, decimals) for end in (found.low, found.high)]
    return f"{words.number(times * found.value, decimals)}{unit} [{ends[0]}, {ends[1]}]"


def _value(found: Estimate) -> str:
    return "undefined" if found.value is None else words.number(found.value, 3)
