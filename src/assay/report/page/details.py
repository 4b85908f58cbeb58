"""What the page folds away: facts, agreement, compute, controls and slices of a record as rows of names and texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from assay.record.about import DataRecord
from assay.record.compute import Compute, Overtaken
from assay.record.headline import Agreement
from assay.record.measurement import MeasurementRecord
from assay.record.residual import Residual, Signal, Token
from assay.report import slices, verdict, words
from assay.report.charts import intervals
from assay.report.page import shell
from assay.report.plain import plain_text

_NUMBER = re.compile(r"\d+(\.\d+)?")
_STEPS = (0.05, 0.3, 1.0, 2.0)  # nats of gap at which a token's colour deepens
_SHOWN = 12  # rows of a slice that the page shows


def facts(record: MeasurementRecord) -> list[tuple[str, str]]:
    """What was measured."""
    model, task, reference = record.model, record.task, record.task.reference
    sizes = f", {model.shape.layers} layers, {model.shape.heads} heads" if model.shape else ""
    sources = ", ".join(f"{name} {words.count(n)}" for name, n in task.sources.items())
    found = [
        ("Model", f"{model.name} ({words.count(model.parameters)} parameters{sizes})"),
        ("Scope", ", ".join(record.claim.scope) or "the whole model"),
        ("Task", f"{task.name}, metric: {task.metric}"),
        ("Scored", _much(record, task) + (f" ({sources})" if len(task.sources) > 1 else "")),
    ]
    if record.target is not None:
        found.append(("KL is taken from", words.target(record)))
    if reference is not None:
        how = f" ({reference.how})" if reference.how else ""
        found.append(("Reference, never scored", _much(record, reference) + how))
    found += words.fitted(record)
    return [*found, ("Model fingerprint", model.fingerprint[:12]), ("Data fingerprint", task.fingerprint[:12])]


def _much(record: MeasurementRecord, sample: DataRecord) -> str:
    item = words.item(record)
    many = f"{words.count(sample.tokens)} {item}s"
    return many if item == "example" else f"{many} of {words.count(sample.documents)} documents"


def agreement(record: MeasurementRecord) -> list[tuple[str, str]]:
    """How far the explained run agrees with the model; what the task does not have is left out."""
    found, item = record.agreement, words.item(record)
    what = {"example": "class", "prompt": "answer"}.get(item, "token")
    rows = [(f"same most likely {what}", found.agreement, True)]
    for bound, figure in found.within.items():
        rows.append((f"{item}s with a KL of at most {bound}, of those where the floor's is above", figure, True))
    rows += [
        ("accuracy of the model", found.accuracy_model, True),
        (
            "accuracy of the " + ("model without these parts" if record.removal else "explained run"),
            found.accuracy,
            True,
        ),
        ("accuracy of the floor", found.accuracy_floor, True),
        ("accuracy recovered: (explained − floor) / (model − floor)", found.accuracy_recovered, False),
    ]
    told = [
        (name, words.percent(figure) if share else words.said(figure))
        for name, figure, share in rows
        if figure.defined or not record.removal
    ]
    return told + _hard(found) + _quantiles(found, item)


def _hard(found: Agreement) -> list[tuple[str, str]]:
    if (hard := found.hard_tokens) is None:
        return []
    name = f"recovered on the {words.percent(hard.share)} of tokens that {hard.by} finds hardest against this model"
    kept = [(f"of the model's lead there over {other}, kept", words.said(share)) for other, share in hard.kept.items()]
    return [(name, words.said(hard.recovered)), *kept]


def _quantiles(found: Agreement, item: str) -> list[tuple[str, str]]:
    rows = []
    for name, quantiles in (("KL", found.kl_quantiles), ("loss gap", found.delta_loss_quantiles)):
        listed = ", ".join(f"{_quantile(q)}\u00a0{words.value_text(x, 3)}" for q, x in quantiles.items())
        rows += [(f"{name} over {item}s (quantiles)", listed)] if listed else []
    return rows


def _quantile(share: str) -> str:
    named = {"0.5": "median", "1": "largest"}
    return named.get(share) or (f"{float(share) * 100:g}\u00a0%:" if _NUMBER.fullmatch(share) else share)


def compute_facts(compute: Compute) -> list[tuple[str, Any]]:
    """The shares, by the curve between members and by straight lines."""
    names = {
        "recovered": "compute recovered",
        "share_explained": "share, explained run",
        "share_floor": "share, floor alone",
    }
    found: list[tuple[str, Any]] = [(name, getattr(compute, key)) for key, name in names.items()]
    found += [(f"{name}, log-linear", getattr(compute.linear, key, None)) for key, name in names.items()]
    return [(name, figure) for name, figure in found if words.defined(figure)]


def rungs(compute: Compute) -> dict[str, Any]:
    """What 50, 90, 99 and 99.9 % recovered of a floor's loss are worth: a row a floor; reasons stand below."""
    rows: dict[tuple[bool, str], list[dict[str, Any]]] = {}
    reasons: list[str] = []
    for rung in compute.ladder:
        without = bool(words.ends_why(rung.share))
        reasons += [words.why(rung.share)] if without else []
        shown = {
            "figure": rung.share.value if without else rung.share,
            "without": without,
            "at": f"{100 * rung.recovered:g} %",
        }
        rows.setdefault((rung.own, rung.floor), []).append(shown)
    told = [(floor, shares) for (_, floor), shares in rows.items()]
    return {"ladder": told, "ladder_why": "; ".join(dict.fromkeys(reasons))}


def overtaken(row: Overtaken) -> str:
    """From how many tokens on the claim is shorter than a rival."""
    after = f"from {words.count(row.tokens)} tokens on" if row.tokens is not None else "at no length measured"
    return f"Shorter than {row.rival} {after}."


def controls(record: MeasurementRecord) -> dict[str, Any]:
    """The groups with every figure by name, those that were not scored and why, and the search on random weights."""
    groups: list[dict[str, Any]] = []
    missing: list[tuple[str, str]] = []
    for group in record.controls.groups:
        what = words.few_names(plain_text(group.what or group.name))
        if not group.known:
            own = "ablating the parts of each changes nothing (under 10⁻⁶ nats each)" if group.n else "there is none"
            missing.append((what, words.tidy(group.reason or own)))
            continue
        places = 4 if group.measure == "kl" else 2
        listed = [
            (name, words.number(x, places)) for name, x in sorted(intervals.named(group), key=lambda one: -one[1])
        ]
        row = {"group": group, "name": intervals.group_name(group), "what": what, "listed": listed}
        groups.append(row | {"good": verdict.good(group), "near": verdict.near(group)})
    random = record.controls.random_weights
    on_controls = words.claim_on_controls(record)
    return {
        "groups": groups,
        "unscored": missing,
        "on_controls": on_controls[:1].upper() + on_controls[1:],
        "random": [random, *random.also] if random else [],
    }


def residual(found: Residual) -> dict[str, Any]:
    """Slices with their bars, and the residual's signal."""
    parted = []
    for key, name in (slices.PARTITIONS | slices.WORST_ONLY).items():
        rows = found.slices.get(key, ())
        if not rows or (len(rows) == 1 and key in slices.PARTITIONS):
            continue
        top = max((row.kl.high or row.kl.value for row in rows if row.kl.value is not None), default=0.0)
        shown = {"rows": rows[:_SHOWN], "top": top, "more": max(0, len(rows) - _SHOWN)}
        parted.append({"name": name, "by": key, "linked": key in slices.PARTITIONS, **shown})
    return {"slices": parted, "signal": signal(found.signal)}


def signal(found: Signal) -> dict[str, Any]:
    """The residual's signal; of controls that are all undefined for one reason the reason is said once."""
    rest = [found.noise, found.shuffled, found.reader]
    reasons = {words.why(figure) for figure in rest}
    text = words.tidy(found.text)
    if len(reasons) != 1 or any(figure.defined for figure in rest):
        return {**vars(found), "text": text}
    said = f"Its controls are undefined, because {reasons.pop()}."
    return {"value": found.value, "text": f"{text} {said}".strip() if found.value.defined else text}


def missing(record: MeasurementRecord) -> list[tuple[str, str]]:
    """What this page does not have, and why."""
    found: list[tuple[str, str | None]] = []
    if not (record.parts.components or record.parts.compound):
        found.append(("Each component alone", record.parts.reason))
    if not record.controls.groups:
        found.append(("Controls", record.controls.reason))
    if record.controls.random_weights is None:
        found.append(("The same search on random weights", record.controls.random_weights_reason))
    if not record.rivals:
        found.append(("Rivals", record.rivals_reason))
    compute, length = record.compute, record.bits
    if not compute.points:
        found.append(("Worth in training compute", compute.reason or words.why(compute.recovered)))
    if not length.points:
        found.append(("Length beside rivals", length.reason or length.standalone.reason))
    if record.removal and not words.defined(record.headline.necessity):
        found.append(("Necessity", words.why(record.headline.necessity)))
    if not record.residual.signal.value.defined:
        found.append(("The residual's signal", words.why(record.residual.signal.value)))
    return [(name, words.tidy(reason).rstrip(".")) for name, reason in found if reason]


def strip(tokens: Sequence[Token]) -> list[dict[str, Any]]:
    """Tokens coloured by their gap, each with its figures in words."""
    return [_token(token) for token in tokens]


def _token(token: Token) -> dict[str, Any]:
    gap = token.gap
    deep = sum(abs(gap) >= step for step in _STEPS) if gap is not None else 0
    kind = f"{'w' if (gap or 0) > 0 else 'b'}{deep}" if deep else ""
    # A line break is shown and also breaks the line, so that code and verse keep their shape.
    text = plain_text(token.token).replace("↵", "↵\n") or "∅"
    return {"text": text, "tip": f"“{plain_text(token.token)}”\n{_figures(token)}", "cls": kind}


def _figures(token: Token) -> str:
    found = (("model", token.loss_model), ("explained", token.loss_explained), ("floor", token.loss_floor))
    losses = ", ".join(f"{name} {words.number(loss, 2)}" for name, loss in found if loss is not None)
    gap, kl = token.gap, token.kl
    parts = [f"loss: {losses}"] if losses else []
    parts += [f"gap {'+' if gap > 0 else ''}{words.number(gap, 2)}"] if gap is not None else []
    parts += [f"KL {words.number(kl, 2)}"] if kl is not None else []
    return " · ".join(parts) or "not scored"


def versions(record: MeasurementRecord) -> list[tuple[str, str]]:
    """What reproduces it: not the timing, since two runs of one command give the same page."""
    found = {"assay": record.assay.version, **vars(record.versions), "claim hash": (record.claim.hash or "")[:16]}
    facts = [*found.items(), ("seed", record.arguments.resolved.get("seed")), *budget(record)]
    return shell.facts_of(facts)


def budget(record: MeasurementRecord) -> list[tuple[str, str]]:
    """What was run of what was allowed, and what was not, by name."""
    spent, found = sum(stage.passes for stage in record.budget.stages), record.budget
    if not found.stages:
        return []
    most = "" if found.passes is None else f" of {words.number(found.passes, 0)} allowed"
    facts = [("passes over all scored rows", f"{words.number(spent, 1)}{most}")]
    return facts + [(why, ", ".join(blocks)) for why, blocks in words.not_measured(record)]


def glossary(record: MeasurementRecord) -> dict[str, str]:
    """The terms that the page uses."""
    left_out = {"recovered (loss)", "nines", "residual signal"} if record.removal else {"necessity"}
    left_out |= set() if record.interchange else {"interchange accuracy"}
    left_out |= set() if record.compute.points else {"compute recovered", "compute share"}
    left_out |= set() if record.bits.two_part else {"two-part code"}
    own = record.own
    edge = {"edge": words.FRONTIER_TERMS["edge"]} if own and own.graph else {}
    found = words.TERMS | edge | (own.terms if own else {})
    return {name: text for name, text in found.items() if name not in left_out}
