"""A page over a folder of runs: takes their records, gives one self-contained HTML page, to be sorted and filtered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from markupsafe import Markup

from assay.record.measurement import MeasurementRecord
from assay.record.search import SearchRecord
from assay.report import search_words, verdict, words
from assay.report.charts import frontier
from assay.report.page import shell
from assay.report.plain import plain_text
from assay.report.verdict import NamedMetric
from assay.stats.estimate import Estimate
from assay.version import VERSION

WIDE, HIGH, EDGE = 168, 34, 4  # of a thumbnail, and its margin, pixels
_LEAST = -1.0  # share at which a thumbnail begins


@dataclass(frozen=True)
class IndexedRun:
    """A run of the folder.

    Attributes:
        folder: relative to the page, with forward slashes; page: its page's name, None where it has none.
    """

    folder: str
    record: MeasurementRecord | SearchRecord
    page: str | None = "report.html"


@dataclass(frozen=True)
class Line:
    """A row of the index, plain values."""

    run: str
    kind: str
    claim: str
    level: str
    model: str
    task: str
    verdict: str
    recovered: float | None
    kl: float | None
    nines: float | None
    p: float | None
    fired: tuple[str, ...]
    checks: int
    tokens: int


def lines(runs: Sequence[IndexedRun]) -> list[Line]:
    """The rows, in the order of the runs."""
    return [
        _search(run, run.record) if isinstance(run.record, SearchRecord) else _line(run, run.record) for run in runs
    ]


def render(name: str, runs: Sequence[IndexedRun], skipped: Sequence[tuple[str, str]] = ()) -> str:
    """The page.

    Args:
        name: of the folder; skipped: what else lies in it, and why it is no run.
    """
    told = lines(runs)
    most = max((line.kl or 0.0 for line, run in zip(told, runs, strict=True) if _removal(run)), default=0.0)
    rows = [
        {
            "line": line,
            "link": f"{quote(run.folder)}/{quote(run.page)}" if run.page else None,
            "picture": Markup(thumbnail(run.record, most)),
            "figure": _figure(run.record),
            "order": [line.run, line.claim, line.level, line.model, _order(line, run), _p(line.p), len(line.fired)],
        }
        for line, run in zip(told, runs, strict=True)
    ]
    filters = {
        title: sorted({getattr(line, key) for line in told}) for title, key in (("kind", "kind"), ("model", "model"))
    }
    return shell.render(
        "index.html",
        {},
        assay={"version": VERSION, "revision": None},
        page_title=f"runs in {plain_text(name)}",
        name=plain_text(name),
        rows=rows,
        filters={title: names for title, names in filters.items() if len(names) > 1},
        skipped=skipped,
        contents=[],
        copies=[],
    )


def _removal(run: IndexedRun) -> bool:
    return isinstance(run.record, MeasurementRecord) and run.record.removal


def _order(line: Line, run: IndexedRun) -> float:
    """What runs are sorted by: shares, and removals below them by their KL."""
    if _removal(run):
        return -1e6 + (line.kl or 0.0)
    return -1e9 if line.recovered is None else line.recovered


def _p(p: float | None) -> float:
    return 2.0 if p is None else p


def _line(run: IndexedRun, record: MeasurementRecord) -> Line:
    row, head = record.headline_row, record.headline
    return Line(
        run=plain_text(run.folder),
        kind=record.claim.kind,
        claim=words.claim_line(record),
        level=record.level,
        model=plain_text(record.model.name),
        task=plain_text(record.task.name or record.task.kind),
        verdict=verdict.verdict(record).title,
        recovered=None if record.removal else head.recovered.value,
        kl=row.kl_explained.value if row else None,
        nines=None if record.removal else head.nines.certified.value,
        p=record.controls.largest_p,
        fired=tuple(map(words.check_name, record.fired)),
        checks=len(record.checks),
        tokens=record.task.tokens,
    )


def _search(run: IndexedRun, record: SearchRecord) -> Line:
    point = record.chosen_point
    return Line(
        run=plain_text(run.folder),
        kind="search",
        claim=search_words.title(record),
        level="where",
        model=plain_text(record.model.name),
        task=plain_text(record.task.name or record.task.kind),
        verdict=search_words.short(record),
        recovered=point.recovered.value if point else None,
        kl=point.kl.value if point else None,
        nines=None,
        p=point.control.p if point and point.control else None,
        fired=("leak",) if record.leak.state == "fired" else (),
        checks=1,
        tokens=record.evaluation.tokens,
    )


def _figure(record: MeasurementRecord | SearchRecord) -> str:
    """The figure that leads, with its interval; beside the task's own metric the share of KL, which is drawn."""
    if isinstance(record, SearchRecord):
        point, named = record.chosen_point, verdict.metric_of(record.task.metric)
        if point is None:
            return "undefined"
        return _shares(point.recovered, point.recovered_loss if named else None, named)
    if record.removal:
        found = record.headline.kl or Estimate.undefined("it was not measured")
        return f"KL {words.value_text(found, 3)} {words.interval_text(found, 3)}".rstrip()
    named, share = verdict.led(record) or (None, None)
    return _shares(record.headline.recovered, share, named)


def _shares(found: Estimate, share: Estimate | None, named: NamedMetric | None) -> str:
    kl = words.percent(found, reason=False) if found.defined else "undefined"
    if named is None or share is None or not share.defined:
        return kl
    return f"{words.percent(share, reason=False)} of the {named.name}, {kl} of the KL"


def thumbnail(record: MeasurementRecord | SearchRecord, most: float = 0.0) -> str:
    """A run as a small drawing: a bar from floor to model with its interval and the controls as dots above it, of a
    removal its KL out of `most`; of a search recovered against the number of edges."""
    if isinstance(record, SearchRecord):
        return _svg(_frontier(record), search_words.short(record))
    if record.removal:
        return _svg(_bar(record.headline.kl, 0.0, most or 1.0, "k"), verdict.verdict(record).title)
    found = record.headline.recovered
    values = [value for group in record.controls.groups if not verdict.near(group) for value in group.known]
    low = min(
        [0.0, *(max(_LEAST, x) for x in values), *(max(-5.0, x) for x in (found.value, found.low) if x is not None)]
    )
    drawn = "".join(f'<circle cx="{_x(max(low, x), low, 1.0):.1f}" cy="9" r="2.4"/>' for x in values)
    return _svg(f'<g class="c">{drawn}</g>{_bar(found, low, 1.0, "r")}', verdict.verdict(record).title)


def _x(value: float, low: float, high: float) -> float:
    return EDGE + (WIDE - 2 * EDGE) * min(1.0, max(0.0, (value - low) / ((high - low) or 1.0)))


def _bar(found: Estimate | None, low: float, high: float, kind: str) -> str:
    zero, end = _x(0.0, low, high), _x(high, low, high)
    base = f'<path class="base" d="M{_x(low, low, high):.1f} 23H{end:.1f}"/><path class="zero" d="M{zero:.1f} 3V31"/>'
    if found is None or found.value is None:
        return base
    at = _x(found.value, low, high)
    kind = f"{kind} below" if found.value < 0 else kind
    bar = f'<path class="bar {kind}" d="M{zero:.1f} 23H{at:.1f}"/>'
    ends = [found.value if x is None else x for x in (found.low, found.high)]
    span = f'<path class="span" d="M{_x(ends[0], low, high):.1f} 23H{_x(ends[1], low, high):.1f}"/>'
    return f'{base}{bar}{span}<path class="at" d="M{at:.1f} 17V29"/>'


def _frontier(record: SearchRecord) -> str:
    method = frontier.methods_of(record)[:1]
    known = [(p.edges, p.recovered.value) for one in method for p in one.sizes if p.edges > 0 and p.recovered.defined]
    if not known:
        return ""
    from math import log

    first, last = log(known[0][0]), log(max(known[-1][0], known[0][0] + 1))
    points = [(_x(log(n), first, last), 29 - 24 * min(1.0, max(0.0, r or 0.0))) for n, r in known]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2"/>' for x, y in points)
    return f'<path class="zero" d="M{EDGE} 29H{WIDE - EDGE}"/><path class="line" d="M{path}"/><g class="c">{dots}</g>'


def _svg(inside: str, title: str) -> str:
    said = escape(plain_text(title), quote=True)
    box = f'viewBox="0 0 {WIDE} {HIGH}" width="{WIDE}" height="{HIGH}"'
    return f'<svg class="thumb" {box} role="img" aria-label="{said}">{inside}</svg>'
