"""The verdict in sentences that can be quoted: what a claim recovers, what does as well, what is left, which checks
fired. Takes a record; each sentence has its numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from assay.record.controls import ControlGroup
from assay.record.headline import OWN_FLOORS, TableRow
from assay.record.measurement import MeasurementRecord
from assay.report import floors, slices, words
from assay.report import strength as strengths
from assay.report import swaps as swapped
from assay.report.cells import row_name
from assay.report.plain import plain_text
from assay.stats.estimate import Estimate


@dataclass(frozen=True)
class NamedMetric:
    """A task's own metric in words.

    Attributes:
        figure: of a loss the metric's figure; change: likewise of a difference of losses. Both fall as it rises.
    """

    name: str
    figure: Callable[[float], float]
    change: Callable[[float], float] = lambda difference: -difference
    unit: str = ""


_METRICS = {
    "logit_diff": NamedMetric("logit difference", lambda loss: -loss, unit="logits"),
    "accuracy": NamedMetric("accuracy", lambda loss: 1 - loss),
    "probability": NamedMetric("probability of the answer", lambda loss: 1 - loss),
}
_ENOUGH = 19  # controls that can give p = 0.05


@dataclass(frozen=True)
class Verdict:
    """Attributes:
    title: one short line; the others are a sentence each, of which all but recovers and rivals may be empty.
    """

    title: str
    swaps: str
    recovers: str
    strength: str
    target: str
    rivals: str
    left: str
    checks: str

    @property
    def sentences(self) -> tuple[str, ...]:
        return tuple(
            text
            for text in (
                *(self.swaps, self.recovers, self.strength),
                *(self.target, self.rivals, self.left, self.checks),
            )
            if text
        )


def verdict(record: MeasurementRecord) -> Verdict:
    """What there is to say of a measurement."""
    title, recovers = _removed(record) if record.removal else _recovers(record)
    found = record.interchange
    if found is not None and found.accuracy.defined:
        title = f"Interchange accuracy {words.said(found.accuracy)} with the rest {swapped.rest(found.perturbed)}"
    told = "" if found is None else swapped.verdict(found)
    return Verdict(
        title, told, recovers, strengths.line(record), _target(record), as_well(record), _left(record), _checks(record)
    )


def metric(record: MeasurementRecord) -> NamedMetric | None:
    """What the task is measured by; None for the loss of the next token, which needs no name of its own."""
    return metric_of(record.task.metric)


def metric_of(name: str) -> NamedMetric | None:
    """The same, of a metric's name."""
    return None if name in ("loss", "kl") else _METRICS.get(name) or NamedMetric(plain_text(name), lambda loss: -loss)


def led(record: MeasurementRecord) -> tuple[NamedMetric, Estimate] | None:
    """The task's own metric and the share of it that is recovered: what leads where it is defined."""
    named, share = metric(record), record.headline.recovered_loss
    return None if named is None or record.removal or not share.defined else (named, share)


def reached(record: MeasurementRecord, row: TableRow) -> str:
    """What the floor, the explained run and the model reach on the task's own metric, in its own unit."""
    named = metric(record)
    if named is None:
        return ""
    runs = (("floor", row.loss_floor), ("explained", row.loss_explained), ("model", record.losses.model))
    said = [f"{run} {words.value_text(as_figure(loss, named.figure))}" for run, loss in runs if words.defined(loss)]
    return f"{', '.join(said)}{f' {named.unit}' if named.unit else ''}"


def _recovers(record: MeasurementRecord) -> tuple[str, str]:
    head, row, found, to = record.headline, record.headline_row, record.headline.recovered, words.target(record)
    claim, below, per = words.claim_line(record), floors.over(head), words.per(record)
    if found.value is None:
        return (
            f"What it recovers over {below} is undefined",
            f"How much the claim “{claim}” recovers over {below} is undefined, because {words.why(found)}.",
        )
    if row is not None and same_run(row):
        return (
            f"0 over {below} by construction",
            f"The claim “{claim}” puts the same values in place as its floor, {below}, and so recovers 0 by "
            f"construction; what it costs is a KL to {to} of {words.said(row.kl_explained, 3)} {per}.",
        )
    first, lost = led(record), floors.cost(head)
    if first is None:
        title = f"{standing(found)}ecovers {words.percent(found, reason=False)} over {below}"
        text = f"The claim “{claim}” recovers {words.percent(found)} of {lost}"
    else:
        named, share = first
        title = f"{standing(share)}ecovers {words.percent(share, reason=False)} of the {named.name} over {below}"
        text = f"The claim “{claim}” recovers {words.percent(share)} of {lost} in {named.name}"
        text += f" ({reached(record, row)})" if row is not None else ""
        text += f". Of what it costs in predictions it recovers {words.percent(found)}"
    if row is not None and row.kl_explained.defined:
        before, after = (words.value_text(x, 3) for x in (row.kl_floor, row.kl_explained))
        moves = "rises" if found.value < 0 else "falls"
        moves = f"stays at {after}" if before == after else f"{moves} from {before} to {after}"
        text += f": the KL to {to} {moves} {per}, over {_sample(record)}"
    others = [r for r in record.table if r.floor == head.floor and not r.headline and r.recovered.defined]
    if others and head.floor in OWN_FLOORS:
        best = max(others, key=lambda r: r.recovered.value or 0.0)
        both = f"{words.percent(best.recovered)}" + (" in predictions" if first is not None else "")
        if first is not None and best.recovered_loss.defined:
            both = f"{words.percent(best.recovered_loss)} of the {first[0].name} and {both}"
        text += f"; over {floors.over(best)} it recovers {both}"
    if (number := head.nines.shown) and number.strip("0.") and found.value > 0:
        text += f". Certified: {plain_text(number)} nines over {plain_text(head.nines.floor)}"
    return title, f"{text}.{_not_on_metric(record)}"


def _target(record: MeasurementRecord) -> str:
    """What KL is taken from, where that is not the model."""
    if record.target is None:
        return ""
    return (
        f"KL is taken from {words.target(record)}, not from the model's own distribution, which is "
        f"{words.said(record.target.kl, 3)} {words.per(record)} from that."
    )


def standing(found: Estimate) -> str:
    """The beginning of the title: where the share lies against its floor, up to the r of "recovers"."""
    if found.high is not None and found.high <= 0:
        return "Worse than its floor: r" if found.high < 0 else "No better than its floor: r"
    if found.low is None and found.high is None:
        return "No better than its floor: r" if (found.value or 0.0) <= 0 else "R"
    return "Not shown to be better than its floor: r" if found.low is None or found.low <= 0 else "R"


def same_run(row: TableRow) -> bool:
    """Whether the explained run is the floor itself."""
    return row.floor == "ablated" and row.recovered.value == 0 and row.kl_explained == row.kl_floor


def _removed(record: MeasurementRecord) -> tuple[str, str]:
    head, per = record.headline, words.per(record)
    what = words.few_names(", ".join(map(plain_text, record.claim.scope)) or "the whole model")
    kl = words.said(head.kl, 3)
    if not words.defined(head.kl):
        why = f"What removing {what} ({plain_text(head.ablation)}) costs is undefined, because {words.why(head.kl)}."
        return f"What removing {what} costs is undefined", why
    title = f"Without {what}, predictions move by a KL of {kl} {per}"
    text = f"Removing {what} from {plain_text(record.model.name)} ({plain_text(head.ablation)}) moves its predictions "
    text += f"by a KL of {kl} {per}"
    if words.defined(head.nats):
        named = metric(record)
        lost = head.nats if named is None else as_figure(head.nats, named.change)
        unit = f" {named.unit}" if named and named.unit else ""
        text += (
            f" and changes the {named.name if named else 'loss'} by {words.said(lost, 3)}{unit}, over {_sample(record)}"
        )
    if words.defined(head.necessity):
        text += f". That is N = {words.said(head.necessity)} of what separates the bigram from the model"
    return title, f"{text}."


def _sample(record: MeasurementRecord) -> str:
    task, item = record.task, words.item(record)
    documents = "" if item != "token" else f" of {words.count(task.documents)} documents"
    return f"{words.count(task.tokens)} {item}s{documents}"


def _not_on_metric(record: MeasurementRecord) -> str:
    """Why the task's own metric does not lead."""
    named, row, share = metric(record), record.headline_row, record.headline.recovered_loss
    if named is None or row is None or share.defined:
        return ""
    return f" What it recovers of the {named.name} ({reached(record, row)}) is undefined, because {words.why(share)}."


def as_figure(loss: Estimate | None, figure: Callable[[float], float]) -> Estimate | None:
    """A metric's own figure of its loss."""
    return None if loss is None else loss.map(figure, decreasing=True)


def undefined(record: MeasurementRecord) -> list[str]:
    """Why figures of the table of floors are undefined, a line a reason: they do not fit its columns."""
    named, whys = metric(record), dict[str, list[str]]()
    for row in record.table:
        shares = {"recovered": row.recovered, f"of the {named.name if named else 'loss'}": row.recovered_loss}
        for what, share in ({"necessity": row.necessity} if record.removal else shares).items():
            if share is not None and not share.defined:
                whys.setdefault(words.why(share), []).append(f"{what} ({row_name(row)}, {plain_text(row.floor)})")
    return [f"Undefined: {'; '.join(names)}, because {why}" for why, names in whys.items()]


def good(group: ControlGroup) -> int | None:
    """How many controls of a group do at least as well as the claim on the same rows; None where that is not known."""
    mine = group.claim.value
    return None if mine is None else sum(value >= mine for value in group.known)


def as_well(record: MeasurementRecord) -> str:
    """Whether controls or rivals do as well as the claim."""
    groups = [g for g in record.controls.groups if g.known and g.difference is None and not near(g)]
    verb = "costs as much" if record.removal else "does as well"
    if not groups:
        reason = record.controls.reason
        text = (
            "No group of controls is large enough to compare with" if record.controls.groups else "No controls were run"
        )
        return f"{text}{f', because {words.tidy(reason)}' if reason else ''}.{_singles(record)}{_rivals(record)}"
    beaten = [g for g in groups if not good(g)]
    parts = [_equal(g, n, record.removal) for g in sorted(groups, key=lambda g: -(g.p or 0.0)) if (n := good(g))]
    if sum(len(g.known) for g in beaten) == 1:
        lone = "costs less" if record.removal else "does worse"
        parts.append(f"the only one, “{plain_text(beaten[0].name)}”, {lone}{_p(beaten[0])}")
    elif beaten:
        names, ranked = _listed([many(g) for g in beaten]), [g for g in beaten if g.p is not None]
        few, p = min((len(g.known) for g in ranked), default=0), max((g.p or 0.0 for g in ranked), default=None)
        least = f", the lowest that {few} can give" if few < _ENOUGH else ""
        parts.append(f"none of {names} {verb}" + ("" if p is None else f" (p = {words.p_text(p)}{least})"))
    return f"Of the controls, {'; '.join(parts)}.{_singles(record)}{_rivals(record)}"


def _equal(group: ControlGroup, n: int, removal: bool) -> str:
    verb = "cost" if removal else "do"
    well = "at least as " + ("much" if removal else "well")
    verb = verb if n > 1 else {"cost": "costs", "do": "does"}[verb]
    return f"{words.count(n)} of {many(group)} {verb} {well}{_p(group)}"


def many(group: ControlGroup) -> str:
    """How many controls of which name, as "19 other heads" or "2 searches on a shuffled task"."""
    name, n = plain_text(group.name), words.count(len(group.known))
    if name.startswith("search ") and len(group.known) != 1:
        return f"{n} searches {name.removeprefix('search ')}"
    return f"{n} {name}" if name.endswith("s") else f"{n} × {name}"


def _p(group: ControlGroup) -> str:
    return "" if group.p is None else f" (p = {words.p_text(group.p)})"


def near(group: ControlGroup) -> bool:
    """Whether it holds near misses of the claim, which are no controls."""
    return "near misses" in group.what


def _singles(record: MeasurementRecord) -> str:
    """Single controls that the claim is not shown to be better than."""
    names = [f"“{plain_text(group.name)}”" for group in record.controls.groups if not_beaten(group)]
    return f" It is not shown to be better than {_listed(names, 'or')}." if names else ""


def not_beaten(group: ControlGroup) -> bool:
    """Whether it is a single control, with no p of its own, that the claim is not shown to be better than."""
    found = group.difference
    return found is not None and found.value is not None and (found.low is None or found.low <= 0)


def _rivals(record: MeasurementRecord) -> str:
    mine = record.headline.recovered.value
    if record.removal or mine is None:
        return ""
    better = [rival for rival in record.rivals if (rival.recovered.value or -1.0) >= mine]
    if not better:
        return ""
    best = max(better, key=lambda rival: rival.recovered.value or 0.0)
    return f" The rival “{plain_text(best.name)}” recovers as much or more: {words.percent(best.recovered)}."


def _left(record: MeasurementRecord) -> str:
    row, per = record.headline_row, words.per(record)
    if row is None or not row.kl_explained.defined or record.removal:
        line = slices.telling_line(record)
        return f"{line}." if line and slices.telling(record) else ""
    text = f"What is left is a KL of {words.said(row.kl_explained, 3)} {per}"
    if record.compute.recovered.defined:
        text += f"; in training compute the claim recovers {words.percent(record.compute.recovered)}"
    line = slices.telling_line(record)
    return f"{text}. {line}." if slices.telling(record) else f"{text}."


def _checks(record: MeasurementRecord) -> str:
    fired = [words.check_name(name) for name in record.fired]
    if not fired:
        line = words.checks_line(record).replace("the one", "the one check").replace(" fired", " checks fired")
        return f"{line[:1].upper()}{line[1:]}." if record.checks else ""
    return f"{len(fired)} check{'s' * (len(fired) != 1)} fired: {_listed(fired)}."


def _listed(names: list[str], last: str = "and") -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"
