"""The readers by name. Each is imported by the worker that needs it, and by nothing before."""

from __future__ import annotations

import pkgutil

from tools.stress.reader import Reader

READERS = {
    "claims": "tools.stress.readers.claims:CLAIMS_READER",
    "records": "tools.stress.readers.runs:RECORDS",
    "registers": "tools.stress.readers.runs:REGISTERS",
    "saving": "tools.stress.readers.runs:SAVING",
    "searches": "tools.stress.readers.runs:SEARCHES",
    "tables": "tools.stress.readers.runs:TABLES",
}


def reader(name: str) -> Reader:
    """A reader of the catalogue, or one named as `module:attribute`."""
    return pkgutil.resolve_name(READERS.get(name, name))
