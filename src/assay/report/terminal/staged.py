"""A line for each stage of a measurement once it is done, before the whole is."""

from __future__ import annotations

from collections.abc import Sequence

from assay.record.about import Check
from assay.record.compute import Compute, Length
from assay.record.controls import Controls
from assay.record.headline import Agreement, Headline
from assay.record.interchange import Interchange
from assay.record.residual import Residual
from assay.report import floors, words
from assay.report.plain import plain_text

LEAST_TOKENS, MOST_NAMED = 20, 6  # tokens of a slice that is named, and rivals


def headline(found: Headline) -> str:
    if found.necessity is not None:
        by = _short(found.kl, 3)
        return f"headline: removing it moves predictions by a KL of {by} nats ({plain_text(found.ablation)})"
    nines = f", {found.nines.shown} nines" if found.nines.shown else ""
    return f"headline: recovers {_short(found.recovered)} over {floors.over(found)}{nines}"


def swaps(found: Interchange) -> str:
    return f"swaps: interchange accuracy {_short(found.accuracy)}, {_short(found.plain)} with the rest left alone"


def agreement(found: Agreement) -> str:
    return f"agreement: the same most likely token as the model's, a share of {_short(found.agreement)}"


def rivals(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"rivals: {', '.join(map(plain_text, names[:MOST_NAMED]))}{more}"


def residual(found: Residual) -> str:
    """Where most is left: the worst slice of those that are partitions, and the worst token."""
    slices = [one for name, some in found.slices.items() if name not in ("document", "token") for one in some]
    known = [one for one in slices if one.kl.value is not None and one.tokens >= LEAST_TOKENS]
    worst = max(known, key=lambda one: one.kl.value or 0.0, default=None)
    said = [] if worst is None else [f"a KL of {_short(worst.kl, 3)} in the slice {plain_text(worst.slice)!r}"]
    said += [f"{words.number(found.worst[0].kl, 3)} at the worst token"] if found.worst else []
    return f"residual: {', '.join(said) or 'nothing was looked at'}"


def controls(found: Controls) -> str:
    if found.reason is not None:
        return f"controls: none, because {found.reason}"
    ranked = [
        f"{words.count(len(group.known))} {plain_text(group.name)} (p = {words.p_text(group.p)})"
        for group in found.groups
        if group.p is not None
    ]
    return f"controls: {', '.join(ranked) or 'single comparisons only'}, on {words.count(found.rows)} rows"


def checks(found: Sequence[Check]) -> str:
    fired, open_ = (
        [words.check_name(check.name) for check in found if check.state == state] for state in ("fired", "unknown")
    )
    return f"checks: {', '.join(fired) or 'none'} fired, {len(open_)} of {len(found)} unknown"


def length(found: Length) -> str:
    own, whole = found.claim.bits, found.standalone.bits
    if own is None and found.reason is not None:
        return f"length: none, because {plain_text(found.reason)}"
    said = ["undefined"] if own is None else [f"{words.bits(own)} for the claim itself"]
    said += [] if whole is None else [f"{words.bits(whole)} to run it without the model"]
    return f"length: {', '.join(said)}"


def compute(found: Compute) -> str:
    floor = f", its floor {words.percent(found.share_floor)}" if words.defined(found.share_floor) else ""
    return f"compute: worth {words.percent(found.share_explained)} of the model's training{floor}"


def _short(figure: words.Figure, decimals: int = 2) -> str:
    """Its interval, or none; why there is none the page says."""
    value = words.as_estimate(figure)
    return words.said(value, decimals) if value.low is not None else words.value_text(value, decimals)
