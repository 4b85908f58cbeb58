"""How figures and terms are said: takes values of a record, gives text; what is undefined with its reason, never 0."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from assay.report.plain import plain_text

FITS = 4  # that are listed; every control may have one

TERMS: dict[str, str] = {
    "recovered": "1 − KL(model‖explained) / KL(model‖floor): the share of what is lost at the floor that the "
    "explanation gives back. 1 is the model itself, 0 is no better than the floor. Errors cannot cancel in it.",
    "recovered (loss)": "The same share on the loss: (floor − explained) / (floor − model). Here errors can cancel, so "
    "it stands beside the headline; a difference above 0.05 fires the check 'cancellation'.",
    "nines": "−log10 of the KL that is left, as a share of the floor's: 90 % recovered is one nine, 99 % two. "
    "Certified: taken at the pessimistic end of the interval. The floor's name always belongs to it.",
    "floor": "What is scored where nothing is explained: the claimed parts ablated, nothing kept, or an n-gram.",
    "ceiling": "What the model itself scores on the same tokens.",
    "explained": "The run in which the explanation stands in the model's place for the parts that it is about.",
    "ablation": "What everything that the explanation says nothing about is filled with (a mean, another example, "
    "zero). The headline is the one under which the claim does worst: the lowest recovered, of a removal the least KL.",
    "KL": "Kullback–Leibler divergence from the model's next-token distribution to the other run's, in nats a scored "
    "token. 0 means the same distribution.",
    "loss": "Cross-entropy of the token that really came next, in nats a scored token; lower is better.",
    "gap": "The explained run's loss less the model's on a token, in nats. Positive: the explanation does worse.",
    "scope": "The parts of the model that the claim is about.",
    "level": "Where: these parts matter. What: these parts carry these variables. How: this program computes them.",
    "reference": "Other examples, never scored, that fill ablations and fit floors, programs and rivals.",
    "control": "An explanation that should not score well: another program on the same parts, the same program "
    "elsewhere, or the same search on a model with shuffled weights.",
    "rival": "A simpler method that competes for the same credit, such as an n-gram or a smaller model.",
    "p": "(1 + controls at least as good as the claim) / (1 + controls).",
    "compute recovered": "The loss turned into training compute by a family of models trained alike: "
    "(C(explained) − C(floor)) / (C(model) − C(floor)).",
    "compute share": "The training compute that buys a loss, as a share of what the model's loss takes in its family.",
    "claim bits": "The length of the claim itself, with the model free of charge; comparable within one kind of claim.",
    "stand-alone bits": "Claim bits and every weight, constant and table that is still needed to run the explained "
    "system: the only length that may be set beside rivals.",
    "two-part code": "Stand-alone bits and the bits that correct the explanation's errors over N tokens.",
    "interval": "95 %, over independent works: t on the jackknife unless stated otherwise.",
    "agreement": "The share of tokens on which the explained run and the model have the same most likely next token.",
    "residual": "What the explanation leaves open: where it sits, and whether there is still structure in it.",
    "residual signal": "KL recovered by the part of the effect that the claim does not give (0: nothing is left).",
    "check": "A known way in which such a figure misleads. Fired: look here first. Unknown: could not be tested.",
    "necessity": "(loss with the parts removed − model) / (bigram − model): how much is lost without these parts.",
}

CIRCUIT_TERMS: dict[str, str] = {
    "edge": "What one part writes, as one later part reads it (a head's queries, keys and values apart). A circuit "
    "keeps some edges; every other one carries its ablation.",
    "completeness": "Whether the circuit still behaves as the model does when parts of it are knocked out in both: a "
    "circuit that leaves out a backup fails here.",
    "minimality": "By how much KL rises when one part of the circuit is left out; where it does not, the part is idle.",
}

FRONTIER_TERMS: dict[str, str] = {
    "frontier": "What circuits of growing size recover, each made of a search's best edges without those that lead "
    "nowhere. The size is that of what is left.",
    "control band": "Random circuits made of whole paths, with as many edges and the same layers: from their 5 % to "
    "their 95 % quantile, the line is their median.",
    "|1 − R_L|": "How far the loss is from the model's, as a share of the gap, in either direction; 0 is the model.",
    "area (share)": "Mean recovered over all shares of edges, from nothing kept to everything kept.",
    "area (log)": "Mean recovered over the logarithm of the number of edges: it weighs small circuits.",
    "CPR": "MIB's circuit performance ratio: the area under recovered (loss) over the share of edges. More is better, "
    "but a circuit that does better than the model adds to it.",
    "CMD": "MIB's circuit–model distance: the area under |1 − R_L| over the same sizes. Less is better.",
    "ROC": "Edges are taken from a method's best one on; the curve says which share of the right edges is taken by "
    "then, against the share of the others. The area under it is the chance that a right edge stands above another "
    "one: 0.5 is a random order, 1 puts every right edge first. Its interval is for other edges like these (Newcombe "
    "2006); it says nothing of other rows.",
    "passes": "What the search cost, in forward passes of the model over its documents.",
}

LEVELS = {
    "where": "Tested at the level where: these parts matter. That is not yet an explanation of what they do.",
    "what": "Tested at the level what: these parts carry these variables. It does not say how they are computed.",
    "how": "Tested at the level how: this program computes what these parts do.",
}

STATES = {"fired": "▲", "passed": "✓", "unknown": "?"}


def as_estimate(value: object) -> dict[str, Any]:
    """Any figure of a record (an estimate, a bare number, nothing) in the form of an estimate."""
    to_json = getattr(type(value), "to_json", None)  # of the type: a template's undefined value has every attribute
    if callable(to_json):
        value = to_json(value)
    if isinstance(value, Mapping):
        keys = ("value", "low", "high", "n", "reason")
        return {key: value.get(key) for key in keys}
    if isinstance(value, bool) or not isinstance(value, int | float):
        return dict.fromkeys(("value", "low", "high", "n")) | {"reason": "it was not measured"}
    return {"value": float(value), "low": None, "high": None, "n": None, "reason": None}


def defined(value: object) -> bool:
    """Whether a figure has a value."""
    return as_estimate(value)["value"] is not None


def number(value: float | int, decimals: int) -> str:
    """A number with so many decimals, a true minus sign, no negative zero; powers of ten from ten million."""
    if abs(value) >= 1e7:
        return power(value)
    text = f"{value:,.{decimals}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")


def power(value: float | int) -> str:
    """A number as 1.2 × 10¹⁴."""
    mantissa, exponent = f"{value:.1e}".split("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa} × 10{raised}".replace("-", "−")


def decimals(estimate: Mapping[str, Any], least: int = 2) -> int:
    """As many decimals as the interval's width supports, at least so many."""
    low, high = estimate.get("low"), estimate.get("high")
    if low is None or high is None or high <= low:
        value = abs(estimate.get("value") or 1.0)
        return least if value >= 10.0**-least else math.ceil(-math.log10(value)) + 1
    return max(least, min(6, math.ceil(-math.log10(high - low))))


def value_text(value: object, least: int = 2) -> str:
    """The figure without its interval; an em dash where it is undefined (say the reason beside it)."""
    estimate = as_estimate(value)
    if estimate["value"] is None:
        return "—"
    places = decimals(estimate, least)
    return power(estimate["value"]) if places > 6 or _tiny(estimate) else number(estimate["value"], places)


def interval_text(value: object, least: int = 2) -> str:
    """The interval as "[0.59, 0.65]", "open" for an end that is not bounded, empty where there is none (`ends_why`)."""
    estimate = as_estimate(value)
    if estimate["value"] is None or (estimate["low"] is None and estimate["high"] is None):
        return ""
    places = decimals(estimate, least)
    show = power if _tiny(estimate) else lambda end: number(end, places)
    ends = ["open" if estimate[end] is None else show(estimate[end]) for end in ("low", "high")]
    return f"[{ends[0]}, {ends[1]}]"


def _tiny(estimate: Mapping[str, Any]) -> bool:
    """Whether six decimals would show nothing but zeros of a figure that is not 0."""
    ends = [abs(estimate[key]) for key in ("value", "low", "high") if estimate[key] is not None]
    return 0 < max(ends) < 5e-7


def said(value: object, least: int = 2) -> str:
    """A figure with its interval, or why there is none.

    Example:
        >>> said({"value": 0.624, "low": 0.591, "high": 0.652, "n": 90, "reason": None})
        '0.62 [0.59, 0.65]'
        >>> said({"value": None, "low": None, "high": None, "n": 0, "reason": "no family of models"})
        'undefined, because no family of models'
    """
    estimate = as_estimate(value)
    if estimate["value"] is None:
        return f"undefined, because {why(estimate)}"
    return f"{value_text(estimate, least)} {interval_text(estimate, least) or ends_why(estimate)}".rstrip()


def ends_why(value: object) -> str:
    """Why a figure has no interval, in parentheses; empty where it has one or nothing is known of it.

    Example:
        >>> ends_why({"value": 0.63, "low": None, "high": None, "n": 1, "reason": "1 document cannot give one"})
        '(no interval: 1 document cannot give one)'
    """
    estimate = as_estimate(value)
    if estimate["value"] is None or interval_text(estimate) or not estimate["reason"]:
        return ""
    return f"(no interval: {why(estimate)})"


def why(value: object) -> str:
    """The reason of an undefined figure, or of an open end, without its full stop."""
    reason = as_estimate(value)["reason"]
    return plain_text(reason).strip().rstrip(".") if reason else "no reason was recorded"


def percent(value: object) -> str:
    """A share as "62 % [59, 65]", or why there is none; more digits near 100 %."""
    estimate = as_estimate(value)
    if estimate["value"] is None:
        return f"undefined, because {why(estimate)}"
    value = 100.0 * float(estimate["value"])
    scaled: dict[str, Any] = {
        key: None if estimate[key] is None else 100 * estimate[key] for key in ("low", "high")
    } | {"value": value}
    near = min(abs(100 - value), abs(value))
    least = 0 if near >= 1.5 or near < 1e-6 else 2
    interval = interval_text(scaled, least) or ends_why(estimate)
    return f"{number(scaled['value'], decimals(scaled, least))} % {interval}".rstrip()


def share(value: float) -> str:
    """A share that is known exactly, in per cent with two digits.

    Example:
        >>> share(57 / 1519), share(1.0), share(0.00012)
        ('3.8 %', '100 %', '0.012 %')
    """
    return f"{number(100 * value, max(0, 1 - math.floor(math.log10(100 * value))) if value > 0 else 0)} %"


def p_text(value: object) -> str:
    """A p-value with three decimals; one is one."""
    return "1" if as_estimate(value)["value"] == 1 else value_text(value, 3)


def count(value: object) -> str:
    """A whole number with thousands separated; powers of ten from ten million."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "—"
    return number(value, 0)


def bits(value: object) -> str:
    """A length as "412 bits" or "18.2 Mbit" (millions, not 2²⁰)."""
    estimate = as_estimate(value)["value"]
    if estimate is None:
        return "not counted"
    for unit, size in (("Tbit", 1e12), ("Gbit", 1e9), ("Mbit", 1e6)):
        if estimate >= size:
            return f"{number(estimate / size, 1)} {unit}"
    return f"{number(estimate, 0)} bits"


def tidy(value: object) -> str:
    """A sentence of a record with true minus signs and powers of ten.

    Example:
        >>> tidy("from -2.6 (a-1) to 1.8e+13 FLOPs")
        'from −2.6 (a-1) to 1.8 × 10¹³ FLOPs'
    """
    text = re.sub(r"(?<![\w.])-?\d+(?:\.\d+)?e[+-]\d+\b", lambda found: power(float(found[0])), plain_text(value))
    return re.sub(r"(?<![\w.\-])-(?=\d)", "−", text)


def few_names(text: str, most: int = 6) -> str:
    """The text with long lists of components cut short.

    Example:
        >>> few_names("the largest: a0.h0, a0.h1, a0.h2, m0, m1, a1.h0, m2, m3", most=3)
        'the largest: a0.h0, a0.h1, a0.h2 and 5 more'
    """

    def cut(found: re.Match[str]) -> str:
        names = found[0].split(", ")
        return found[0] if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"

    return re.sub(r"\b[am]\d+[\w.@-]*(?:, [am]\d+[\w.@-]*)+", cut, text)


def claim_line(record: Mapping[str, Any]) -> str:
    """What is claimed, in the record's words."""
    claim = record.get("claim") or {}
    return plain_text(claim.get("sentence") or ", ".join(claim.get("scope") or []) or "a claim")


def checks_line(record: Mapping[str, Any]) -> str:
    """How many checks fired, and which."""
    checks = record.get("checks") or []
    fired = [plain_text(check.get("name", "?")) for check in checks if check.get("state") == "fired"]
    if not any(check.get("state") in ("fired", "passed") for check in checks):
        reasons = {plain_text(check.get("evidence") or "") for check in checks}
        return "no check was made" + (f", because {reasons.pop()}" if len(reasons) == 1 else "")
    return f"{len(fired)} fired ({', '.join(fired)})" if fired else f"none of {len(checks)} fired"


def tries_line(record: Mapping[str, Any]) -> str:
    """Which of how many claims on this split, and the p that is left of it after all of them; empty for no register.

    Example:
        >>> tries_line({"register": {"tried": 3, "this": 2, "p": 0.01, "p_holm": 0.03, "without_p": 1}})
        'claim 2 of 3 tried on this split; p = 0.010, Holm-adjusted for 3 tries 0.030 (1 without a p counts as 1)'
    """
    register = record.get("register") or {}
    tried = register.get("tried")
    if not tried:
        return ""
    text = f"claim {count(register.get('this'))} of {count(tried)} tried on this split"
    if "p_holm" not in register:
        return text
    if register["p_holm"] is None:
        return f"{text}; no p to adjust, because no group of controls gives one"
    many = f"{count(tried)} tries" if tried > 1 else "1 try"
    text += f"; p = {p_text(register['p'])}, Holm-adjusted for {many} {p_text(register['p_holm'])}"
    without = register.get("without_p")
    return text + (f" ({count(without)} without a p count{'s' * (without == 1)} as 1)" if without else "")


def claim_on_controls(record: Mapping[str, Any]) -> str:
    """The claim's figure on the rows that controls are scored on, apart from its headline on all rows."""
    controls = record.get("controls") or {}
    groups = [g for g in controls.get("groups") or [] if g.get("claim")]
    group = next((g for g in groups if defined(g["claim"])), groups[0] if groups else None)
    if group is None:
        return ""
    kl = group.get("measure") == "kl"
    head = record.get("headline") or {}
    headline = head.get("kl") if kl else head.get("recovered", record.get("recovered"))
    own, places, name = as_estimate(group["claim"]), (3 if kl else 2), ("KL" if kl else "figure")
    inside = ", ".join(f"{count(controls[key])} {key}" for key in ("documents", "tokens") if controls.get(key))
    rows = (
        f"{count(controls['rows'])} rows{f' ({inside})' if inside else ''}" if controls.get("rows") else "the same rows"
    )
    text = f"controls are scored on {rows}, where the claim's own {name} is {said(own, places)}"
    if own["value"] is not None and own["low"] is None and own["high"] is None and not own["reason"]:
        text += " (no interval was recorded)"
    return f"{text}; its headline, on everything that is scored, is {said(headline, places)}"


def fitted(record: Mapping[str, Any], *, settled: bool = True) -> list[tuple[str, str]]:
    """What was taken from the reference: how many rows the means are of, and what each fit reached.

    Args:
        settled: False: only fits that were cut off while they still got better.
    """
    block = record.get("reference") or {}
    used, found = block.get("statistics"), []
    if used and settled:
        found.append(
            ("Means taken over", f"{count(used.get('rows'))} reference rows, {count(used.get('tokens'))} tokens")
        )
    fits = [fit for fit in block.get("fits") or [] if settled or not fit.get("settled")]
    for fit in fits[:FITS]:
        path = f"{value_text(fit.get('start'), 3)} → {value_text(fit.get('reached'), 3)}"
        end = "" if fit.get("settled") else ", cut off while it still fell: a longer fit would reach less"
        found.append((f"Fitted: {fit.get('what')}", f"KL {path} on {count(fit.get('held'))} held-out rows{end}"))
    if more := fits[FITS:]:
        cut = sum(not fit.get("settled") for fit in more)
        found.append(("Fitted besides", f"{count(len(more))} more, {count(cut)} of them cut off, in measurement.json"))
    return [(plain_text(name), plain_text(text)) for name, text in found]


def level_note(record: Mapping[str, Any]) -> str:
    """Which level was tested; for 'where', that it is not yet an explanation."""
    level = str(record.get("level") or (record.get("claim") or {}).get("level") or "")
    note = plain_text(record.get("level_note") or LEVELS.get(level, ""))
    if level == "where" and "not yet an explanation" not in note:
        note = f"{note} {LEVELS['where']}".strip()
    return note


def sentence(record: Mapping[str, Any]) -> str:
    """The verdict in one plain sentence: the record's own, else one made of its figures."""
    stored = plain_text(record.get("sentence") or "").strip()
    if stored:
        return stored.removeprefix("In one sentence:").strip()
    head = record.get("headline") or {}
    necessity = head.get("necessity")
    if necessity is not None:
        text = f"Removing these parts costs {said(necessity)} of what separates a bigram from the model"
        return f"{text}, and a KL of {said(head.get('kl'), 3)} nats a token."
    recovered = head.get("recovered", record.get("recovered"))
    ablation = plain_text(head.get("ablation") or "the")
    if not defined(recovered):
        return f"How much this explains is undefined, because {why(recovered)}."
    nines = plain_text((head.get("nines") or {}).get("text") or "")
    text = f"Under {ablation} ablation the claim gives back {percent(recovered)} of what is lost at the floor"
    return f"{text}{f' ({nines})' if nines else ''}; checks: {checks_line(record)}."
