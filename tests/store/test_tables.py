"""Tables of tokens that a stranger wrote: a small file that unpacks to a large one is refused before it is unpacked."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assay.errors import RunError
from assay.store import tables
from assay.store.runs import parquet_bytes
from assay.store.tables import read_table

TABLE = pa.table({"token": ["a", "b", "a", None], "row": [0, 0, 1, 1], "loss": [0.5, 1.5, float("nan"), 2.0]})


def repeated(text: str, times: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(times, dtype=np.int32)), pa.array([text]))


def refused(path: Path, table: pa.Table) -> str:
    pq.write_table(table, path, compression="zstd", store_schema=False)
    with pytest.raises(RunError) as problem:
        read_table(path)
    return str(problem.value)


def test_a_table_comes_back_as_it_was_written(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(parquet_bytes(TABLE))
    found = read_table(path)
    assert found.schema == TABLE.schema
    assert str(found.to_pydict()) == str(TABLE.to_pydict())
    assert read_table(path.rename(tmp_path / "u.parquet")).num_rows == 4


def test_rows_and_values_are_counted_before_anything_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(pq.ParquetFile, "read", lambda *_: pytest.fail("it was unpacked"))
    path = tmp_path / "t.parquet"
    assert "claims 6,000,000 rows of 1 values" in refused(path, pa.table({"a": np.zeros(6_000_000, dtype=np.int8)}))
    many = pa.table({f"c{i}": np.zeros(1_000_000, dtype=bool) for i in range(68)})
    assert "claims 1,000,000 rows of 68 values" in refused(path, many)
    assert "has lists in its column 'a'" in refused(path, pa.table({"a": [[0] * 1_000]}))


def test_long_texts_that_are_equal_are_counted_before_they_are_written_out(tmp_path, monkeypatch):
    path = tmp_path / "t.parquet"
    said = refused(path, pa.table({"a": repeated("x" * 1_000_000, 300), "b": repeated("y", 300)}))
    assert "has texts of 300,000,000 bytes, more than the 268,435,456 that assay reads" in said
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(tables, "LARGEST", 1_000)
    pq.write_table(pa.table({"a": repeated("x" * 100, 10)}), path)
    assert read_table(path).schema.field("a").type == pa.string()
    pq.write_table(pa.table({"a": repeated("x" * 100, 11)}), path)
    with pytest.raises(RunError, match="has texts of 1,100 bytes"):
        read_table(path)


@pytest.mark.parametrize(
    "kind", [pa.binary(20_000), pa.binary(), pa.large_binary(), pa.string_view(), pa.binary_view()], ids=str
)
def test_long_values_that_are_no_texts_are_refused_before_they_are_written_out(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(pq.ParquetFile, "read", lambda *_, **__: pytest.fail("it was unpacked"))
    value = "x" * 20_000 if kind == pa.string_view() else b"x" * 20_000
    pq.write_table(pa.table({"a": pa.array([value] * 300, kind)}), tmp_path / "t.parquet", compression="zstd")
    with pytest.raises(RunError, match=rf"values of the type '{re.escape(str(kind))}' in its column 'a', and a table"):
        read_table(tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").stat().st_size < 10_000


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", b"\xff" * 100])
def test_what_is_no_parquet_file_is_refused(tmp_path, content):
    (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(RunError, match=r"t\.parquet' is not a parquet file that can be read: "):
        read_table(tmp_path / "t.parquet")


def test_a_table_that_was_cut_or_changed_is_read_or_refused(tmp_path):
    whole, path = parquet_bytes(TABLE), tmp_path / "t.parquet"
    outcomes = set()
    for place in range(0, len(whole), 11):
        for content in (whole[:place], whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :]):
            path.write_bytes(content)
            try:
                read_table(path)
            except RunError as problem:
                outcomes.add(type(problem))
    assert outcomes == {RunError}
