"""Dictionaries and their controls in the terminal: one table, the network's own first, then each copy with random
weights."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from assay.record.dictionaries import Agreement, DictionariesRecord, DictionaryRow
from assay.report import words
from assay.report.plain import plain_text

NETWORKS = {
    "trained": "the network",
    "drawn": "all weights drawn anew",
    "embeddings": "drawn anew, embeddings kept",
    "permuted": "every matrix permuted",
}
SAID = (
    "recovered: R_D over the site's mean; variance: its explained share; active: features a value; dead: features that "
    "are never active; one token: of the others, those whose values lie on one token"
)


def table(record: DictionariesRecord, folder: str, follow: str) -> Group:
    """What `assay find dictionary` prints."""
    chosen = record.rows[record.chosen]
    title = (
        f"{record.site}: {len(record.rows)} dictionaries of {chosen.width:,} features, {record.tokens:,} tokens each"
    )
    parts: list[RenderableType] = [Text(plain_text(title), "bold"), Text("")]
    out = Table(box=None, pad_edge=False)
    names = ("dictionary", "recovered", "variance", "active", "dead", "one token")
    for index, name in enumerate(names):
        out.add_column(name, justify="left" if index == 0 else "right", no_wrap=index > 0)
    network = ""
    for row in record.rows:
        if row.network != network:
            network = row.network
            out.add_row(Text(NETWORKS.get(network, network), "italic"))
        out.add_row(*_cells(row, record))
    parts += [out, Text("")]
    parts.append(Text(SAID))
    if (reason := chosen.explained.reason) is not None:
        parts.append(Text(f"no intervals: {plain_text(reason)}"))
    parts += [Text(_agreement(one)) for one in record.agreements]
    parts.append(Text(_verdict(record)))
    parts.append(Text(f"saved in {plain_text(folder)} · next: {plain_text(follow)}"))
    return Group(*parts)


def named(row: DictionaryRow, record: DictionariesRecord) -> str:
    """What a dictionary is called, by what tells it from the others of its record."""
    if row.architecture is None:
        return plain_text(row.kind)
    every = [one for one in record.rows if one.architecture is not None]
    parts = [row.architecture]
    for name, value, values in (
        ("width", row.width, {one.width for one in every}),
        ("k", row.k, {one.k for one in every}),
        ("seed", row.seed, {one.seed for one in every}),
    ):
        parts += [f"{name} {value}"] if len(values) > 1 else []
    return plain_text(", ".join(parts) + ("" if row.kind == "trained" else f": {row.kind}"))


def _cells(row: DictionaryRow, record: DictionariesRecord) -> list[str]:
    figures = [row.recovered.get("mean"), row.explained]
    said = ["" if one is None or one.value is None else str(one) for one in figures]
    share = "–" if row.one_token is None else f"{row.one_token:.0%}"
    active = "–" if row.active.value is None else f"{row.active.value:.1f}"
    return [f"  {named(row, record)}", *said, active, f"{row.dead:.0%}", share]


def _agreement(one: Agreement) -> str:
    return (
        f"{plain_text(one.one)} and {plain_text(one.other)} on {NETWORKS.get(one.network, one.network)}: mean largest "
        f"cosine {one.nearest:.2f} and {one.back:.2f}, matched one to one {one.matched:.2f} (random ones "
        f"{one.null[0]:.2f}, {one.null[1]:.2f})"
    )


def _verdict(record: DictionariesRecord) -> str:
    """The chosen one beside the same on random weights."""
    own = record.rows[record.chosen]
    others = [row for row in record.rows if row.network != "trained" and row.name == own.name]
    if not others or own.explained.value is None:
        return "No copy with random weights was asked for: what such a figure means is not known without one."
    best = max(others, key=lambda row: row.explained.value or 0.0)
    return (
        f"The same training on random weights ({NETWORKS.get(best.network, best.network)}) explains "
        f"{words.said(best.explained)} of the variance there, against {words.said(own.explained)} here."
    )
