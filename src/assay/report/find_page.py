"""The page of `assay find circuit`: takes what frontier.json holds, gives one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assay.report import circuit, drawing, frontier, heat, roc, shell, words
from assay.report.plain import plain_text
from assay.report.shell import cleaned

_DRAWN = 8  # methods whose band is drawn
_SMALL = (
    ("kl", "Divergence from the model: lower is better. Under 10⁻⁶ nats it is drawn there."),
    ("gap", "How far the loss is from the model's, in either direction: lower is better."),
    (
        "recovered_loss",
        "Recovered on the loss: errors can cancel in it; above 1 it beats the model.",
    ),
    ("accuracy", "Share of answers that are right."),
)


def render(record: Mapping[str, Any]) -> str:
    """The page.

    Args:
        record: as frontier.json holds it.
    """
    methods = frontier.methods_of(record)
    specs: dict[str, Any] = {"overview": frontier.overview(record), "heat": heat.heat(record.get("heat"))}
    specs |= {name: frontier.overview(record, name, 210) for name, _ in _SMALL}
    specs |= {f"band-{i}": frontier.band(record, i) for i in range(min(_DRAWN, len(methods)))}
    if known := record.get("roc"):
        specs["roc"] = roc.chart(known)
    chosen = chosen_size(record)
    found = record.get("circuit") or {}
    shown = dict(found.get("drawing") or {})
    return shell.render(
        "find.html",
        specs,
        assay=cleaned(record.get("assay") or {}),
        claim_line=title(record),
        verdict=verdict(record),
        glossary=_glossary(),
        total=record.get("total"),
        found=cleaned({key: value for key, value in found.items() if key != "drawing"}),
        chosen=chosen or {},
        control=_control((chosen or {}).get("control") or {}),
        share=words.share(found["edges"] / record["total"]) if found.get("edges") and record.get("total") else "",
        losses=record.get("losses") or {},
        facts=_facts(record),
        leak=_leak(record.get("leak")),
        small=[(name, text) for name, text in _SMALL if specs[name] is not None],
        bands=[_band(method, i) for i, method in enumerate(methods) if specs.get(f"band-{i}") is not None],
        undrawn=max(0, len(methods) - _DRAWN),
        uncontrolled=[_name(method) for method in methods if not any(p.get("control") for p in _sizes(method))],
        methods=[_method(method) for method in methods],
        over=[_over(method) for method in methods if (method.get("mib") or {}).get("over_recovery")],
        roc_line=roc.line(known) if known else "",
        roc_rows=roc.rows(known) if known else [],
        picture=circuit.picture(shown, note=circuit.NO_INTERVAL) if shown else None,
        heat_unit=plain_text((record.get("heat") or {}).get("unit") or "effect"),
        heat_documents=(record.get("heat") or {}).get("documents"),
        strongest=heat.strongest(record.get("heat")),
        notes=cleaned(record.get("notes") or []),
        command=plain_text((record.get("arguments") or {}).get("command") or ""),
        versions=_versions(record),
    )


def save_circuit(record: Mapping[str, Any]) -> str | None:
    """The circuit that was found as the text of an SVG file; None where there is none."""
    shown = (record.get("circuit") or {}).get("drawing")
    return drawing.draw(shown, standalone=True, unit="score", title=title(record)).svg if shown else None


def title(record: Mapping[str, Any]) -> str:
    """What was searched, by which methods."""
    model = (record.get("model") or {}).get("name") or "a model"
    task = record.get("task") or {}
    names = [_name(method) for method in frontier.methods_of(record)]
    said = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    on = task.get("name") or task.get("kind")
    return plain_text(f"circuits of {model}" + (f" on {on}" if on else "") + (f", by {said}" if said else ""))


def verdict(record: Mapping[str, Any]) -> str:
    """One plain sentence: what the circuit recovers on documents that the search did not see, beside its controls."""
    found, point = record.get("circuit") or {}, chosen_size(record)
    method, total = plain_text(found.get("method") or "?"), record.get("total")
    if not found.get("edges"):
        return "No circuit was found."
    text = f"{words.count(found['edges'])} of {words.count(total)} edges"
    text += f" ({words.share(found['edges'] / total)})" if total else ""
    ablation = plain_text(record.get("ablation") or "the")
    if point is None:
        return f"{text}, chosen by {method}; this size was not scored, so what it recovers is not known."
    if not words.defined(point.get("recovered")):
        return f"{text}, chosen by {method}: what they recover is undefined, because {words.why(point['recovered'])}."
    share = words.percent(point["recovered"])
    text = f"{text}, chosen by {method}, recover {share} of what is lost with none of them, under {ablation} ablation"
    control = point.get("control")
    if not control:
        return f"{text}. No random circuits of this size were scored."
    ends = ", ".join(words.number(100 * control[key], 0) for key in ("low", "high"))
    middle = words.number(100 * control["median"], 0)
    text += f"; of {words.count(control['n'])} random circuits of that size the middle one recovers {middle} %"
    return f"{text} (90 % of them: [{ends}] %; p\u00a0=\u00a0{words.p_text(control['p'])})."


def chosen_size(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """The size of the frontier that the circuit that was written has; None where it was not scored."""
    found = record.get("circuit") or {}
    for method in record.get("methods") or []:
        if method.get("method") == found.get("method"):
            same = [point for point in _sizes(method) if point.get("edges") == found.get("edges")]
            return dict(same[0]) if same else None
    return None


def _sizes(method: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(method.get("sizes") or [])


def _name(method: Mapping[str, Any]) -> str:
    return plain_text(method.get("method") or "?")


def _glossary() -> dict[str, str]:
    shared = ("recovered", "recovered (loss)", "ablation", "floor", "KL", "loss", "control", "p", "interval", "check")
    mine = words.FRONTIER_TERMS | {"edge": words.CIRCUIT_TERMS["edge"]}
    return mine | {name: words.TERMS[name] for name in shared}


def _facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    model, task = record.get("model") or {}, record.get("task") or {}
    rows: list[tuple[str, object]] = [
        ("Model", model.get("name")),
        ("Edges", f"{words.count(record.get('total'))} in all" if record.get("total") else None),
        ("Task", task.get("name") or task.get("kind")),
        ("Ablation of every other edge", record.get("ablation")),
        ("Searched on", _sample(record.get("selection"))),
        ("Scored on", _sample(record.get("evaluation"))),
    ]
    losses = record.get("losses") or {}
    for key, name in (("model", "Loss of the model"), ("empty", "Loss with no edge"), ("empty_kl", "KL with no edge")):
        if losses.get(key) is not None:
            rows.append((name, words.said(losses[key], 3)))
    return shell.facts_of(rows)


def _sample(part: Mapping[str, Any] | None) -> str:
    part = part or {}
    said = [f"{words.count(part[key])} {key}" for key in ("documents", "rows", "tokens") if part.get(key) is not None]
    return ", ".join(said)


def _leak(leak: Any) -> dict[str, str] | None:
    """The check that selection and evaluation share nothing, as a row of checks."""
    if not isinstance(leak, Mapping) or not leak:
        return None
    fired = leak.get("fired")
    state = leak.get("state") or ("unknown" if fired is None else "fired" if fired else "passed")
    evidence = leak.get("evidence") or leak.get("text") or ""
    row = {"name": leak.get("name") or "leak", "state": state, "evidence": evidence}
    return cleaned(row | {"threshold": leak.get("threshold") or ""})


def _control(control: Mapping[str, Any]) -> dict[str, Any]:
    """The random circuits of a size in words: they are many, so a share of 10⁻⁸ is none."""
    said = {key: words.number(control[key], 2) for key in ("median", "low", "high", "best") if key in control}
    return {**control, **said} if control else {}


def _band(method: Mapping[str, Any], index: int) -> dict[str, Any]:
    """A method's chart with its controls, and at how many sizes it is better than all of them."""
    scored = [point for point in _sizes(method) if point.get("control")]
    own = [words.as_estimate(point["control"].get("mine", point.get("recovered")))["value"] for point in scored]
    best = sum(x is not None and x > point["control"]["best"] for x, point in zip(own, scored, strict=True))
    line = f"{_name(method)}: above every random circuit at {words.count(best)} of {words.count(len(scored))} sizes"
    return {"index": index, "line": line}


def _method(method: Mapping[str, Any]) -> dict[str, Any]:
    settings = ", ".join(_setting(key, value) for key, value in (method.get("settings") or {}).items())
    return {
        "name": _name(method),
        "settings": plain_text(settings),
        "passes": method.get("passes"),
        "area": method.get("area") or {},
        "mib": method.get("mib") or {},
        "sizes": [_size(point) for point in _sizes(method)],
    }


def _setting(key: str, value: Any) -> str:
    """A setting in words: of the method that began the search its name alone, as its settings are the record's."""
    if isinstance(value, Mapping):
        value = value.get("method", ", ".join(f"{k} {v}" for k, v in value.items()))
    elif isinstance(value, list | tuple):
        value = ", ".join(f"{one:g}" if isinstance(one, float) else str(one) for one in value)
    return f"{key.replace('_', ' ')} {value}"


def _size(point: Mapping[str, Any]) -> dict[str, Any]:
    control = point.get("control")
    text = ""
    if control:
        low, high, middle, best = (words.number(control[key], 2) for key in ("low", "high", "median", "best"))
        text = f"{middle} [{low}, {high}], best {best}"
    asked = point.get("asked") if point.get("asked") != point.get("edges") else None
    return {**point, "asked": asked, "controls": text, "p": (control or {}).get("p")}


def _over(method: Mapping[str, Any]) -> str:
    at = (method.get("mib") or {}).get("over_recovery_at") or []
    where = f" at {', '.join(words.count(n) for n in at[:6])} edges" if at else ""
    return (
        f"Over-recovery: circuits of {_name(method)} have a lower loss than the model{where}, so its CPR counts errors "
        "as gains. Read R_D and CMD."
    )


def _versions(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = {"assay": (record.get("assay") or {}).get("version"), **(record.get("versions") or {})}
    seed = ((record.get("arguments") or {}).get("resolved") or {}).get("seed")
    return shell.facts_of([*found.items(), ("seed", seed)])
