"""The records that the report's tests draw are what is written today."""

from __future__ import annotations

import json
import lzma

from assay.record.base import SCHEMA
from tests.report.records import FILE


def test_stored_records_are_of_the_present_schema():
    stored = json.loads(lzma.decompress(FILE.read_bytes()))
    assert {name: one["schema"] for name, one in stored.items()} == dict.fromkeys(stored, SCHEMA)
