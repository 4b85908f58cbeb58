"""How figures and terms are said: takes values of a record, gives text; what is undefined with its reason, never 0."""

from __future__ import annotations

import math
import re

from assay.record.about import PASSES, Tries
from assay.record.measurement import MeasurementRecord
from assay.report.plain import plain_text
from assay.stats.estimate import Estimate

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
    "level": "The question that was tested. Where: do these parts matter? What: do they carry these variables? How: "
    "does this rule compute what they do?",
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
    "interchange accuracy": "How often the network answers as the claim says once a variable was given another "
    "input's value, over the most common right answer (0: a constant's, 1: exact).",
}

FRONTIER_TERMS: dict[str, str] = {
    "edge": "What one part writes, as one later part reads it (a head's queries, keys and values apart). A circuit "
    "keeps some edges; every other one carries its ablation.",
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

ADVICE = {  # what to do where a check fired
    "ablation-sensitive": "the figure depends on what fills the gaps: quote its range, not one ablation",
    "cancellation": "errors cancel in the loss: quote recovered by KL, not by loss",
    "vacuous": "another system gives the same predictions: say what this claim adds to it",
    "self-match": "rows were filled from themselves: use more reference examples, or more prompts that agree",
    "redundant": "parts that stand in for one another: test them together",
    "frivolous": "a part does nothing here: leave it out of the claim",
    "over-specific": "a shorter claim does as well: merge what makes no difference",
    "tiny scope": "these parts do little on this text: choose text on which they matter",
    "off-manifold": "the ablation makes streams unlike any in the model: read a resampling ablation",
    "leak": "the claim was found on scored data: measure it on other documents",
    "over-recovery": "it does better than the model: it leaves errors out, so it is not what the model does",
    "harmful scope": "the model does better without these parts here: choose another task",
    "weak floor": "n-grams saw too little text: give more reference text before comparing with them",
    "few clusters": "few independent works: add documents before trusting the interval",
    "1 of m": "one of several claims tried on this split: quote the adjusted p",
}
CHECK_NAMES = {"1 of m": "several tries"}  # what a record calls a check, where a reader would not guess it


def check_name(name: str) -> str:
    """A check's name as a reader is told it."""
    return CHECK_NAMES.get(name, plain_text(name))


LEVELS = {
    "where": "The level tested is where: whether these parts matter. That is not yet an explanation of what they do.",
    "what": "The level tested is what: whether these parts carry these variables, not how they are computed.",
    "how": "The level tested is how: whether this rule computes what these parts do.",
}

STATES = {"fired": "▲", "passed": "✓", "unknown": "?"}


ITEMS = {"classify": "example", "prompts": "prompt"}  # kind of task -> what is scored; else tokens

BARE = "a number without an interval"
_EXACT = 1e-9  # an interval narrower than this share of its value is rounding: the figure is exact
_ABSENT = Estimate.undefined("it was not measured")
Figure = Estimate | float | int | None


def as_estimate(value: Figure) -> Estimate:
    """Any figure of a record in the form of an estimate; nothing, is undefined."""
    if isinstance(value, Estimate):
        return value
    bare = isinstance(value, int | float)
    return Estimate(value, None, None, 0, BARE) if bare else _ABSENT


def defined(value: Figure) -> bool:
    """Whether a figure has a value."""
    return as_estimate(value).value is not None


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


def decimals(estimate: Estimate, least: int = 2) -> int:
    """As many decimals as the interval's width supports, at least so many."""
    low, high = estimate.low, estimate.high
    if low is None or high is None or high - low <= _EXACT * max(abs(low), abs(high)):
        value = abs(estimate.value or 1.0)
        return least if value >= 10.0**-least else math.ceil(-math.log10(value)) + 1
    places = max(least, min(6, math.ceil(-math.log10(high - low))))
    if low >= 0 and 0 < (estimate.value or 0.0) < 0.5 * 10.0**-places:  # no KL that is not 0 reads as 0
        return min(6, math.ceil(-math.log10(estimate.value or 1.0)))
    return places


def value_text(value: Figure, least: int = 2) -> str:
    """The figure without its interval; an em dash where it is undefined (say the reason beside it)."""
    estimate = as_estimate(value)
    if estimate.value is None:
        return "—"
    places = decimals(estimate, least)
    return power(estimate.value) if places > 6 or _tiny(estimate) else number(estimate.value, places)


def interval_text(value: Figure, least: int = 2) -> str:
    """The interval as "[0.59, 0.65]", "open" for an end that is not bounded, empty where there is none (`ends_why`)."""
    estimate = as_estimate(value)
    if estimate.low is None and estimate.high is None:
        return ""
    places = decimals(estimate, least)
    show = power if _tiny(estimate) else lambda end: number(end, places)
    ends = ["open" if end is None else show(end) for end in (estimate.low, estimate.high)]
    return f"[{ends[0]}, {ends[1]}]"


def _tiny(estimate: Estimate) -> bool:
    """Whether six decimals would show nothing but zeros of a figure that is not 0."""
    ends = [abs(end) for end in (estimate.value, estimate.low, estimate.high) if end is not None]
    return 0 < max(ends) < 5e-7


def said(value: Figure, least: int = 2) -> str:
    """A figure with its interval, or why there is none.

    Example:
        >>> said(Estimate(0.624, 0.591, 0.652, 90)), said(Estimate.undefined("no family of models"))
        ('0.62 [0.59, 0.65]', 'undefined, because no family of models')
    """
    estimate = as_estimate(value)
    if estimate.value is None:
        return f"undefined, because {why(estimate)}"
    return f"{value_text(estimate, least)} {interval_text(estimate, least) or ends_why(estimate)}".rstrip()


def ends_why(value: Figure) -> str:
    """Why a figure has no interval, in parentheses; empty where it has one or is a bare number.

    Example:
        >>> ends_why(Estimate(0.63, None, None, 1, "1 document cannot give one"))
        '(no interval: 1 document cannot give one)'
    """
    estimate = as_estimate(value)
    if estimate.value is None or interval_text(estimate) or estimate.reason == BARE:
        return ""
    return f"(no interval: {why(estimate)})"


def has_reason(value: Figure) -> bool:
    """Whether there is something to say of a figure that is undefined or whose interval is open."""
    return as_estimate(value).reason not in (None, BARE)


def why(value: Figure) -> str:
    """The reason of an undefined figure, or of an open end, without its full stop."""
    reason = as_estimate(value).reason
    return tidy(reason).strip().rstrip(".") if reason else "no reason was recorded"


def percent(value: Figure, *, reason: bool = True) -> str:
    """A share as "62 % [59, 65]", or why there is none; more digits near 100 %.

    Args:
        reason: whether it is said why there is no interval.
    """
    estimate = as_estimate(value)
    if estimate.value is None:
        return f"undefined, because {why(estimate)}"
    scaled = estimate.map(lambda x: 100 * x)
    near = min(abs(100 - 100 * estimate.value), abs(100 * estimate.value))
    least = 0 if near >= 1.5 or near < 1e-6 else 2
    interval = interval_text(scaled, least) or (ends_why(estimate) if reason else "")
    return f"{number(100 * estimate.value, decimals(scaled, least))} % {interval}".rstrip()


def share(value: float) -> str:
    """A share that is known exactly, in per cent with two digits.

    Example:
        >>> share(57 / 1519), share(1.0), share(0.00012)
        ('3.8 %', '100 %', '0.012 %')
    """
    return f"{number(100 * value, max(0, 1 - math.floor(math.log10(100 * value))) if value > 0 else 0)} %"


def p_text(value: float | int | None) -> str:
    """A p-value with three decimals; one is one."""
    return "1" if value == 1 else value_text(value, 3)


def count(value: float | int) -> str:
    """A whole number with thousands separated; powers of ten from ten million."""
    return number(value, 0)


def bits(value: float | int | None) -> str:
    """A length as "412 bits" or "18.2 Mbit" (millions, not 2²⁰)."""
    if value is None:
        return "not counted"
    for unit, size in (("Tbit", 1e12), ("Gbit", 1e9), ("Mbit", 1e6)):
        if value >= size:
            return f"{number(value / size, 1)} {unit}"
    return f"{number(value, 0)} bits"


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


def item(record: MeasurementRecord) -> str:
    """What is scored, in the singular: a token, of a classifier an example, of prompts a prompt."""
    return ITEMS.get(record.task.kind, "token")


def per(record: MeasurementRecord) -> str:
    """The unit of KL: "nats a token", of a classifier "nats an example"."""
    one = item(record)
    return f"nats a{'n' if one[0] in 'aeiou' else ''} {one}"


def claim_line(record: MeasurementRecord) -> str:
    """What is claimed, in the record's words."""
    return plain_text(record.claim.sentence)


def checks_line(record: MeasurementRecord) -> str:
    """How many checks fired, and which; where none did, how many there were, and how many could not be made."""
    fired = [check_name(name) for name in record.fired]
    if fired:
        return f"{len(fired)} fired ({', '.join(fired)})"
    unknown = [plain_text(check.evidence) for check in record.checks if check.state == "unknown"]
    made, why = len(record.checks) - len(unknown), f", because {unknown[0]}" if len(set(unknown)) == 1 else ""
    if not made:
        return f"no check was made{why}"
    silent = "the one that was made did not fire" if made == 1 else f"none of {made} fired"
    return silent + (f", {len(unknown)} were not made{why}" if unknown else "")


def budget_line(passes: float, given: object) -> str:
    """A budget in passes; where nobody gave it, of a small model, what they come from."""
    small = given is None and passes > PASSES
    return f"{number(passes, 0)} passes" + (": a small model's 10¹² operations" if small else "")


def not_measured(record: MeasurementRecord) -> list[tuple[str, list[str]]]:
    """Why blocks were not measured, and which."""
    budget = record.budget
    of = budget_line(budget.passes, record.arguments.resolved.get("budget")) if budget.passes else ""
    every = [
        ("not measured, for want of budget" + (f" ({of})" if of else ""), budget.too_dear),
        ("not measured, as the run was stopped or still goes on", budget.ahead),
    ]
    return [(why, blocks) for why, blocks in every if blocks]


def tries_line(tries: Tries | None) -> str:
    """Which of how many claims on this split, and the p that is left of it after all of them; empty for no register.

    Example:
        >>> tries_line(Tries(tried=3, this=2, p=0.01, p_holm=0.03, without_p=1))
        'claim 2 of 3 tried on this split; p = 0.010, Holm-adjusted for 3 tries 0.030 (1 without a p counts as 1)'
    """
    if tries is None or not tries.tried:
        return ""
    text = f"claim {count(tries.this)} of {count(tries.tried)} tried on this split"
    if tries.p_holm is None:
        return f"{text}; no p to adjust, because no group of controls gives one"
    many = f"{count(tries.tried)} tries" if tries.tried > 1 else "1 try"
    text += f"; p = {p_text(tries.p)}, Holm-adjusted for {many} {p_text(tries.p_holm)}"
    without = tries.without_p
    return text + (f" ({count(without)} without a p count{'s' * (without == 1)} as 1)" if without else "")


def claim_on_controls(record: MeasurementRecord) -> str:
    """The claim's figure on the rows that controls are scored on, apart from its headline on all rows."""
    controls, head = record.controls, record.headline
    if not controls.groups:
        return ""
    group = next((g for g in controls.groups if g.claim.defined), controls.groups[0])
    kl = group.measure == "kl"
    places, name = (3 if kl else 2), ("KL" if kl else "figure")
    inside = f"{count(controls.documents)} documents"
    inside += "" if controls.tokens is None else f", {count(controls.tokens)} tokens"
    return (
        f"controls are scored on {count(controls.rows)} rows ({inside}), where the claim's own {name} is "
        f"{said(group.claim, places)}; its headline, on everything that is scored, is "
        f"{said(head.kl if kl else head.recovered, places)}"
    )


def target(record: MeasurementRecord) -> str:
    """What KL is taken from."""
    return "the model" if record.target is None else plain_text(record.target.what)


def fitted(record: MeasurementRecord) -> list[tuple[str, str]]:
    """What was taken from the reference: how many rows the means are of, and what each fit reached."""
    used, found = record.reference.statistics, []
    if used is not None:
        found.append(("Means taken over", f"{count(used.rows)} reference rows, {count(used.tokens)} tokens"))
    fits = record.reference.fits
    for fit in fits[:FITS]:
        path = f"{value_text(fit.start, 3)} → {value_text(fit.reached, 3)}"
        end = "" if fit.settled else ", cut off while it still fell: a longer fit would reach less"
        found.append((f"Fitted: {fit.what}", f"KL {path} on {count(fit.held)} held-out rows{end}"))
    if more := fits[FITS:]:
        cut = sum(not fit.settled for fit in more)
        found.append(("Fitted besides", f"{count(len(more))} more, {count(cut)} of them cut off, in measurement.json"))
    return [(plain_text(name), plain_text(text)) for name, text in found]
