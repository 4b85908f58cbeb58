"""One self-contained page of a measurement: takes a record and its per-token table, gives HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from assay.report import charts, circuit, shell, terminal, words
from assay.report.plain import plain_text
from assay.report.shell import cleaned, present

_SLICES = (("source", "source"), ("token_class", "token class"), ("position", "position"), ("document", "document"))
_STATES = ("fired", "unknown", "passed")
_STEPS = (0.05, 0.3, 1.0, 2.0)  # nats of gap at which a token's colour deepens
_SHOWN = 12  # rows of a slice, and worst examples, that the page shows
_ACCURACY = (
    ("accuracy_model", "accuracy of the model"),
    ("accuracy", "accuracy of the explained run"),
    ("accuracy_floor", "accuracy of the floor"),
    ("accuracy_recovered", "accuracy recovered: (explained − floor) / (model − floor)"),
)
_CONTEXT = 96  # tokens of an example that the page shows before and after the worst one


def render(record: Mapping[str, Any], examples: pa.Table | None = None) -> str:
    """The page of a record.

    Args:
        record: the measurement, as stored.
        examples: one row a scored token; without it the page lacks the distribution over tokens.
    """
    head = record.get("headline") or {}
    compute = record.get("compute") or {}
    nines_big, _, nines_rest = plain_text((head.get("nines") or {}).get("text") or "").partition(" ")
    certified = words.as_estimate(record.get("nines"))
    return shell.render(
        "template.html",
        _specs(record, examples),
        assay=cleaned(record.get("assay") or {}),
        glossary=words.TERMS | (words.CIRCUIT_TERMS if record.get("circuit") else {}),
        r={"table": [], "rivals": [], "level": "", "next": None, "nines": None, **present(record)},
        head={"ablation": "", "recovered": None, "recovered_loss": None, "kl": None, **present(head)},
        removal=head.get("necessity") is not None,
        losses={"model": None, **(record.get("losses") or {})},
        verdict=words.sentence(record),
        claim_line=words.claim_line(record),
        level_note=words.level_note(record),
        checks_line=words.checks_line(record),
        tries=_capital(words.tries_line(record)),
        nines_big=nines_big,
        nines_rest=nines_rest,
        nines_interval=words.said(certified) if certified["value"] is not None else "",
        compute={"recovered": None, "share_floor": None, "points": [], **present(compute)},
        placed=_placed(compute),
        **_rungs(compute),
        worth_text=_capital(words.tidy(compute.get("text") or "")),
        law_warning=_capital(words.tidy((compute.get("power_law") or {}).get("warning") or "")),
        compute_reason=plain_text(compute.get("reason") or words.why(compute.get("recovered"))),
        compute_facts=_compute_facts(compute),
        marks=_marks(record),
        **_lengths(record.get("bits") or {}),
        facts=_facts(record),
        beside=_beside(record.get("beside") or {}),
        alone=_alone(record.get("parts") or {}),
        circuit=circuit.block(record.get("circuit")),
        checks=_checks(record),
        **_controls(record),
        **_residual(record.get("residual") or {}),
        gap_key=_gap_key(),
        command=plain_text((record.get("arguments") or {}).get("command") or ""),
        claim_text=(record.get("claim") or {}).get("text") or "",
        markdown=terminal.as_markdown(record),
        versions=_versions(record),
    )


def _checks(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = sorted(record.get("checks") or [], key=lambda check: _order(check.get("state")))
    return [{**cleaned(check), "evidence": words.tidy(check.get("evidence") or "")} for check in found]


def _order(state: object) -> int:
    return _STATES.index(str(state)) if state in _STATES else len(_STATES)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    model, task, claim = (record.get(name) or {} for name in ("model", "task", "claim"))
    reference = task.get("reference") or {}
    shape = model.get("shape") or {}
    sizes = "".join(f", {shape[key]} {key}" for key in ("layers", "heads") if key in shape)
    sources = ", ".join(f"{name} {words.count(n)}" for name, n in (task.get("sources") or {}).items())
    scored = f"{words.count(task.get('tokens'))} tokens of {words.count(task.get('documents'))} documents"
    used = f"{words.count(reference.get('tokens'))} tokens of {words.count(reference.get('documents'))} documents"
    found = [
        (
            "Model",
            f"{model.get('name', '?')} ({words.count(model.get('parameters'))} parameters{sizes})",
        ),
        ("Scope", ", ".join(str(part) for part in claim.get("scope") or []) or "the whole model"),
        ("Task", f"{task.get('name') or task.get('kind') or '?'}, metric: {task.get('metric') or 'loss'}"),
        ("Scored", scored + (f" ({sources})" if sources else "")),
    ]
    if reference:
        found.append(("Reference, never scored", used + (f" ({reference['how']})" if reference.get("how") else "")))
    found += words.fitted(record)
    found += [
        (f"{name} fingerprint", str(part["fingerprint"])[:12])
        for name, part in (("Model", model), ("Data", task))
        if part.get("fingerprint")
    ]
    return [(name, plain_text(text)) for name, text in found]


def _beside(beside: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    if beside.get("agreement") is not None:
        rows.append(("same most likely token", words.percent(beside["agreement"])))
    for bound, figure in (beside.get("within") or {}).items():
        rows.append((f"tokens with KL ≤ {bound}, of those where the floor's is above", words.percent(figure)))
    for key, name in _ACCURACY:
        if beside.get(key) is not None:
            rows.append((name, words.percent(beside[key]) if key != "accuracy_recovered" else words.said(beside[key])))
    hard = beside.get("hard_tokens")
    if hard:
        share = words.percent(hard.get("share"))
        rows.append(
            (
                f"recovered on the {share} of tokens that {hard.get('by')} finds hardest against this model",
                words.said(hard.get("recovered")),
            )
        )
    for key, name in (("kl_quantiles", "KL"), ("delta_loss_quantiles", "loss gap")):
        quantiles = beside.get(key) or {}
        if quantiles:
            listed = ", ".join(f"{_quantile(q)}\u00a0{words.value_text(x, 3)}" for q, x in quantiles.items())
            rows.append((f"{name} over tokens (quantiles)", listed))
    return [(plain_text(name), plain_text(text)) for name, text in rows]


def _quantile(share: str) -> str:
    return {"0.5": "median", "1.0": "largest", "1": "largest"}.get(share, f"{float(share) * 100:g}\u00a0%:")


def _compute_facts(compute: Mapping[str, Any]) -> list[tuple[str, Any]]:
    names = {
        "recovered": "compute recovered",
        "share_explained": "share, explained run",
        "share_floor": "share, floor alone",
    }
    facts = [(name, compute[key]) for key, name in names.items() if words.defined(compute.get(key))]
    linear = compute.get("linear") or {}  # records of older versions have none
    return facts + [(f"{name}, log-linear", linear[key]) for key, name in names.items() if linear.get(key) is not None]


def _placed(compute: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Floors, rivals and smaller members by loss, best first: where each lies on the compute axis."""
    rows = [{**row, "name": row["name"].removeprefix("floor:")} for row in compute.get("systems") or []]
    return sorted(rows, key=lambda row: words.as_estimate(row["loss"])["value"] or 0.0)


def _rungs(compute: Mapping[str, Any]) -> dict[str, Any]:
    """What 50, 90, 99 and 99.9 % recovered of a floor's loss are worth: a row a floor; reasons stand below."""
    rows: dict[str, dict[str, Any]] = {}
    reasons: list[str] = []
    for rung in compute.get("ladder") or []:
        name = plain_text(rung["floor"]).removeprefix("floor:")
        share = words.as_estimate(rung["share"])
        without = bool(words.ends_why(share))
        if without:
            reasons.append(words.why(share))
        shown = {"figure": {**share, "reason": None} if without else share, "without": without}
        rows.setdefault(name, {"floor": name, "shares": []})["shares"].append(shown)
    return {"ladder": list(rows.values()), "ladder_why": "; ".join(dict.fromkeys(reasons))}


def _marks(record: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (name, {"loss": loss, "flops": words.power(flops) if flops else "outside the family"})
        for name, loss, flops in charts.marks_of(record)
    ]


def _lengths(bits: Mapping[str, Any]) -> dict[str, Any]:
    claim, alone = bits.get("claim") or {}, bits.get("standalone") or {}
    overtaken = []
    for row in bits.get("overtaken") or []:
        tokens = words.as_estimate(row.get("tokens"))["value"]
        after = f"from {words.count(tokens)} tokens on" if tokens is not None else "at no length measured"
        overtaken.append(plain_text(f"Shorter than {row.get('rival')} {after}."))
    return {
        "claim_bits": claim.get("bits"),
        "claim_how": plain_text(claim.get("how") or ""),
        "standalone": alone.get("bits"),
        "standalone_how": plain_text(alone.get("how") or ""),
        "standalone_why": plain_text(alone.get("reason") or bits.get("reason") or "it was not counted"),
        "claim_why": plain_text(claim.get("reason") or bits.get("reason") or "it was not counted"),
        "bit_parts": list(cleaned(alone.get("parts") or {}).items()),
        "points": cleaned(bits.get("points") or []),
        "two_part": bits.get("two_part") or [],
        "overtaken": overtaken,
    }


def _controls(record: Mapping[str, Any]) -> dict[str, Any]:
    """The groups that are drawn, those of a single figure as rows of a table, and why what is missing is missing."""
    block = record.get("controls") or {}
    groups: list[dict[str, Any]] = []
    singles: list[dict[str, Any]] = []
    for index, group in enumerate(block.get("groups") or []):
        values = sorted((v for v in group.get("values") or [] if v is not None), reverse=True)
        listed = ", ".join(words.number(v, 4 if group.get("measure") == "kl" else 2) for v in values)
        known = {"values": values, "listed": listed, "index": index, "difference": None}
        known = {**known, "line": terminal.group_line(group), "named": terminal.group_name(group)}
        row = {**known, **cleaned({**group, "values": values}), "why": terminal.group_why(group)}
        (groups if len(values) > 1 else singles).append(row)
    random = block.get("random_weights") or {}
    return {
        "groups": groups,
        "singles": singles,
        "on_controls": _capital(words.claim_on_controls(record)),
        "controls_reason": plain_text(block.get("reason") or ""),
        "random": cleaned([random, *(random.get("also") or [])]) if random else [],
        "random_reason": plain_text(block.get("random_weights_reason") or ""),
        "rivals_reason": plain_text(record.get("rivals_reason") or ""),
    }


def _alone(block: Mapping[str, Any]) -> dict[str, Any]:
    """Each component alone and all at once, or why they were not measured."""
    rows = [
        {**cleaned(row), "whole": row is block.get("compound"), "worth": (row.get("compute") or {}).get("recovered")}
        for row in [*(block.get("components") or []), block.get("compound")]
        if row
    ]
    reason = plain_text(block.get("reason") or "")
    return {"rows": rows, "reason": reason, "ablation": plain_text(block.get("ablation") or "")}


def _residual(residual: Mapping[str, Any]) -> dict[str, Any]:
    slices = []
    for key, name in _SLICES:
        rows = (residual.get("slices") or {}).get(key) or []
        kls = [words.as_estimate(row.get("kl")) for row in rows]
        top = max((kl["high"] or kl["value"] for kl in kls if kl["value"] is not None), default=0.0)
        if rows:
            shown = {"rows": cleaned(rows[:_SHOWN]), "top": top, "more": max(0, len(rows) - _SHOWN)}
            slices.append({"name": name, "folded": key in {"position", "document"}, **shown})
    return {
        "slices": slices,
        "residual_parts": cleaned(residual.get("parts") or []),
        "signal": _signal(residual.get("signal") or {}),
        "worst": [_example(example) for example in (residual.get("worst") or [])[:_SHOWN]],
    }


def _signal(signal: Mapping[str, Any]) -> dict[str, Any]:
    """The residual's signal; of controls that are all undefined for one reason the reason is said once."""
    rest = [key for key in ("noise", "shuffled", "reader") if signal.get(key) is not None]
    reasons = {words.why(signal[key]) for key in rest if not words.defined(signal[key])}
    if len(rest) < 2 or len(reasons) != 1 or any(words.defined(signal[key]) for key in rest):
        return cleaned(signal)
    kept = {key: value for key, value in signal.items() if key not in rest}
    said = f"Its controls are undefined, because {reasons.pop()}."
    return cleaned({**kept, "text": " ".join([*([str(kept["text"])] if kept.get("text") else []), said])})


def _example(example: Mapping[str, Any]) -> dict[str, Any]:
    tokens = example.get("text") or []
    focus = example.get("focus")
    if focus is None:  # the token of that name with the largest KL
        same = [i for i, t in enumerate(tokens) if t.get("token") == example.get("token")] or list(range(len(tokens)))
        focus = max(same, key=lambda i: tokens[i].get("kl") or 0.0, default=0)
    first = max(0, focus - _CONTEXT)
    shown = [_token(t, first + i == focus) for i, t in enumerate(tokens[first : focus + _CONTEXT + 1])]
    where = f"{example.get('document', '?')}, position {example.get('position', '?')}"
    if tokens:
        where += f": {_figures(tokens[focus])}"
    return {"where": plain_text(where), "tokens": shown}


def _token(token: Mapping[str, Any], focus: bool) -> dict[str, Any]:
    gap = _gap(token)
    deep = sum(abs(gap) >= step for step in _STEPS) if gap is not None else 0
    kind = f"{'w' if (gap or 0) > 0 else 'b'}{deep}" if deep else ""
    # A line break is shown and also breaks the line, so that code and verse keep their shape.
    text = plain_text(token.get("token", "")).replace("↵", "↵\n") or "∅"
    tip = f"“{plain_text(token.get('token', ''))}”\n{_figures(token)}"
    return {"text": text, "tip": tip, "cls": f"{kind} focus".strip() if focus else kind, "focus": focus}


def _gap(token: Mapping[str, Any]) -> float | None:
    explained, model = token.get("loss_explained"), token.get("loss_model")
    return None if explained is None or model is None else explained - model


def _figures(token: Mapping[str, Any]) -> str:
    names = (("model", "loss_model"), ("explained", "loss_explained"), ("floor", "loss_floor"))
    losses = ", ".join(f"{name} {words.number(token[key], 2)}" for name, key in names if token.get(key) is not None)
    gap, kl = _gap(token), token.get("kl")
    parts = [f"loss: {losses}"] if losses else []
    parts += [f"gap {'+' if gap > 0 else ''}{words.number(gap, 2)}"] if gap is not None else []
    parts += [f"KL {words.number(kl, 2)}"] if kl is not None else []
    return " · ".join(parts) or "not scored"


def _gap_key() -> list[tuple[str, str]]:
    worse = [(f"w{i + 1}", f"≥ {step:g}") for i, step in enumerate(_STEPS)]
    better = [(f"b{i + 1}", f"≤ −{step:g}") for i, step in enumerate(_STEPS)]
    return [*reversed(better), *worse]


def _versions(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    # Not the timing: two runs of one command give the same page.
    found = {"assay": (record.get("assay") or {}).get("version"), **(record.get("versions") or {})}
    found["claim hash"] = str((record.get("claim") or {}).get("hash") or "")[:16]
    seed = ((record.get("arguments") or {}).get("resolved") or {}).get("seed")
    return [(name, plain_text(text)) for name, text in (found | {"seed": seed}).items() if text not in (None, "")]


def _specs(record: Mapping[str, Any], examples: pa.Table | None) -> dict[str, Any]:
    groups: Sequence[Any] = (record.get("controls") or {}).get("groups") or []
    drawn = {
        "scaling": charts.scaling(record),
        "length": charts.length(record),
        "tokens": charts.tokens(examples, (record.get("headline") or {}).get("ablation")),
        "parts": charts.parts(record),
    }
    for index, group in enumerate(groups):
        if sum(value is not None for value in group.get("values") or []) > 1:
            drawn[f"controls-{index}"] = charts.controls(record, index)
    return drawn
