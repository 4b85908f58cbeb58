"""What the terminal prints of a renderable, and of a section of a record, as text."""

import io
from typing import Any

from rich.console import Console

from assay.report.terminal.sections import section
from tests.report import records


def printed(renderable, width=110) -> str:
    sink = io.StringIO()
    Console(file=sink, width=width, color_system=None).print(renderable, crop=False)
    return sink.getvalue()


def once(record: dict[str, Any], name: str) -> str:
    """A section of the record on one line."""
    return " ".join(printed(section(records.measured(record), name)).split())
