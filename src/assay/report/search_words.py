"""A search for circuits in words: takes its record, gives its title and its verdict."""

from __future__ import annotations

from assay.record.search import SearchRecord
from assay.report import words
from assay.report.charts import frontier
from assay.report.plain import plain_text
from assay.report.verdict import metric_of


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
    text += f", found by {plain_text(found.method)}"
    if point is None:
        return f"{text}; this size was not scored, so what it recovers is not known."
    named, shares = metric_of(record.task.metric), []
    if named is not None and point.recovered_loss.defined:
        shares.append(f"{words.percent(point.recovered_loss)} of the {named.name}")
    if point.recovered.defined:
        shares.append(f"{words.percent(point.recovered)} of the KL" if shares else words.percent(point.recovered))
    if not shares:
        return f"{text}: what they recover is undefined, because {words.why(point.recovered)}."
    ablation = plain_text(record.ablation)
    text += f", recover {' and '.join(shares)} of what is lost with none of them, under {ablation} ablation"
    if (control := point.control) is None:
        return f"{text}. No random circuits of this size were scored."
    ends = ", ".join(words.number(100 * end, 0) for end in (control.low, control.high))
    middle = words.number(100 * control.median, 0)
    text += f"; of {words.count(control.n)} random circuits of that size the middle one recovers {middle} %"
    return f"{text} (90 % of them: [{ends}] %; p\u00a0=\u00a0{words.p_text(control.p)})."


def chosen(record: SearchRecord) -> str:
    """Why the circuit that is written has this size; empty where a size was given."""
    reach = record.circuit.reach
    if reach is None:
        return ""
    named = metric_of(record.task.metric) if reach.metric else None
    aim = f"{words.share(reach.share)} of the {named.name if named else 'KL that is lost with no edge'}"
    lead = "Its size was chosen on the documents that were searched: "
    if reach.reached:
        return f"{lead}the smallest that recovers {aim} there ({words.share(reach.found)})."
    return (
        f"{lead}none short of the whole model recovers {aim} there, and it comes nearest ({words.share(reach.found)})."
    )


def short(record: SearchRecord) -> str:
    """The verdict as one short line."""
    found, point = record.circuit, record.chosen_point
    if not found.edges:
        return "No circuit was found"
    many = f"{words.count(found.edges)} of {words.count(record.total)} edges"
    named = metric_of(record.task.metric)
    if point is not None and named is not None and point.recovered_loss.defined:
        return f"{many} recover {words.percent(point.recovered_loss, reason=False)} of the {named.name}"
    if point is None or not point.recovered.defined:
        return f"{many} found; what they recover is not known"
    return f"{many} recover {words.percent(point.recovered, reason=False)}"
