"""`assay report`: a run again."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from assay.cli.options import Json
from assay.cli.output import print_json, rendered
from assay.errors import UserError, nearest


def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, such as runs/demo.")],
    section: Annotated[
        str | None,
        typer.Option("--section", metavar="NAME", help="Print one part in full: controls, checks, and so on."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print a run again, and draw its report.html anew: a measurement, or a search for circuits."""
    from assay.record.read import read_run, read_search
    from assay.record.search import SearchRecord
    from assay.store.runs import PAGE, SEARCH, kind_of, rewrite

    kind = kind_of(run)
    record, examples = (read_search(run), None) if kind is SEARCH else read_run(run)
    if as_json:
        print_json(record)
        return
    from assay.report import circuit, find_page, find_terminal, page
    from assay.report.card import Card
    from assay.report.sections import SECTIONS
    from assay.report.sections import section as part

    if section is not None:
        if isinstance(record, SearchRecord) or section not in SECTIONS:
            known = () if isinstance(record, SearchRecord) else SECTIONS
            raise UserError(f"{run!r} has no section {section!r}" + nearest(section, known))
        print(rendered(part(record, section)), end="")
        return

    folder = Path(run).parent if Path(run).is_file() else Path(run)
    where, follow = str(folder / PAGE), f"assay measure {shlex.quote(str(folder / 'claim.yaml'))}"
    if isinstance(record, SearchRecord):
        html, drawn = find_page.render(record), find_page.save_circuit(record)
        shown = rendered(find_terminal.table(record, report=where, follow=follow))
    else:
        html, drawn = page.render(record, examples), circuit.save(record)
        shown = rendered(Card(record, report=where))
    files = {PAGE: html} | ({} if drawn is None else {"circuit.svg": drawn})
    print(shown, end="")
    rewrite(run, files, kind)
