"""What every command prints: tables, costs, and the line that reproduces a run."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.report.plain import plain_json, plain_text

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


def command_line(name: str, flags: dict[str, Any], *arguments: str) -> str:
    """What reproduces the run: flags that change a number, not those that say where results go."""
    words = ["assay", name, *arguments]
    for flag, value in flags.items():
        if value is True:
            words += [] if flag == "register" else [f"--{flag}"]
        elif value is not None:
            for one in value if isinstance(value, list) else [value]:
                words += [f"--{flag}", str(one)]
    return shlex.join(words)


def say(text: str) -> None:
    """One line on stderr, in which no name of a file or a document can pass for anything else."""
    print(plain_text(text), file=sys.stderr)


def print_plain(text: str) -> None:
    """One line on stdout, likewise."""
    print(plain_text(text))


def print_json(value: object) -> None:
    """JSON on stdout; characters that a terminal would obey are written as escapes."""
    from assay.store.canonical import canonical_json

    print(plain_json(canonical_json(value, indent=1)), end="")


def go_on_with(folder: Path, how: str = "") -> str:
    """The command that measures what a run has left."""
    return f"assay measure --continue {shlex.quote(str(folder))}{how}"


def print_cost(cost: dict[str, Any], as_json: bool, budget: int | str | None = None) -> None:
    """What a run would cost; `budget`: as it was given."""
    if as_json:
        print_json(cost)
    else:
        from assay.report.words import budget_line

        stages = cost.get("stages", {})
        passes = f"{cost['forwards']:,} forward passes of a row"
        if stages:
            passes = f"{sum(one['passes'] for one in stages.values()):.1f} passes over all scored rows"
        print(f"about {passes}, {_spent(cost['minutes'])} on this machine, {cost['memory_gb']:.1f} GB of memory")
        if allowed := cost.get("budget"):
            print(f"allowed: {budget_line(allowed, budget)}")
        if stages:
            rows = [[name, f"{one['passes']:.1f}", _spent(one["minutes"])] for name, one in stages.items()]
            print_table(("stage", "passes over all scored rows", "time"), rows)


def _spent(minutes: float) -> str:
    return f"{minutes:.1f} min" if minutes >= 1 else f"{60 * minutes:.0f} s"


def console() -> Console:
    """The terminal, with `NO_COLOR` plain (rich would keep bold and dim); in a pipe 100 columns, plain."""
    from rich.console import Console

    found = Console(color_system=None if os.environ.get("NO_COLOR") else "auto")
    return found if found.is_terminal else Console(width=100)


def rendered(what: RenderableType) -> str:
    """What `console().print` would print, lines that may be longer than the terminal whole."""
    target = console()
    with target.capture() as captured:
        target.print(what, crop=False)
    return captured.get()


def print_table(columns: tuple[str, ...], rows: list[list[str]], left: tuple[int, ...] = (0,)) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i in left else "right", no_wrap=i == 0)
    for row in rows:
        table.add_row(*(Text(plain_text(cell)) for cell in row))
    console().print(table)
