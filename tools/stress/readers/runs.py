"""What runs leave behind: records, tables of tokens and registers that were changed."""

from __future__ import annotations

import shutil
from pathlib import Path

from assay.cli.output import rendered
from assay.record.read import read_measurement, read_run, read_search
from assay.store import register
from tools.stress import mutate
from tools.stress.reader import FileReader, Seed, command

PAGES = 400  # of so many records one is drawn as a page: that takes fifty times as long as the terminal

CLAIM = """\
model: zoo:stories-260k
task: {kind: repeat, n: 10, length: 8}
explanation: {kind: program, components: {a0.h1: previous_token, a3.h6: previous_token}}
controls: 3
"""


def _measured(folder: Path) -> Path:
    """A small run of a program, made once a worker."""
    if not (folder / "runs" / "claim").exists():
        (folder / "claim.yaml").write_text(CLAIM)
        command("measure", "claim.yaml")
    return folder / "runs" / "claim"


def _searched(folder: Path) -> Path:
    """A small search, made once a worker."""
    if not (folder / "runs" / "find").exists():
        sizes = ("--sizes", "4", "--controls", "3", "--documents", "10", "--select", "4", "--length", "8")
        command("find", "circuit", "zoo:stories-260k", *sizes, "--out", "runs/find")
    return folder / "runs" / "find"


def _records(folder: Path) -> list[Seed]:
    return [Seed("runs/claim/measurement.json", (_measured(folder) / "measurement.json").read_bytes())]


def _searches(folder: Path) -> list[Seed]:
    return [Seed("runs/find/frontier.json", (_searched(folder) / "frontier.json").read_bytes())]


def _tables(folder: Path) -> list[Seed]:
    return [Seed("runs/claim/examples.parquet", (_measured(folder) / "examples.parquet").read_bytes())]


def _page(path: Path) -> bool:
    return sum(path.read_bytes()) % PAGES == 0  # by what is in it, so that the same case is always drawn alike


def _show(path: Path) -> str:
    from assay.report.page import page
    from assay.report.terminal.card import Card

    shown = rendered(Card(read_measurement(path.parent), report="report.html"))
    return shown + (page.render(*read_run(path.parent)) if _page(path) else "")


def _show_search(path: Path) -> str:
    from assay.report.page import find as find_page
    from assay.report.terminal import find as find_terminal

    record = read_search(path.parent)
    shown = rendered(find_terminal.table(record, report="report.html", follow="next"))
    return shown + (find_page.render(record) if _page(path) else "")


def _compared(path: Path) -> str:
    """A mutated table, which is read first, beside the one that it was."""
    other = path.parents[1] / "first"
    if not other.exists():
        shutil.copytree(path.parent, other)  # the first case is the seed as it is
    return command("compare", str(path.parent), str(other))


RECORDS = FileReader(_records, _show, mutate.as_json)
SEARCHES = FileReader(_searches, _show_search, mutate.as_json)
TABLES = FileReader(_tables, _compared)


def _registers(folder: Path) -> list[Seed]:
    path = folder / "register.jsonl"
    for claim, p in (("c1", 0.1), ("c2", None), ("c1", 0.05), ("c3", 1.0)):
        register.log(path, register.Try("zoo:x {'kind': 'text'}", claim, ("mean", "zero"), "words", "today", p))
    content = path.read_bytes()
    return [Seed(path.name, content), Seed(path.name, content.rstrip(b"\n")), Seed(path.name, b"")]


def _logged(path: Path) -> None:
    """What is in the register is still there when a try was logged, and the try, too."""
    register.check(path)
    before, new = register.entries(path), register.Try("zoo:x {'kind': 'text'}", "new", ("mean",), p=0.5)
    seen = register.foreseen(path, new)
    assert (register.log(path, new), register.adjusted(path, new)) == seen
    after = register.entries(path)
    assert [entry.key for entry in after][: len(before)] == [entry.key for entry in before]
    assert new.key in [entry.key for entry in after]


REGISTERS = FileReader(_registers, _logged, mutate.as_json_lines)
