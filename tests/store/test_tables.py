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
from assay.store.pages import BYTE_ARRAY, unpacked_sizes
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
    path.write_bytes(parquet_bytes(TABLE.slice(0, 0)))
    assert read_table(path).num_rows == 0


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


def test_what_pages_unpack_to_is_not_believed_of_the_footer(tmp_path, monkeypatch):
    def varint(value: int, width: int = 0) -> bytes:
        out = [value >> shift & 127 for shift in range(0, max(7 * width, value.bit_length()), 7)]
        return bytes([byte | 128 for byte in out[:-1]] + out[-1:])

    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": ["x" * 1_000_000, "y"], "b": [1, 2]}), path, compression="zstd")
    monkeypatch.setattr(tables, "LARGEST", 100_000)
    with pytest.raises(RunError, match=r"has texts of 1,000,0\d\d bytes, more than the 100,000 that assay reads"):
        read_table(path)
    group = pq.ParquetFile(path).metadata.row_group(0)
    whole, said = path.read_bytes(), {group.total_byte_size, group.column(0).total_uncompressed_size}
    for size in said:
        whole = whole.replace(varint(2 * size), varint(2_000, len(varint(2 * size))))
    path.write_bytes(whole)
    assert pq.ParquetFile(path).metadata.row_group(0).total_byte_size == 1_000
    with pytest.raises(RunError, match=r"has texts of 1,000,0\d\d bytes, more than the 100,000 that assay reads"):
        read_table(path)
    assert pq.read_table(path).num_rows == 2  # pyarrow believes it


@pytest.mark.parametrize(
    ("options", "columns"),
    [
        ({"data_page_version": "2.0"}, {}),
        ({"use_dictionary": False, "compression": "snappy"}, {}),
        ({"data_page_size": 100, "row_group_size": 500, "write_statistics": True, "compression": None}, {}),
        ({"write_page_index": True, "write_page_checksum": True}, {"c": pa.array([None] * 3000, pa.string())}),
    ],
)
def test_the_pages_of_every_layout_add_up_to_what_the_footer_says(tmp_path, options, columns):
    table = pa.table({"a": [str(i % 700) for i in range(3000)], "b": [i * 0.1 for i in range(3000)], **columns})
    pq.write_table(table, tmp_path / "t.parquet", **options)
    content, shape = (tmp_path / "t.parquet").read_bytes(), pq.ParquetFile(tmp_path / "t.parquet").metadata
    columns = [
        group.column(i)
        for group in (shape.row_group(i) for i in range(shape.num_row_groups))
        for i in range(group.num_columns)
    ]
    for column, (kind, size) in zip(columns, unpacked_sizes(content), strict=True):
        assert (kind == BYTE_ARRAY) == (column.physical_type == "BYTE_ARRAY")
        headers = column.total_uncompressed_size - size  # the footer counts them too
        assert 0 < headers < 200 + column.total_uncompressed_size / 2
    assert read_table(tmp_path / "t.parquet").equals(pq.read_table(tmp_path / "t.parquet"))


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
                outcomes.add("\n" in str(problem))
    assert outcomes == {False}  # refused, each time in one line


def test_a_footer_whose_lists_hold_no_structs_is_refused():
    """Field 4, the groups of rows, as a list of one whole number."""
    footer = bytes([0x49, 0x15, 0x02, 0x00])
    with pytest.raises(ValueError, match="a list of the footer holds what it should not"):
        list(unpacked_sizes(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1"))
