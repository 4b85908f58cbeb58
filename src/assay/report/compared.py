"""Several runs in the terminal: takes records and the paired differences made of them, gives rich renderables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from assay.report import terminal, words
from assay.report.plain import plain_text

_DIM, _GOLD = "dim", "bold yellow"
_FIGURES = (("recovered", "recovered", 2), ("kl", "KL", 3), ("loss", "loss", 3))


def compare(
    records: Sequence[Mapping[str, Any]], names: Sequence[str], pairs: Sequence[Mapping[str, Any]] = ()
) -> Group:
    """Measurements side by side, then every one after the first against the first, and a sentence on each pair.

    Args:
        records: the measurements.
        names: what to call them, for instance their folders.
        pairs: the paired differences, as `assay.measure.compare.compare` gives them.
    """
    table = _table("", *names)
    for label, figure in _COMPARED:
        table.add_row(Text(label, style=_DIM), *(Text(figure(record)) for record in records))
    parts: list[RenderableType] = [table]
    paired = [pair for pair in pairs if not pair["reason"]]
    if paired:
        parts += [Text(), _differences(paired)]
    parts += [Text.assemble(("In one sentence: ", _DIM), (plain_text(pair["sentence"]), "bold")) for pair in pairs]
    said = cautions(records)
    if said:
        parts.append(Text("Mind that " + "; ".join(said) + ".", style=_DIM))
    return Group(*parts)


def cautions(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """What must be known before figures of several runs are compared: a clause each."""

    def differ(what: Any) -> bool:
        return len({what(record) for record in records}) > 1

    said = []
    if differ(lambda record: (record.get("model") or {}).get("fingerprint")):
        said.append("the models differ, so each KL is to another model")
    if differ(lambda record: record.get("level")):
        said.append("the levels differ, and nines are compared within one")
    if differ(_headline):
        said.append("the headline ablation or floor differs")
    own = any((record.get("headline") or {}).get("floor") == "ablated" for record in records)
    if own and differ(lambda record: tuple((record.get("claim") or {}).get("scope") or ())):
        said.append("the scopes differ, so each recovered share is of another whole (KL and loss are in nats)")
    if differ(lambda record: (record.get("task") or {}).get("fingerprint")):
        said.append("the scored data differ, and only tokens at the same place of a document are paired")
    return said


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style=_DIM, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(Text(plain_text(column)), overflow="fold")
    return table


def _differences(pairs: Sequence[Mapping[str, Any]]) -> Table:
    """A row a pair and figure: both on the tokens that both scored, and their difference."""
    adjusted = len(pairs) > 1
    table = _table("on shared tokens", "first run", "this run", "difference", "p (Holm)" if adjusted else "p")
    for pair in pairs:
        for key, label, least in _FIGURES:
            figure = pair["figures"][key]
            shown = [words.said(figure[which], least) for which in ("first", "second", "difference")]
            cells = (f"{pair['run']}: {label}", *shown, words.p_text(figure["p_holm"]))
            table.add_row(*(Text(plain_text(cell)) for cell in cells), style=_GOLD if key == "recovered" else "")
    return table


def _headline(record: Mapping[str, Any]) -> str:
    head = record.get("headline") or {}
    return plain_text(f"{head.get('ablation', '?')} over {head.get('floor', '?')}")


def _row(record: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((row for row in record.get("table") or [] if row.get("headline")), {})


def _nines(record: Mapping[str, Any]) -> str:
    head = record.get("headline") or {}
    return plain_text((head.get("nines") or {}).get("text") or words.said(record.get("nines")))


_COMPARED = (
    ("claim", words.claim_line),
    ("level", lambda record: plain_text(record.get("level") or "?")),
    ("model", lambda record: plain_text((record.get("model") or {}).get("name") or "?")),
    ("scored", lambda record: terminal.sample(record.get("task") or {})),
    ("headline", _headline),
    ("recovered", lambda record: words.said((record.get("headline") or {}).get("recovered"))),
    ("recovered (loss)", lambda record: words.said((record.get("headline") or {}).get("recovered_loss"))),
    ("nines", _nines),
    ("KL, explained", lambda record: words.said(_row(record).get("kl_explained"), 3)),
    ("loss, explained", lambda record: words.said((record.get("losses") or {}).get("explained"), 3)),
    ("loss, model", lambda record: words.said((record.get("losses") or {}).get("model"), 3)),
    ("compute recovered", lambda record: words.said((record.get("compute") or {}).get("recovered"))),
    ("bits", terminal.bits_line),
    ("checks", words.checks_line),
)
