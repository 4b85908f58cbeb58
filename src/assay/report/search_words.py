"""A search for circuits in words: takes its record, gives its title and its verdict."""

from __future__ import annotations

from assay.record.search import SearchRecord
from assay.report import frontier, words
from assay.report.plain import plain_text


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


def short(record: SearchRecord) -> str:
    """The verdict as one short line."""
    found, point = record.circuit, record.chosen_point
    if not found.edges:
        return "No circuit was found"
    many = f"{words.count(found.edges)} of {words.count(record.total)} edges"
    if point is None or not point.recovered.defined:
        return f"{many} found; what they recover is not known"
    return f"{many} recover {words.percent(point.recovered, reason=False)}"
