"""The one reader of records: opens those of every schema, and says in one sentence what is wrong with any other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from pydantic import ValidationError

from assay.errors import RunError, nearest
from assay.record.base import SCHEMA, Block
from assay.record.dictionaries import DictionariesRecord
from assay.record.measurement import MeasurementRecord
from assay.record.places import PlacesRecord
from assay.record.search import SearchRecord
from assay.record.upgrade import upgraded
from assay.store import runs

SHOWN = 60  # characters of a value that a sentence shows
SCHEMAS = {"measurement.schema.json": MeasurementRecord, "frontier.schema.json": SearchRecord,
           "places.schema.json": PlacesRecord,
           "dictionaries.schema.json": DictionariesRecord}  # beside this file  # fmt: skip
Record = TypeVar("Record", bound=Block)


def read_run(folder: str | Path) -> tuple[MeasurementRecord, pa.Table]:
    """The record and the per-token table of a run folder (or of a file in it), both of one run.

    Raises:
        RunError: as `store.runs.read_run`, and for a record that is not as assay writes it.
    """
    data, examples = runs.read_run(folder)
    return parsed(MeasurementRecord, data, f"the record of {str(folder)!r}", runs.MEASUREMENT.again), examples


def read_measurement(folder: str | Path) -> MeasurementRecord:
    """The record of a measurement's run folder (or of a file in it).

    Raises:
        RunError: as `read_run`.
    """
    return _read(MeasurementRecord, folder, runs.MEASUREMENT)


def read_search(folder: str | Path) -> SearchRecord:
    """The record of a search's run folder, likewise."""
    return _read(SearchRecord, folder, runs.SEARCH)


def _read(kind: type[Record], folder: str | Path, run: runs.RunKind) -> Record:
    return parsed(kind, runs.read_record(folder, run), f"the record of {str(folder)!r}", run.again)


def parsed(kind: type[Record], data: Any, name: str = "the record", again: str = "write it again") -> Record:
    """A record of plain values, of any schema.

    Args:
        name: what the data are, for messages; again: what makes them anew.

    Raises:
        RunError: for anything that assay does not write.
    """
    schema = data.get("schema") if isinstance(data, dict) else None
    if type(schema) is not int or not 0 < schema <= SCHEMA:
        said = "has no schema number" if schema is None else f"has schema {_shown(schema)}"
        raise RunError(f"{name} {said}, and this version of assay reads schemas 1 to {SCHEMA}; {again} with it")
    new = upgraded(data)
    try:
        # as JSON, where a list may be a tuple and a number is no text
        return kind.model_validate_json(json.dumps(new), strict=True)
    except (ValidationError, RecursionError) as problem:
        said = _sentence(problem, new) if isinstance(problem, ValidationError) else "it is nested too deeply"
        raise RunError(f"{name} is not as assay writes it: {said}; {again} with --overwrite") from None


def _sentence(problem: ValidationError, data: Any) -> str:
    """The first thing that is wrong, with the name that was meant where one is missing beside one that is not known."""
    every = problem.errors(include_url=False)
    first = every[0]
    if first["type"] == "json_invalid":
        return f"it is no JSON: {first['msg'].removeprefix('Invalid JSON: ')}"
    *around, last = first["loc"]
    if first["type"] in ("missing", "extra_forbidden"):
        names = {
            kind: [e["loc"][-1] for e in every if e["type"] == kind and e["loc"][:-1] == tuple(around)]
            for kind in ("missing", "extra_forbidden")
        }
        if names["extra_forbidden"]:
            known = names["extra_forbidden"][0]
            return f"{_place(around, data)} has the unknown field {_shown(known)}" + nearest(known, names["missing"])
        return f"{_place(around, data)} lacks {_shown(last)}"
    said = re.sub(r"\d{20,}", lambda found: f"{found[0][:4]}...", first["msg"])  # a bound of a float has 300 digits
    what = said.removeprefix("Value error, ").replace("Input should be", "and should be")
    return f"{_place(first['loc'], data)} is {_shown(first['input'])}, {what}"


def _place(where: Iterable[int | str], data: Any) -> str:
    """The path in the data: what the models have on their way, such as the sort of a piece, is left out."""
    text = ""
    for part in where:
        if isinstance(part, int):
            text, data = f"{text}[{part}]", data[part] if isinstance(data, list) and part < len(data) else None
        elif isinstance(data, dict) and part in data:
            text, data = f"{text}.{_shown(part)[1:-1]}", data[part]
    return text.removeprefix(".") or "it"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 20]}...{text[-15:]}"


def schema_text(name: str) -> str:
    """The JSON Schema of a kind of record, as the file of that name holds it."""
    return json.dumps(SCHEMAS[name].model_json_schema(mode="serialization"), indent=1, ensure_ascii=False) + "\n"
