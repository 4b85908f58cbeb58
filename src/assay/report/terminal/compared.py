"""Several runs in the terminal: takes records and the paired differences made of them, gives rich renderables."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from assay.record.compared import ComparedRun
from assay.record.measurement import MeasurementRecord
from assay.report import verdict, words
from assay.report.cells import UNDEFINED, bits_line, cell, sample
from assay.report.plain import plain_text
from assay.report.verdict import NamedMetric
from assay.stats.estimate import Estimate

_DIM, _GOLD = "dim", "bold yellow"
_FIGURES = (("recovered", "recovered", 2), ("kl", "KL", 3), ("loss", "{loss}", 3))


def compare(records: Sequence[MeasurementRecord], names: Sequence[str], pairs: Sequence[ComparedRun] = ()) -> Group:
    """Measurements side by side, then every one after the first against the first, and a sentence on each pair.

    Args:
        records: the measurements.
        names: what to call them, for instance their folders.
        pairs: the paired differences, as `assay.measure.compare.compare` gives them.
    """
    table = _table("", *names)
    metrics = [verdict.metric(record) for record in records]
    same = metrics[0] if all(one == metrics[0] for one in metrics) else None
    own = same.name if same else "metric" if any(metrics) else "loss"
    for label, figure in _COMPARED:
        cells = [figure(record) for record in records]
        if any(cell != UNDEFINED for cell in cells):
            table.add_row(Text(label.format(loss=own), style=_DIM), *map(Text, cells))
    parts: list[RenderableType] = [table]
    paired = [pair for pair in pairs if not pair.reason]
    if paired:
        parts += [Text(), _differences(paired, same), *_undefined(paired, own)]
    parts += [Text.assemble(("In one sentence: ", _DIM), (words.tidy(pair.sentence), "bold")) for pair in pairs]
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


def _undefined(pairs: Sequence[ComparedRun], own: str) -> list[Text]:
    """Why figures are not compared: a line each, since they do not fit the columns."""
    found = [(pair.run, label.format(loss=own), pair.figures[key].difference) for pair in pairs
             for key, label, _ in _FIGURES]  # fmt: skip
    return [
        Text(f"{plain_text(run)}: {label} is not compared, because {words.why(difference)}.", style=_DIM)
        for run, label, difference in found
        if not difference.defined
    ]


def _differences(pairs: Sequence[ComparedRun], metric: NamedMetric | None) -> Table:
    """A row a pair and figure: both on the tokens that both scored, and their difference.

    Args:
        metric: of all runs' tasks, in whose unit its figures are; None: losses.
    """
    adjusted = len(pairs) > 1
    table = _table("on shared tokens", "first run", "this run", "difference", "p (Holm)" if adjusted else "p")
    for pair in pairs:
        for key, label, least in _FIGURES:
            figure = pair.figures[key]
            of = (figure.first, figure.second, figure.difference)
            if key == "loss" and metric is not None:
                figures = [verdict.as_figure(one, metric.figure) for one in of[:2]]
                of = (*figures, verdict.as_figure(of[2], metric.change))
            label = label.format(loss=metric.name if metric else "loss")
            shown = [cell(one, least) for one in of]
            cells = (f"{pair.run}: {label}, {pair.ablation}", *shown, words.p_text(figure.p_holm))
            table.add_row(*(Text(plain_text(cell)) for cell in cells), style=_GOLD if key == "recovered" else "")
    return table


def _headline(record: MeasurementRecord) -> str:
    floor = "" if record.removal else f" over {record.headline.floor}"
    return plain_text(f"{record.headline.ablation}{floor}")


def _kl(record: MeasurementRecord) -> str:
    row = record.headline_row
    return cell(row and row.kl_explained, 3)


def _loss(record: MeasurementRecord, loss: Estimate) -> str:
    """A loss, or the task's own metric in its own unit."""
    named = verdict.metric(record)
    text = cell(loss if named is None else verdict.as_figure(loss, named.figure), 3)
    return f"{text} {named.unit}" if named and named.unit and text != UNDEFINED else text


_COMPARED: tuple[tuple[str, Callable[[MeasurementRecord], str]], ...] = (
    ("claim", words.claim_line),
    ("level", lambda record: record.level),
    ("model", lambda record: plain_text(record.model.name)),
    ("scored", lambda record: sample(record.task)),
    ("headline", _headline),
    ("recovered", lambda record: cell(record.headline.recovered)),
    ("recovered ({loss})", lambda record: cell(record.headline.recovered_loss)),
    ("nines", lambda record: UNDEFINED if record.removal else plain_text(record.headline.nines.text)),
    ("KL, explained", _kl),
    ("{loss}, explained", lambda record: _loss(record, record.losses.explained)),
    ("{loss}, model", lambda record: _loss(record, record.losses.model)),
    ("compute recovered", lambda record: cell(record.compute.recovered)),
    ("bits", bits_line),
    ("checks", words.checks_line),
)
