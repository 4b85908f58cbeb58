"""The table of docs/results/worth.md: what the same explained run reads over every floor, and what it is worth.

    python -m tools.worth_table runs/french runs/induction ...

A line a run: R_D over the run's own floors (the same parts ablated) and over n-grams, the nines that are certified over
the lowest, and the shares of the model's training compute that buy the losses of its floor and of the explained run.
"""

from __future__ import annotations

import argparse

from assay.record.headline import TableRow
from assay.record.measurement import MeasurementRecord
from assay.record.read import read_measurement
from assay.report.plain import plain_text
from assay.report.words import claim_line, percent, said

OWN = ("ablated", "empty")  # floors of a claim's own: its parts ablated, nothing kept


def rows(record: MeasurementRecord) -> dict[str, TableRow]:
    """Rows of the record's table by their floors: the claim's own ones by what fills them."""
    found: dict[str, TableRow] = {}
    for row in record.table:
        if row.option is None:
            found.setdefault(row.ablation if row.floor in OWN else row.floor, row)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", help="run folders of measurements")
    records = [read_measurement(one) for one in parser.parse_args().runs]
    tables = [rows(record) for record in records]
    floors = list(dict.fromkeys(floor for table in tables for floor in table))
    head = ["claim", *floors, "nines", "compute: floor", "explained"]
    print(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    for record, table in zip(records, tables, strict=True):
        worth = record.compute
        cells = [claim_line(record), *(said(table[floor].recovered) if floor in table else "" for floor in floors)]
        cells += [record.headline.nines.shown or "", percent(worth.share_floor), percent(worth.share_explained)]
        print(f"| {' | '.join(map(plain_text, cells))} |")


if __name__ == "__main__":
    main()
