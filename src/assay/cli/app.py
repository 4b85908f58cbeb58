"""The commands, a file each. They read arguments, call the package and print; nothing is computed in them, and nothing
heavy is imported before a command needs it."""

from __future__ import annotations

from typing import Annotated

import typer

from assay.cli.compare import compare
from assay.cli.demo import demo
from assay.cli.find import find
from assay.cli.init import init
from assay.cli.ls import list_components
from assay.cli.measure import measure
from assay.cli.report import report
from assay.cli.validate import validate
from assay.cli.zoo import zoo

app = typer.Typer(
    name="assay",
    help="How many nines fine is your explanation? Measures how much of a neural network an explanation explains.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(wanted: bool | None) -> bool:
    if wanted:
        from assay import __version__

        print(f"assay {__version__}")
        raise typer.Exit()
    return False


@app.callback()
def _assay(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Has no work of its own: it declares `--version`."""


for command in (demo, init, measure, validate):
    app.command()(command)
app.command("ls")(list_components)
for command in (compare, report, zoo):
    app.command()(command)
app.add_typer(find)
