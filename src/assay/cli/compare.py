"""`assay compare`: runs against the first of them."""

from __future__ import annotations

from typing import Annotated

import typer

from assay.cli.output import print_json, rendered


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="Run folders, two or more.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the differences as JSON on stdout.")] = False,
) -> None:
    """Say which of several runs is better, on the tokens they share.

    Every run is compared with the first: differences in recovered, KL and loss, paired by document, with 95 %
    intervals; with more than two runs p is adjusted by Holm.
    """
    from assay.measure.compare import compare as paired
    from assay.measure.compare import read_runs
    from assay.report.terminal import compared

    read = read_runs(runs)
    pairs, records = paired(read), [run.record for run in read]
    if as_json:
        print_json({"runs": runs, "pairs": pairs, "cautions": compared.cautions(records)})
    else:
        print(rendered(compared.compare(records, runs, pairs)), end="")
