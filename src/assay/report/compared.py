"""Several runs in the terminal: takes records and the paired differences made of them, gives rich renderables."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from assay.record.compared import Pair
from assay.record.measurement import MeasurementRecord
from assay.report import terminal, words
from assay.report.plain import plain_text

_DIM, _GOLD = "dim", "bold yellow"
_FIGURES = (("recovered", "recovered", 2), ("kl", "KL", 3), ("loss", "loss", 3))


def compare(records: Sequence[MeasurementRecord], names: Sequence[str], pairs: Sequence[Pair] = ()) -> Group:
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
    paired = [pair for pair in pairs if not pair.reason]
    if paired:
        parts += [Text(), _differences(paired)]
    parts += [Text.assemble(("In one sentence: ", _DIM), (plain_text(pair.sentence), "bold")) for pair in pairs]
    said = cautions(records)
    if said:
        parts.append(Text("Mind that " + "; ".join(said) + ".", style=_DIM))
    return Group(*parts)


def cautions(records: Sequence[MeasurementRecord]) -> list[str]:
    """What must be known before figures of several runs are compared: a clause each."""

    def differ(what: Callable[[MeasurementRecord], object]) -> bool:
        return len({what(record) for record in records}) > 1

    said = []
    if differ(lambda record: record.model.fingerprint):
        said.append("the models differ, so each KL is to another model")
    if differ(lambda record: record.level):
        said.append("the levels differ, and nines are compared within one")
    if differ(_headline):
        said.append("the headlines differ in their ablation or floor, so the columns above are not like for like")
    own = any(record.headline.floor == "ablated" for record in records)
    if own and differ(lambda record: record.claim.scope):
        said.append("the scopes differ, so each recovered share is of another whole (KL and loss are in nats)")
    if differ(lambda record: record.task.fingerprint):
        said.append("the scored data differ, and only tokens at the same place of a document are paired")
    return said


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style=_DIM, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(Text(plain_text(column)), overflow="fold")
    return table


def _differences(pairs: Sequence[Pair]) -> Table:
    """A row a pair and figure: both on the tokens that both scored, and their difference."""
    adjusted = len(pairs) > 1
    table = _table("on shared tokens", "first run", "this run", "difference", "p (Holm)" if adjusted else "p")
    for pair in pairs:
        for key, label, least in _FIGURES:
            figure = pair.figures[key]
            shown = [words.said(one, least) for one in (figure.first, figure.second, figure.difference)]
            cells = (f"{pair.run}: {label} , {pair.ablation}", *shown, words.p_text(figure.p_holm))
            table.add_row(*(Text(plain_text(cell)) for cell in cells), style=_GOLD if key == "recovered" else "")
    return table


def _headline(record: MeasurementRecord) -> str:
    return plain_text(f"{record.headline.ablation} over {record.headline.floor}")


def _kl(record: MeasurementRecord) -> str:
    row = record.headline_row
    return words.said(row and row.kl_explained, 3)


_COMPARED: tuple[tuple[str, Callable[[MeasurementRecord], str]], ...] = (
    ("claim", words.claim_line),
    ("level", lambda record: record.level),
    ("model", lambda record: plain_text(record.model.name)),
    ("scored", lambda record: terminal.sample(record.task)),
    ("headline", _headline),
    ("recovered", lambda record: words.said(record.headline.recovered)),
    ("recovered (loss)", lambda record: words.said(record.headline.recovered_loss)),
    ("nines", lambda record: plain_text(record.headline.nines.text)),
    ("KL, explained", _kl),
    ("loss, explained", lambda record: words.said(record.losses.explained, 3)),
    ("loss, model", lambda record: words.said(record.losses.model, 3)),
    ("compute recovered", lambda record: words.said(record.compute.recovered)),
    ("bits", terminal.bits_line),
    ("checks", words.checks_line),
)
