"""`assay report`: a run again, in other forms, and a page over a folder of runs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli.options import Json
from assay.cli.output import go_on_with, print_json, print_table, rendered, say
from assay.errors import RunError, UserError, nearest

if TYPE_CHECKING:
    from assay.record.measurement import MeasurementRecord
    from assay.record.search import SearchRecord

TEXTS = {"md": "markdown", "tex": "latex", "bib": "bibtex"}
PICTURES = ("png", "svg")
SHOWN = 5  # names that are no runs


def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, such as runs/demo, or a folder of them.")],
    section: Annotated[
        str | None,
        typer.Option("--section", metavar="NAME", help="Print one part in full: controls, checks, and so on."),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="md, tex or bib: print the verdict and its table so. png or svg: draw them into the run folder.",
        ),
    ] = None,
    out: Annotated[
        str | None, typer.Option("--out", metavar="FILE", help="Where a --format goes. [default: stdout, or the run]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print a run again, and draw its report.html anew: a measurement, or a search for circuits.

    Of a folder of runs it makes one page, index.html, which can be sorted and filtered.
    """
    from assay.record.read import read_run, read_search
    from assay.record.search import SearchRecord
    from assay.store.collect import is_collection
    from assay.store.runs import PAGE, SEARCH, kind_of, rewrite

    if form is not None and form not in (*TEXTS, *PICTURES):
        raise UserError(f"there is no format {form!r}" + nearest(form, (*TEXTS, *PICTURES)))
    if out is not None and form is None:
        raise UserError(f"--out {out!r} needs a --format: {', '.join((*TEXTS, *PICTURES))}")
    if is_collection(run):
        for flag, value in (("--section", section), ("--format", form)):
            if value is not None:
                raise UserError(f"{run!r} is a folder of runs, and {flag} {value!r} is for one of them")
        _index(run, as_json)
        return
    kind = kind_of(run)
    record, examples = (read_search(run), None) if kind is SEARCH else read_run(run)
    if as_json:
        print_json(record)
        return
    folder = Path(run).parent if Path(run).is_file() else Path(run)
    if form is not None:
        _export(record, form, out, folder)
        return
    from assay.report.charts import graph
    from assay.report.page import find as find_page
    from assay.report.page import page
    from assay.report.terminal import find as find_terminal
    from assay.report.terminal import sections
    from assay.report.terminal.card import Card

    if section is not None:
        if isinstance(record, SearchRecord):
            raise UserError(f"{run!r} is a search, which `assay report` prints whole, without --section {section!r}")
        if section not in (known := sections.names(record)):
            raise UserError(f"{run!r} has no section {section!r}" + nearest(section, known))
        print(rendered(sections.section(record, section)), end="")
        return

    where, follow = str(folder / PAGE), f"assay measure {shlex.quote(str(folder / 'claim.yaml'))}"
    if isinstance(record, SearchRecord):
        html, drawn = find_page.render(record), find_page.save_circuit(record)
        shown = rendered(find_terminal.table(record, report=where, follow=follow))
    else:
        html, drawn = page.render(record, examples), graph.save(record)
        goes_on = record.budget.ahead and record.claim.text is not None
        shown = rendered(Card(record, report=where, follow=go_on_with(folder) if goes_on else None))
    files = {PAGE: html} | ({} if drawn is None else {"circuit.svg": drawn})
    print(shown, end="")
    rewrite(run, files, kind)


def _export(record: MeasurementRecord | SearchRecord, form: str, out: str | None, folder: Path) -> None:
    """A record in another form, on stdout or in a file."""
    if form in TEXTS:
        from assay.report import export

        text: str = getattr(export, TEXTS[form])(record)
        if out is None:
            print(text, end="")
            return
        content = text.encode()
    else:
        from assay.report.charts import charts

        content = charts.drawn(charts.card(record), form)
    path = _written(out or folder / f"report.{form}", content)
    print(path)


def _written(where: str | Path, content: bytes) -> str:
    from assay.store.files import given_path, reason, write_file

    path = given_path(where, "the file")
    try:
        write_file(path, content)
    except OSError as error:
        raise RunError(f"'{where}' cannot be written: {reason(error)}") from error
    return str(where)


def _index(folder: str, as_json: bool) -> None:
    """The page over a folder of runs, its rows on stdout, and what is no run on stderr."""
    from dataclasses import asdict

    from assay.record.read import read_measurement, read_search
    from assay.report.page import index
    from assay.report.words import number
    from assay.store.collect import INDEX, collect
    from assay.store.files import given_path
    from assay.store.runs import PAGE, SEARCH, kind_of

    top, found = given_path(folder, "the folder of runs"), collect(folder)
    skipped = [(str(name), why) for name, why in found.skipped]
    runs: list[index.IndexedRun] = []
    for name in found.runs:
        try:
            read: Any = read_search if kind_of(top / name) is SEARCH else read_measurement
            has_page = (top / name / PAGE).is_file()
            runs.append(index.IndexedRun(name.as_posix(), read(top / name), PAGE if has_page else None))
        except RunError as problem:
            skipped.append((str(name), str(problem)))
    told = index.lines(runs)
    if as_json:
        print_json({"runs": [asdict(line) for line in told], "skipped": dict(skipped)})
        return
    target = top / INDEX
    if target.is_file() and b'content="assay ' not in target.read_bytes()[:4096]:
        raise RunError(f"'{target}' is there and was not made by assay, so it is not replaced")
    html = index.render(Path(folder).name or folder, runs, skipped)
    rows = [
        [line.run, line.verdict, "" if line.p is None else number(line.p, 3), ", ".join(line.fired) or "none"]
        for line in told
    ]
    print_table(("run", "verdict", "p", "checks fired"), rows, left=(0, 1, 3))
    print(f"index {_written(Path(folder) / INDEX, html.encode('utf-8', 'replace'))}")
    for name, why in skipped[:SHOWN]:
        say(f"skipped {name}: {why}")
    if len(skipped) > SHOWN:
        say(f"skipped {len(skipped) - SHOWN} more, which the page names")
