"""One self-contained page of a measurement: takes a record and its per-token table, gives HTML.

The verdict comes first, then the five figures that decide, each with a sentence on what there is to see in it;
everything else is folded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from altair.utils.schemapi import debug_mode

from assay.record.graph import Graph
from assay.record.measurement import MeasurementRecord
from assay.report import export, strength, swaps, verdict, words
from assay.report.charts import charts, graph
from assay.report.page import details, pieces, sees, shell, worst
from assay.report.page.shell import Entry

_STATES = ("fired", "unknown", "passed")


@debug_mode(False)  # the tests validate
def render(record: MeasurementRecord, examples: pa.Table | None = None) -> str:
    """The page of a record.

    Args:
        record: the measurement, as stored.
        examples: one row a scored token; without it the page lacks the distribution over tokens.
    """
    compute, said, item = record.compute, verdict.verdict(record), words.item(record)
    own = record.own
    specs = _specs(record, examples) | pieces.charts(own.pieces if own else ())
    shown = worst.examples(record)
    return shell.render(
        "template.html",
        specs,
        assay=record.assay,
        contents=_contents(record, specs, shown is not None),
        glossary=details.glossary(record),
        r=record,
        head=record.headline,
        removal=record.removal,
        swapped=record.interchange,
        swaps=swaps,
        strength=strength,
        per=words.per(record),
        item=item,
        losses=record.losses,
        metric=verdict.metric(record),
        figure_of=verdict.as_figure,
        led=first[1] if (first := verdict.led(record)) else None,
        led_from=verdict.reached(record, row) if (row := record.headline_row) else "",
        undefined=verdict.undefined(record),
        title=said.title,
        said=said.sentences,
        claim_line=words.claim_line(record),
        page_title=f"{words.claim_line(record)} · {said.title}",
        level_note=words.LEVELS[record.level],
        checks_line=words.checks_line(record),
        fired=[check for check in record.checks if check.state == "fired"],
        advice=words.ADVICE,
        tries=_capital(words.tries_line(record.tries)),
        nines=record.headline.nines,
        sees={name: getattr(sees, name)(record) for name in ("headline", "controls", "worst", "length", "compute")},
        worst=shown,
        compute=compute,
        placed=sorted(
            (one for one in compute.systems if one.role != "strength"), key=lambda row: row.loss.value or 0.0
        ),
        **details.rungs(compute),
        law_warning=_capital(words.tidy((compute.power_law and compute.power_law.warning) or "")),
        compute_facts=details.compute_facts(compute),
        marks=charts.marks_of(record),
        length=record.bits,
        overtaken=[details.overtaken(row) for row in record.bits.overtaken],
        facts=details.facts(record),
        agreement=details.agreement(record),
        parts=_parts(record),
        own=own,
        own_line=graph.size_line(own.graph) if own and own.graph else "",
        own_terms=own.terms if own else {},
        graphs={at: graph.shown(one) for at, one in enumerate(own.pieces) if isinstance(one, Graph)} if own else {},
        strip=details.strip,
        checks=sorted(record.checks, key=lambda check: _STATES.index(check.state)),
        **details.controls(record),
        **details.residual(record.residual),
        missing=details.missing(record),
        command=record.arguments.command,
        copies=export.copies(record),
        versions=details.versions(record),
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _parts(record: MeasurementRecord) -> list[Any]:
    return [*record.parts.components, *([record.parts.compound] if record.parts.compound else [])]


def _contents(
    record: MeasurementRecord, specs: dict[str, Any], examples: bool
) -> Sequence[tuple[str, Sequence[Entry]]]:
    """The table of contents: the figures that decide, and what is folded."""
    known = {name for name, chart in specs.items() if chart is not None}
    deciding = [
        Entry("verdict", "Verdict"),
        Entry("swaps", "Swaps") if record.interchange else None,
        Entry("headline", "Cost by ablation" if record.removal else "Recovered by floor"),
        Entry("controls", "Controls") if "controls" in known else None,
        Entry("worst", "Worst examples") if examples else None,
        Entry("length", "Length") if "length" in known else None,
        Entry("compute", "Training compute") if "scaling" in known else None,
    ]
    more = [
        Entry(record.own.block, record.own.title) if record.own else None,
        Entry("floors", "Every floor and ablation"),
        Entry("strength", "How hard the rest is ablated") if record.strength else None,
        Entry("agreement", "Agreement"),
        Entry("checks", "Checks"),
        Entry("parts", "Each component alone") if _parts(record) else None,
        Entry("rivals", "Rivals") if record.rivals else None,
        Entry("residual", "What is left"),
        Entry("measured", "What was measured"),
        Entry("missing", "What is missing") if details.missing(record) else None,
        Entry("again", "Cite and repeat"),
        Entry("terms", "Terms"),
    ]
    return [("", [entry for entry in deciding if entry]), ("Details", [entry for entry in more if entry])]


def _specs(record: MeasurementRecord, examples: pa.Table | None) -> dict[str, Any]:
    return {
        "recovered": charts.recovered(record),
        "controls": charts.controls(record),
        "length": charts.length(record),
        "scaling": charts.scaling(record),
        "tokens": charts.tokens(examples, record.headline.ablation),
        "parts": charts.parts(record),
    }
