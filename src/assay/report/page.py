"""One self-contained page of a measurement: takes a record and its per-token table, gives HTML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from altair.utils.schemapi import debug_mode

from assay.record.about import DataRecord
from assay.record.compute import Compute, Overtaken
from assay.record.headline import Agreement
from assay.record.measurement import MeasurementRecord
from assay.record.pieces import Pieces
from assay.record.residual import Residual, Signal, Token, WorstRow
from assay.report import charts, circuit, pieces, shell, terminal, words
from assay.report.plain import plain_text

_SLICES = (("source", "source"), ("token_class", "token class"), ("position", "position"), ("document", "document"))
_STATES = ("fired", "unknown", "passed")
_NUMBER = re.compile(r"\d+(\.\d+)?")
_STEPS = (0.05, 0.3, 1.0, 2.0)  # nats of gap at which a token's colour deepens
_SHOWN = 12  # rows of a slice, and worst examples, that the page shows
_CONTEXT = 96  # tokens of an example that the page shows before and after the worst one


@debug_mode(False)  # the tests validate
def render(record: MeasurementRecord, examples: pa.Table | None = None) -> str:
    """The page of a record.

    Args:
        record: the measurement, as stored.
        examples: one row a scored token; without it the page lacks the distribution over tokens.
    """
    compute, nines = record.compute, record.headline.nines
    own = record.own.pieces if isinstance(record.own, Pieces) else ()
    return shell.render(
        "template.html",
        _specs(record, examples) | pieces.charts(own),
        assay=record.assay,
        glossary=words.TERMS | (words.CIRCUIT_TERMS if record.circuit else {}),
        r=record,
        head=record.headline,
        removal=record.removal,
        losses=record.losses,
        verdict=record.sentence,
        claim_line=words.claim_line(record),
        level_note=record.level_note,
        checks_line=words.checks_line(record),
        tries=_capital(words.tries_line(record.tries)),
        nines=nines,
        nines_interval=words.said(nines.value),
        compute=compute,
        placed=sorted(compute.systems, key=lambda row: row.loss.value or 0.0),
        **_rungs(compute),
        compute_text=_capital(words.tidy(compute.text)),
        law_warning=_capital(words.tidy((compute.power_law and compute.power_law.warning) or "")),
        compute_reason=compute.reason or words.why(compute.recovered),
        compute_facts=_compute_facts(compute),
        marks=charts.marks_of(record),
        length=record.bits,
        overtaken=[_overtaken(row) for row in record.bits.overtaken],
        facts=_facts(record),
        agreement=_agreement(record.agreement),
        parts=[*record.parts.components, *([record.parts.compound] if record.parts.compound else [])],
        circuit=record.circuit and circuit.block(record.circuit),
        pieces=own,
        strip=strip,
        checks=sorted(record.checks, key=lambda check: _STATES.index(check.state)),
        **_controls(record),
        **_residual(record.residual),
        gap_key=_gap_key(),
        command=record.arguments.command,
        markdown=terminal.as_markdown(record),
        versions=_versions(record),
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _facts(record: MeasurementRecord) -> list[tuple[str, str]]:
    model, task, reference = record.model, record.task, record.task.reference
    sizes = f", {model.shape.layers} layers, {model.shape.heads} heads" if model.shape else ""
    sources = ", ".join(f"{name} {words.count(n)}" for name, n in task.sources.items())
    found = [
        ("Model", f"{model.name} ({words.count(model.parameters)} parameters{sizes})"),
        ("Scope", ", ".join(record.claim.scope) or "the whole model"),
        ("Task", f"{task.name}, metric: {task.metric}"),
        ("Scored", _much(task) + (f" ({sources})" if sources else "")),
    ]
    if reference is not None:
        found.append(("Reference, never scored", _much(reference) + (f" ({reference.how})" if reference.how else "")))
    found += words.fitted(record)
    return [*found, ("Model fingerprint", model.fingerprint[:12]), ("Data fingerprint", task.fingerprint[:12])]


def _much(sample: DataRecord) -> str:
    return f"{words.count(sample.tokens)} tokens of {words.count(sample.documents)} documents"


def _agreement(found: Agreement) -> list[tuple[str, str]]:
    rows = [("same most likely token", words.percent(found.agreement))]
    for bound, figure in found.within.items():
        rows.append((f"tokens with KL ≤ {bound}, of those where the floor's is above", words.percent(figure)))
    rows += [
        ("accuracy of the model", words.percent(found.accuracy_model)),
        ("accuracy of the explained run", words.percent(found.accuracy)),
        ("accuracy of the floor", words.percent(found.accuracy_floor)),
        ("accuracy recovered: (explained − floor) / (model − floor)", words.said(found.accuracy_recovered)),
    ]
    if (hard := found.hard_tokens) is not None:
        name = f"recovered on the {words.percent(hard.share)} of tokens that {hard.by} finds hardest against this model"
        rows.append((name, words.said(hard.recovered)))
        kept = hard.kept.items()
        rows += [(f"of the model's lead there over {other}, kept", words.said(share)) for other, share in kept]
    for name, quantiles in (("KL", found.kl_quantiles), ("loss gap", found.delta_loss_quantiles)):
        listed = ", ".join(f"{_quantile(q)}\u00a0{words.value_text(x, 3)}" for q, x in quantiles.items())
        rows.append((f"{name} over tokens (quantiles)", listed))
    return rows


def _quantile(share: str) -> str:
    named = {"0.5": "median", "1": "largest"}
    return named.get(share) or (f"{float(share) * 100:g}\u00a0%:" if _NUMBER.fullmatch(share) else share)


def _compute_facts(compute: Compute) -> list[tuple[str, Any]]:
    names = {
        "recovered": "compute recovered",
        "share_explained": "share, explained run",
        "share_floor": "share, floor alone",
    }
    facts: list[tuple[str, Any]] = [(name, getattr(compute, key)) for key, name in names.items()]
    facts += [(f"{name}, log-linear", getattr(compute.linear, key, None)) for key, name in names.items()]
    return [(name, figure) for name, figure in facts if words.defined(figure)]


def _rungs(compute: Compute) -> dict[str, Any]:
    """What 50, 90, 99 and 99.9 % recovered of a floor's loss are worth: a row a floor; reasons stand below."""
    rows: dict[tuple[bool, str], list[dict[str, Any]]] = {}
    reasons: list[str] = []
    for rung in compute.ladder:
        without = bool(words.ends_why(rung.share))
        reasons += [words.why(rung.share)] if without else []
        shown = {"figure": rung.share.value if without else rung.share, "without": without}
        rows.setdefault((rung.own, rung.floor), []).append(shown)
    told = [(floor, shares) for (_, floor), shares in rows.items()]
    return {"ladder": told, "ladder_why": "; ".join(dict.fromkeys(reasons))}


def _overtaken(row: Overtaken) -> str:
    after = f"from {words.count(row.tokens)} tokens on" if row.tokens is not None else "at no length measured"
    return f"Shorter than {row.rival} {after}."


def _controls(record: MeasurementRecord) -> dict[str, Any]:
    """The groups that are drawn, those of a single figure as rows of a table, and why what is missing is missing."""
    groups: list[dict[str, Any]] = []
    singles: list[dict[str, Any]] = []
    for index, group in enumerate(record.controls.groups):
        values = group.known[::-1]
        listed = ", ".join(words.number(v, 4 if group.measure == "kl" else 2) for v in values)
        said = {"line": terminal.group_line(group), "named": terminal.group_name(group), "index": index}
        row = {"group": group, "many": len(values), "listed": listed, "why": terminal.group_why(group), **said}
        (groups if len(values) > 1 else singles).append(row)
    random = record.controls.random_weights
    return {
        "groups": groups,
        "singles": singles,
        "on_controls": _capital(words.claim_on_controls(record)),
        "random": [random, *random.also] if random else [],
    }


def _residual(residual: Residual) -> dict[str, Any]:
    slices = []
    for key, name in _SLICES:
        rows = residual.slices.get(key, ())
        top = max((row.kl.high or row.kl.value for row in rows if row.kl.value is not None), default=0.0)
        if rows:
            shown = {"rows": rows[:_SHOWN], "top": top, "more": max(0, len(rows) - _SHOWN)}
            slices.append({"name": name, "folded": key in {"position", "document"}, **shown})
    examples = [_example(example) for example in residual.worst[:_SHOWN]]
    return {"slices": slices, "signal": _signal(residual.signal), "worst": examples}


def _signal(signal: Signal) -> dict[str, Any]:
    """The residual's signal; of controls that are all undefined for one reason the reason is said once."""
    rest = [signal.noise, signal.shuffled, signal.reader]
    reasons = {words.why(figure) for figure in rest}
    if len(reasons) != 1 or any(figure.defined for figure in rest):
        return dict(vars(signal))
    said = f"Its controls are undefined, because {reasons.pop()}."
    return {"value": signal.value, "text": f"{signal.text} {said}".strip()}


def _example(example: WorstRow) -> dict[str, Any]:
    tokens = example.text
    # the token of that name with the largest KL
    same = [i for i, t in enumerate(tokens) if t.token == example.token] or range(len(tokens))
    focus = max(same, key=lambda i: tokens[i].kl or 0.0, default=0)
    where = f"{example.document}, position {example.position}"
    where += f": {_figures(tokens[focus])}" if tokens else ""
    return {"where": where, "tokens": strip(tokens, focus)}


def strip(tokens: Sequence[Token], focus: int | None = None) -> list[dict[str, Any]]:
    """Tokens as the page shows them, the one in focus outlined, with as many around it as there is room for."""
    first = max(0, (focus or 0) - _CONTEXT)
    return [_token(t, first + i == focus) for i, t in enumerate(tokens[first : (focus or 0) + _CONTEXT + 1])]


def _token(token: Token, focus: bool) -> dict[str, Any]:
    gap = token.gap
    deep = sum(abs(gap) >= step for step in _STEPS) if gap is not None else 0
    kind = f"{'w' if (gap or 0) > 0 else 'b'}{deep}" if deep else ""
    # A line break is shown and also breaks the line, so that code and verse keep their shape.
    text = plain_text(token.token).replace("↵", "↵\n") or "∅"
    tip = f"“{plain_text(token.token)}”\n{_figures(token)}"
    return {"text": text, "tip": tip, "cls": f"{kind} focus".strip() if focus else kind, "focus": focus}


def _figures(token: Token) -> str:
    found = (("model", token.loss_model), ("explained", token.loss_explained), ("floor", token.loss_floor))
    losses = ", ".join(f"{name} {words.number(loss, 2)}" for name, loss in found if loss is not None)
    gap, kl = token.gap, token.kl
    parts = [f"loss: {losses}"] if losses else []
    parts += [f"gap {'+' if gap > 0 else ''}{words.number(gap, 2)}"] if gap is not None else []
    parts += [f"KL {words.number(kl, 2)}"] if kl is not None else []
    return " · ".join(parts) or "not scored"


def _gap_key() -> list[tuple[str, str]]:
    worse = [(f"w{i + 1}", f"≥ {step:g}") for i, step in enumerate(_STEPS)]
    better = [(f"b{i + 1}", f"≤ −{step:g}") for i, step in enumerate(_STEPS)]
    return [*reversed(better), *worse]


def _versions(record: MeasurementRecord) -> list[tuple[str, str]]:
    # Not the timing: two runs of one command give the same page.
    found = {"assay": record.assay.version, **vars(record.versions), "claim hash": (record.claim.hash or "")[:16]}
    return shell.facts_of([*found.items(), ("seed", record.arguments.resolved.get("seed"))])


def _specs(record: MeasurementRecord, examples: pa.Table | None) -> dict[str, Any]:
    drawn = {
        "scaling": charts.scaling(record),
        "length": charts.length(record),
        "tokens": charts.tokens(examples, record.headline.ablation),
        "parts": charts.parts(record),
    }
    for index, group in enumerate(record.controls.groups):
        if len(group.known) > 1:
            drawn[f"controls-{index}"] = charts.controls(record, index)
    return drawn
