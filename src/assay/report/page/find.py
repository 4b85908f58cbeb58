"""The page of `assay find circuit`: takes what frontier.json holds, gives one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from altair.utils.schemapi import debug_mode

from assay.record.about import DataRecord
from assay.record.graph import SCORES
from assay.record.search import Band, MethodRecord, Point, SearchRecord
from assay.report import export, search_words, words
from assay.report.charts import drawing, frontier, graph, heat, roc
from assay.report.page import shell
from assay.report.page.shell import Entry
from assay.report.search_words import short, title, verdict
from assay.report.verdict import metric_of

_DRAWN = 8  # methods whose band is drawn
_SMALL = (
    ("kl", "Divergence from the model: lower is better. Under 10⁻⁶ nats it is drawn there."),
    ("gap", "How far the task's metric is from the model's, in either direction: lower is better."),
    (
        "recovered_loss",
        "Recovered on the task's metric: errors can cancel in it; above 1 it beats the model.",
    ),
    ("accuracy", "Share of answers that are right."),
)


@debug_mode(False)  # the tests validate
def render(record: SearchRecord) -> str:
    """The page of a search."""
    methods, point, found = frontier.methods_of(record), record.chosen_point, record.circuit
    specs: dict[str, Any] = {"overview": frontier.overview(record), "heat": heat.heat(record.heat)}
    specs |= {name: frontier.overview(record, name, 210) for name, _ in _SMALL}
    specs |= {f"band-{i}": frontier.band(record, i) for i in range(min(_DRAWN, len(methods)))}
    if known := record.roc:
        specs["roc"] = roc.chart(known)
    return shell.render(
        "find.html",
        specs,
        assay=record.assay,
        claim_line=title(record),
        page_title=f"{title(record)} · {short(record)}",
        short=short(record),
        verdict=verdict(record),
        size=search_words.chosen(record),
        metric=metric_of(record.task.metric),
        contents=_contents(record, specs),
        copies=export.copies(record),
        glossary=_glossary(),
        total=record.total,
        found=found,
        chosen=point,
        control=_control(point.control) if point and point.control else None,
        share=words.share(found.edges / record.total) if record.total else "",
        losses=record.losses,
        facts=_facts(record),
        leak=record.leak,
        small=[(name, text) for name, text in _SMALL if specs[name] is not None],
        bands=[_band(method, i) for i, method in enumerate(methods) if specs.get(f"band-{i}") is not None],
        undrawn=max(0, len(methods) - _DRAWN),
        uncontrolled=[method.method for method in methods if not any(p.control for p in method.sizes)],
        methods=[_method(method) for method in methods],
        over=[_over(method) for method in methods if method.mib.over_recovery],
        roc_line=roc.line(known) if known else "",
        roc_rows=roc.rows(known) if known else [],
        picture=graph.picture(found.drawing, note=SCORES),
        heat=record.heat,
        strongest=heat.strongest(record.heat),
        notes=record.notes,
        command=record.arguments.command,
        versions=shell.facts_of(
            [
                ("assay", record.assay.version),
                *vars(record.versions).items(),
                ("seed", record.arguments.resolved.get("seed")),
            ]
        ),
    )


def _contents(record: SearchRecord, specs: Mapping[str, Any]) -> list[tuple[str, list[Entry]]]:
    deciding = [Entry("verdict", "Verdict"), Entry("frontier", "Frontier"), Entry("bands", "Random circuits")]
    deciding += [Entry("methods", "Methods")] + ([Entry("roc", "Beside the truth")] if record.roc else [])
    deciding += [Entry("circuit", "The circuit")] + ([Entry("heat", "Parts by position")] if specs["heat"] else [])
    more = [Entry("sizes", "Every size")] if record.methods else []
    more += [Entry("measured", "What was searched"), Entry("again", "Cite and repeat"), Entry("terms", "Terms")]
    return [("", deciding), ("Details", more)]


def save_circuit(record: SearchRecord) -> str:
    """The circuit that was found as the text of an SVG file."""
    return drawing.draw(record.circuit.drawing, standalone=True, unit="score", title=title(record)).svg


def _glossary() -> dict[str, str]:
    shared = ("recovered", "recovered (loss)", "ablation", "floor", "KL", "loss", "control", "p", "interval", "check")
    return words.FRONTIER_TERMS | {name: words.TERMS[name] for name in shared}


def _facts(record: SearchRecord) -> list[tuple[str, str]]:
    losses, metric = record.losses, record.task.metric
    loss = "Loss" if metric == "loss" else f"{metric}, as a loss,"
    return shell.facts_of(
        [
            ("Model", record.model.name),
            ("Edges", f"{words.count(record.total)} in all"),
            ("Task", f"{record.task.name}, metric: {metric}"),
            ("Ablation of every other edge", record.ablation),
            ("Searched on", _sample(record.selection)),
            ("Scored on", _sample(record.evaluation)),
            (f"{loss} of the model", words.said(losses.model, 3)),
            (f"{loss} with no edge", words.said(losses.empty, 3)),
            ("KL with no edge", words.said(losses.empty_kl, 3)),
        ]
    )


def _sample(part: DataRecord) -> str:
    return f"{words.count(part.documents)} documents, {words.count(part.rows)} rows, {words.count(part.tokens)} tokens"


def _control(control: Band) -> dict[str, Any]:
    """The random circuits of a size in words: they are many, so a share of 10⁻⁸ is none."""
    said = {key: words.number(getattr(control, key), 2) for key in ("median", "low", "high", "best")}
    return {"n": control.n, "p": control.p, **said}


def _band(method: MethodRecord, index: int) -> dict[str, Any]:
    """A method's chart with its controls, and at how many sizes it is better than all of them."""
    scored = [point.control for point in method.sizes if point.control is not None]
    best = sum(control.mine > control.best for control in scored)
    line = f"{method.method}: above every random circuit at {words.count(best)} of {words.count(len(scored))} sizes"
    return {"index": index, "line": line}


def _method(method: MethodRecord) -> dict[str, Any]:
    settings = ", ".join(_setting(key, value) for key, value in method.settings.items())
    return {"block": method, "settings": settings, "sizes": [_size(point) for point in method.sizes]}


def _setting(key: str, value: Any) -> str:
    """A setting in words: of the method that began the search its name alone, as its settings are the record's."""
    if isinstance(value, Mapping):
        value = value.get("method", ", ".join(f"{k} {v}" for k, v in value.items()))
    elif isinstance(value, list | tuple):
        value = ", ".join(f"{one:g}" if isinstance(one, float) else str(one) for one in value)
    return f"{key.replace('_', ' ')} {value}"


def _size(point: Point) -> dict[str, Any]:
    text, control = "", point.control
    if control is not None:
        low, high, middle, best = (
            words.number(x, 2) for x in (control.low, control.high, control.median, control.best)
        )
        text = f"{middle} [{low}, {high}], best {best}"
    return {**vars(point), "asked": point.asked if point.asked != point.edges else None, "controls": text}


def _over(method: MethodRecord) -> str:
    at = method.mib.over_recovery_at
    where = f" at {', '.join(words.count(n) for n in at[:6])} edges" if at else ""
    return (
        f"Over-recovery: circuits of {method.method} have a lower loss than the model{where}, so its CPR counts errors "
        "as gains. Read R_D and CMD."
    )
