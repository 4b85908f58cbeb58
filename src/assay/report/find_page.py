"""The page of `assay find circuit`: takes what frontier.json holds, gives one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from altair.utils.schemapi import debug_mode

from assay.record.about import DataRecord
from assay.record.search import Band, MethodRecord, Point, SearchRecord
from assay.report import circuit, drawing, frontier, heat, roc, shell, words
from assay.report.plain import plain_text

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
        verdict=verdict(record),
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
        picture=circuit.picture(found.drawing, note=circuit.NO_INTERVAL),
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


def save_circuit(record: SearchRecord) -> str:
    """The circuit that was found as the text of an SVG file."""
    return drawing.draw(record.circuit.drawing, standalone=True, unit="score", title=title(record)).svg


def title(record: SearchRecord) -> str:
    """What was searched, by which methods."""
    names = [method.method for method in frontier.methods_of(record)]
    said = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return plain_text(f"circuits of {record.model.name} on {record.task.name}" + (f", by {said}" if said else ""))


def verdict(record: SearchRecord) -> str:
    """One plain sentence: what the circuit recovers on documents that the search did not see, beside its controls."""
    found, point = record.circuit, record.chosen_point
    if not found.edges:
        return "No circuit was found."
    text = f"{words.count(found.edges)} of {words.count(record.total)} edges"
    text += f" ({words.share(found.edges / record.total)})" if record.total else ""
    text += f", chosen by {plain_text(found.method)}"
    if point is None:
        return f"{text}; this size was not scored, so what it recovers is not known."
    if not point.recovered.defined:
        return f"{text}: what they recover is undefined, because {words.why(point.recovered)}."
    ablation = plain_text(record.ablation)
    text += f", recover {words.percent(point.recovered)} of what is lost with none of them, under {ablation} ablation"
    if (control := point.control) is None:
        return f"{text}. No random circuits of this size were scored."
    ends = ", ".join(words.number(100 * end, 0) for end in (control.low, control.high))
    middle = words.number(100 * control.median, 0)
    text += f"; of {words.count(control.n)} random circuits of that size the middle one recovers {middle} %"
    return f"{text} (90 % of them: [{ends}] %; p\u00a0=\u00a0{words.p_text(control.p)})."


def _glossary() -> dict[str, str]:
    shared = ("recovered", "recovered (loss)", "ablation", "floor", "KL", "loss", "control", "p", "interval", "check")
    mine = words.FRONTIER_TERMS | {"edge": words.CIRCUIT_TERMS["edge"]}
    return mine | {name: words.TERMS[name] for name in shared}


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
