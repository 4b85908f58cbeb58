"""A search for circuits in the terminal: takes frontier.json's record, gives a line a method and a line a size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from assay.report import find_page, roc, words
from assay.report.plain import plain_text

_MOST = 12  # sizes of the table


def table(record: Mapping[str, Any], report: str | None = None, follow: str | None = None) -> Group:
    """What `assay find circuit` prints.

    Args:
        report: the path of the page; follow: the command to go on with.
    """
    methods = list(record.get("methods") or [])
    parts: list[RenderableType] = [Text(find_page.title(record), "bold"), _methods(methods), Text("")]
    chosen = (record.get("circuit") or {}).get("method")
    mine = next((one for one in methods if one.get("method") == chosen), None)
    if mine is not None:
        parts += [
            Text(f"sizes of {plain_text(chosen)} (edges that are left after pruning)"),
            _sizes(mine),
            Text(""),
        ]
    if record.get("roc"):
        parts += [Text(roc.line(record["roc"])), _roc(record["roc"]), Text("")]
    leak = record.get("leak") or {}
    parts.append(Text(f"leak: {leak.get('state', 'unknown')}; {plain_text(leak.get('evidence') or '')}"))
    for one in methods:
        if (one.get("mib") or {}).get("over_recovery"):
            parts.append(Text(f"over-recovery: {plain_text(one['method'])} beats the model, which its CPR counts"))
    parts.append(Text.assemble("In one sentence: ", (find_page.verdict(record), "bold")))
    ends = [f"{what} {plain_text(text)}" for what, text in (("report", report), ("next:", follow)) if text]
    if ends:
        parts.append(Text(" · ".join(ends)))
    return Group(*parts)


def _methods(methods: list[Mapping[str, Any]]) -> Table:
    out = Table(box=None, pad_edge=False)
    for i, name in enumerate(("method", "area, linear", "area, log", "CPR", "CMD", "passes")):
        out.add_column(name, justify="left" if i == 0 else "right")
    for one in methods:
        area, mib = one.get("area") or {}, one.get("mib") or {}
        figures = (area.get("linear"), area.get("log"), mib.get("cpr"), mib.get("cmd"))
        passes = words.count(round(one.get("passes") or 0))
        out.add_row(plain_text(one.get("method") or "?"), *(_short(figure) for figure in figures), passes)
    return out


def _roc(found: Mapping[str, Any]) -> Table:
    out = Table(box=None, pad_edge=False, show_header=bool(found["methods"]))
    for i, name in enumerate(("method", "area under the ROC curve", "right among its best")):
        out.add_column(name, justify="left" if i == 0 else "right")
    for row in roc.rows(found):
        out.add_row(*row)
    return out


def _sizes(method: Mapping[str, Any]) -> Table:
    out = Table(box=None, pad_edge=False)
    for name in ("edges", "share", "nodes", "recovered", "KL", "accuracy", "random circuits", "p"):
        out.add_column(name, justify="right")
    points = list(method.get("sizes") or [])
    step = max(1, -(-len(points) // _MOST))
    for point in [*points[:-1][::step], *points[-1:]]:
        control = point.get("control")
        band, p = "", ""
        if control:
            ends = [words.number(100 * control[key], 0) for key in ("median", "low", "high")]
            band, p = f"{ends[0]} % [{ends[1]}, {ends[2]}]", words.p_text(control["p"])
        out.add_row(
            words.count(point["edges"]),
            f"{100 * point['share']:.3g} %",
            words.count(point["nodes"]),
            _short(point["recovered"], 100.0, " %"),
            _value(point["kl"]),
            _value(point["accuracy"]),
            band,
            p,
        )
    return out


def _short(figure: Mapping[str, Any] | None, times: float = 1.0, unit: str = "") -> str:
    """A figure with its interval to three digits, so that a row fits."""
    found = words.as_estimate(figure)
    if found["value"] is None:
        return "undefined"
    decimals = 1 if times > 1 else 3
    ends = ["open" if found[key] is None else words.number(times * found[key], decimals) for key in ("low", "high")]
    return f"{words.number(times * found['value'], decimals)}{unit} [{ends[0]}, {ends[1]}]"


def _value(figure: Mapping[str, Any] | None) -> str:
    found = words.as_estimate(figure)["value"]
    return "undefined" if found is None else words.number(found, 3)
