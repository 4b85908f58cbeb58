"""The table of docs/results/dictionaries.md of a run of `assay find dictionary`, as Markdown.

python -m tools.dictionary_table runs/r3
"""

from __future__ import annotations

import argparse

from assay.record.dictionaries import DictionariesRecord, DictionaryRow
from assay.record.read import parsed
from assay.report.terminal.dictionaries import NETWORKS, named
from assay.stats.estimate import Estimate
from assay.store import runs

COLUMNS = ("dictionary", "recovered over mean", "over zero", "KL, nats", "variance explained", "active", "dead",
           "one token", "dark: error", "its norm")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    run = parser.parse_args().run
    record = parsed(DictionariesRecord, runs.read_record(run, runs.DICTIONARIES), f"the record of {run!r}")
    print(f"| {' | '.join(COLUMNS)} |\n| {' | '.join('---' for _ in COLUMNS)} |")
    network = ""
    for row in record.rows:
        if row.network != network:
            network = row.network
            print(f"| *{NETWORKS.get(network, network)}: loss {row.loss}* |" + " |" * (len(COLUMNS) - 1))
        print(f"| {named(row, record)} | " + " | ".join(cells(row)) + " |")
    for one in record.agreements:
        where, null = NETWORKS.get(one.network, one.network), f"{one.null[0]:.2f} and {one.null[1]:.2f}"
        cosines = f"nearest {one.nearest:.2f} and {one.back:.2f}, matched {one.matched:.2f}; random ones {null}"
        print(f"\n{one.one} and {one.other} ({where}): {cosines}")
    for one in record.harvests:
        print(f"\nharvest of {one.network}: {one.tokens:,} tokens in {one.seconds:,.0f} s")


def cells(row: DictionaryRow) -> list[str]:
    def shown(one: Estimate | None) -> str:
        return "" if one is None else str(one)

    def share(one: float | None) -> str:
        return "" if one is None else f"{one:.0%}"

    dark = ["" if one is None else f"{one:.2f}" for one in (row.dark, row.dark_norm)]
    figures = [row.recovered.get("mean"), row.recovered.get("zero"), row.kl, row.explained]
    active = "" if row.active.value is None else f"{row.active.value:.1f}"
    return [*map(shown, figures), active, share(row.dead), share(row.one_token), *dark]


if __name__ == "__main__":
    main()
