"""`assay report`: a run again."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from assay.cli.options import Json
from assay.cli.output import of_record, print_json, rendered


def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, such as runs/demo.")], as_json: Json = False
) -> None:
    """Print a run again, and draw its report.html anew: a measurement, or a search for circuits."""
    from assay.store.runs import MEASUREMENT, PAGE, SEARCH, kind_of, read_record, read_run, rewrite

    search = kind_of(run) is SEARCH
    record, examples = (read_record(run, SEARCH), None) if search else read_run(run)
    if as_json:
        print_json(record)
        return
    from assay.report import circuit, find_page, find_terminal, page, terminal

    folder = Path(run).parent if Path(run).is_file() else Path(run)
    where, follow = str(folder / PAGE), f"assay measure {shlex.quote(str(folder / 'claim.yaml'))}"
    with of_record(run):
        if search:
            html, drawn = find_page.render(record), find_page.save_circuit(record)
            shown = rendered(find_terminal.table(record, report=where, follow=follow))
        else:
            html, drawn = page.render(record, examples), circuit.save(record)
            shown = rendered(terminal.measurement(record, report=where))
    files = {PAGE: html} | ({} if drawn is None else {"circuit.svg": drawn})
    print(shown, end="")
    rewrite(run, files, SEARCH if search else MEASUREMENT)
