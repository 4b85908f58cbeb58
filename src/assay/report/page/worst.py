"""The worst examples as the page shows them: rows of a table, which a browser sorts and filters, and for each its
tokens with what model, explained run and floor make of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assay.record.measurement import MeasurementRecord
from assay.record.residual import Token, WorstRow
from assay.report import words
from assay.report.plain import plain_text
from assay.report.slices import PARTITIONS, phrase

RUNS = (("model", "model"), ("explained", "explanation"), ("floor", "floor"))  # field -> in words
_BEFORE, _AFTER = 7, 3  # tokens around the worst one in the table
_TOP = 2  # likeliest tokens in the table


@dataclass(frozen=True)
class ShownExample:
    """A row of the table."""

    where: str
    before: str
    token: str
    after: str
    runs: Sequence[tuple[str, str]]
    kl: float
    gap: float | None


@dataclass(frozen=True)
class WorstRows:
    """All of them; `filters`: partition -> (key, slice in words); `data`: what the browser draws tokens from."""

    rows: Sequence[ShownExample]
    filters: Sequence[tuple[str, Sequence[tuple[str, str]]]]
    data: Mapping[str, Any]
    runs: Sequence[str]


def examples(record: MeasurementRecord) -> WorstRows | None:
    """The examples of a record, those with the largest KL first; None where there are none."""
    found = [row for row in (*record.residual.worst, *record.residual.worst_of_slices) if row.text]
    known = sorted(found, key=lambda row: -row.kl)  # the record has them by their windows' KL, the table by the token's
    if not known:
        return None
    runs = [(key, _called(record, name)) for key, name in RUNS if any(_has(row, key) for row in known)]
    filters = []
    for by, title in PARTITIONS.items():
        order = [part.slice for part in record.residual.slices.get(by, ())]
        names = sorted({row.slices[by] for row in known if by in row.slices}, key=lambda name: _place(name, order))
        if len(names) > 1:
            filters.append((title, [(f"{by}:{name}", phrase(by, name, words.item(record))) for name in names]))
    losses = record.task.metric in ("loss", "kl")
    data = {
        "item": words.item(record),
        "runs": [[key, name] for key, name in runs],
        "probability": record.task.metric == "loss",
        "loss": "loss" if losses else f"loss ({record.task.metric})",
        "examples": [_tokens(row, [key for key, _ in runs], None if record.target else 0.0) for row in known],
    }
    return WorstRows([_row(row, runs) for row in known], filters, data, [name for _, name in runs])


def _called(record: MeasurementRecord, name: str) -> str:
    """A removal has no explained run: its parts are removed, and it stands beside the bigram."""
    if not record.removal:
        return name
    return {"explanation": "parts removed", "floor": plain_text(record.headline.floor)}.get(name, name)


def _has(row: WorstRow, run: str) -> bool:
    return any(getattr(token, f"loss_{run}") is not None for token in row.text)


def _place(name: str, order: Sequence[str]) -> tuple[int, str]:
    return (order.index(name) if name in order else len(order)), name


def focus(row: WorstRow) -> int:
    """The place of the worst token: of that name the one with the largest KL."""
    same = [i for i, token in enumerate(row.text) if token.token == row.token] or range(len(row.text))
    return max(same, key=lambda i: row.text[i].kl or 0.0)


def _row(row: WorstRow, runs: Sequence[tuple[str, str]]) -> ShownExample:
    at = focus(row)
    token = row.text[at]
    gap = token.gap
    said = [(name, _likeliest(token, key)) for key, name in runs]
    return ShownExample(
        where=f"{plain_text(row.document)}, position {row.position}" if len(row.text) > 1 else plain_text(row.document),
        before=_joined(row.text[max(0, at - _BEFORE) : at]),
        token=plain_text(token.token) or "∅",
        after=_joined(row.text[at + 1 : at + 1 + _AFTER]),
        runs=[(name, text) for name, text in said if text],
        kl=row.kl,
        gap=gap,
    )


def _joined(tokens: Sequence[Token]) -> str:
    return plain_text("".join(token.token for token in tokens))


def _likeliest(token: Token, run: str) -> str:
    """The likeliest tokens of a run in words."""
    told = getattr(token, f"top_{run}")[:_TOP]
    return ", ".join(f"“{plain_text(name)}” {words.number(p, 2)}" for name, p in told)


def _tokens(row: WorstRow, runs: Sequence[str], own: float | None) -> dict[str, Any]:
    """What it is sorted by, the keys of the filter that it is in, and its tokens: each a list of its text and, of each
    run, the loss, the KL (the model's is `own`) and the likeliest tokens."""
    kl = {"model": lambda t: None if t.kl is None else own, "explained": lambda t: t.kl, "floor": lambda t: t.kl_floor}
    return {
        "focus": focus(row),
        "order": {"where": plain_text(row.document), "kl": row.kl, "gap": row.text[focus(row)].gap},
        "slices": [f"{by}:{name}" for by, name in row.slices.items()],
        "tokens": [
            [
                plain_text(token.token).replace("↵", "↵\n") or "∅",
                [[_short(getattr(token, f"loss_{run}")), _short(kl[run](token)), _top(token, run)] for run in runs]
                if token.kl is not None
                else None,
            ]
            for token in row.text
        ],
    }


def _top(token: Token, run: str) -> list[list[Any]]:
    return [[plain_text(name) or "∅", p] for name, p in getattr(token, f"top_{run}")]


def _short(value: float | None) -> float | None:
    """Four digits, as a page's table has room for."""
    return None if value is None else float(f"{value:.4g}")
