"""Records that real runs wrote, for the report's tests: python -m tests.report.records makes them anew (minutes).

Tests get them as JSON, change what they are about, and read them back through the reader.
"""

from __future__ import annotations

import copy
import json
import lzma
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from assay.record.measurement import MeasurementRecord
from assay.record.read import parsed
from assay.record.search import SearchRecord
from assay.stats.estimate import Estimate

FILE, TABLE = (Path(__file__).parents[1] / "data" / name for name in ("records.json.xz", "examples.parquet"))
ROWS = 400  # of the per-token table that are kept
CASES = {"several": "every level", "remove": "remove, transformer", "circuit": "circuit, transformer",
         "search": "search by gradients"}  # fmt: skip


@cache
def _stored() -> dict[str, dict[str, Any]]:
    return json.loads(lzma.decompress(FILE.read_bytes()))


def data(name: str = "program") -> dict[str, Any]:
    """A record as a file holds it: program (the demo's), several parts, remove, circuit or search."""
    return copy.deepcopy(_stored()[name])


def measured(given: dict[str, Any] | str = "program") -> MeasurementRecord:
    """A record of a measurement, from what `data` gave."""
    return parsed(MeasurementRecord, data(given) if isinstance(given, str) else given)


def searched(given: dict[str, Any] | None = None) -> SearchRecord:
    """The record of a search, likewise."""
    return parsed(SearchRecord, data("search") if given is None else given)


def examples() -> pa.Table:
    """The beginning of the program's per-token table."""
    return pq.read_table(TABLE)


def estimate(value: float | None, half: float = 0.0, reason: str | None = None) -> dict[str, Any]:
    """An estimate as a record's file holds it, to put into one."""
    if value is None:
        return Estimate.undefined(reason or "").to_json()
    return Estimate(value, value - half, value + half, 90).to_json()


def main() -> None:
    """The demo's record, with the beginning of its table, and small ones of other kinds."""
    import assay
    from assay.explanations.claims.file import load_claim
    from assay.measure.measure import measure_into
    from assay.measure.settings import Settings
    from tests import golden

    made = {name: golden.CASES[case]().to_json() for name, case in CASES.items()}
    claim = load_claim(Path(assay.__file__).parent / "zoo" / "claims" / "previous_token.yaml")
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.resolve(claim, out=str(Path(folder) / "demo"), command="assay demo")
        result, _ = measure_into(claim, settings)
    made["program"] = result.record.to_json()
    pq.write_table(result.examples.slice(0, ROWS), TABLE, compression="zstd")
    FILE.write_bytes(lzma.compress(json.dumps(made).encode()))


if __name__ == "__main__":
    main()
