"""Records that real runs wrote: the report's tests draw those of today's schema, and earlier ones open."""

from __future__ import annotations

import json
import lzma

import pytest

from assay.record.base import SCHEMA
from assay.record.measurement import MeasurementRecord
from assay.record.read import parsed
from assay.record.search import SearchRecord
from tests.report.records import FILE


def stored(name: str) -> dict:
    return json.loads(lzma.decompress((FILE.parent / name).read_bytes()))


def test_what_the_reports_tests_draw_is_of_the_present_schema():
    assert {one["schema"] for one in stored(FILE.name).values()} == {SCHEMA}


@pytest.mark.parametrize("name", ["several", "remove", "circuit", "program"])
def test_a_measurement_that_was_written_under_schema_2_opens_with_its_figures(name: str):
    old = stored("records-schema2.json.xz")[name]
    assert old["schema"] == 2
    new = json.loads(json.dumps(parsed(MeasurementRecord, old).to_json()))
    assert new["schema"] == SCHEMA
    assert new["headline"] == old["headline"]
    assert new["table"] == old["table"]
    assert new["controls"] == old["controls"]


def test_a_search_that_was_written_under_schema_2_opens_with_its_figures():
    old = stored("records-schema2.json.xz")["search"]
    assert old["schema"] == 2
    assert parsed(SearchRecord, old).to_json()["losses"] == old["losses"]
