"""The readers by name. Each is imported by the worker that needs it, and by nothing before."""

from __future__ import annotations

import pkgutil

from tools.stress.reader import Reader

READERS = {
    "arrays": "tools.stress.readers.arrays:ARRAYS",
    "circuits": "tools.stress.readers.circuits:CIRCUITS",
    "claims": "tools.stress.readers.claims:CLAIMS_READER",
    "families": "tools.stress.readers.families:FAMILIES",
    "folders": "tools.stress.readers.folders:FOLDERS",
    "found_on": "tools.stress.readers.found_on:FOUND_ON",
    "paths": "tools.stress.readers.paths:PATHS",
    "prompts": "tools.stress.readers.prompts:PROMPTS",
    "records": "tools.stress.readers.runs:RECORDS",
    "registers": "tools.stress.readers.runs:REGISTERS",
    "saving": "tools.stress.readers.runs:SAVING",
    "searches": "tools.stress.readers.runs:SEARCHES",
    "tables": "tools.stress.readers.runs:TABLES",
    "texts": "tools.stress.readers.texts:TEXTS",
}


def reader(name: str) -> Reader:
    """A reader of the catalogue, or one named as `module:attribute`."""
    return pkgutil.resolve_name(READERS.get(name, name))
