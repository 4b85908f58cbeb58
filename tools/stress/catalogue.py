"""The readers and campaigns by name. Each is imported by the worker that needs it, and by nothing before."""

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
    "searches": "tools.stress.readers.runs:SEARCHES",
    "tables": "tools.stress.readers.runs:TABLES",
    "texts": "tools.stress.readers.texts:TEXTS",
}

CAMPAIGNS = {  # with how many cases the long form has
    "faults while saving": ("tools.stress.campaigns.saving:FAULTS", 10_000),
    "kills while saving": ("tools.stress.campaigns.saving:KILLS", 2_000),
    "writers at once": ("tools.stress.campaigns.saving:WRITERS", 200),
    "kills of measure": ("tools.stress.campaigns.commands:KILLED", 40),
    "full disks": ("tools.stress.campaigns.commands:FULL", 200),
    "hostile folders": ("tools.stress.campaigns.hostile:HOSTILE", 53),
}


def reader(name: str) -> Reader:
    """A reader or campaign of the catalogue, or one named as `module:attribute`."""
    return pkgutil.resolve_name(CAMPAIGNS[name][0] if name in CAMPAIGNS else READERS.get(name, name))
