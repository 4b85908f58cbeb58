"""The table of tokens, read from a parquet file that a stranger may have written: a few bytes there can stand for
millions of equal values, so what it will take is counted before it is unpacked."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from assay.errors import RunError
from assay.store import inputs
from assay.store.pages import BYTE_ARRAY, unpacked_sizes

LARGEST = 1 << 28  # bytes of a file, and of its texts written out
MOST_ROWS, MOST_CELLS = 5_000_000, 1 << 26


def read_table(path: Path) -> pa.Table:
    """The whole table, texts written out.

    Raises:
        RunError: when it is not there, no parquet file of flat columns, or too large; without advice what to do.
    """
    content = inputs.read_bytes(path, "the table", RunError, most=LARGEST)
    try:
        shape = pq.ParquetFile(io.BytesIO(content))
        rows, columns = shape.metadata.num_rows, shape.metadata.num_columns
        if rows > MOST_ROWS or rows * columns > MOST_CELLS:
            raise RunError(
                f"'{path}' claims {rows:,} rows of {columns:,} values, more than the {MOST_ROWS:,} rows and "
                f"{MOST_CELLS:,} values that assay reads"
            )
        for field in shape.schema_arrow:
            if pa.types.is_nested(field.type):
                raise RunError(f"'{path}' has lists in its column {field.name!r}, and a table of tokens is flat")
            if not _is_plain(field.type):  # of other types a value may have any length, and stand there once for many
                raise RunError(
                    f"'{path}' has values of the type {str(field.type)!r} in its column {field.name!r}, and a table of "
                    "tokens holds numbers and texts"
                )
        # Equal texts once, until it is known how long they are together.
        texts = [field.name for field in shape.schema_arrow if _is_text(field.type)]
        _check_sizes(content, path)
        return _written_out(pq.ParquetFile(io.BytesIO(content), read_dictionary=texts).read(), path)
    except RunError:
        raise
    except (OSError, ValueError, pa.ArrowException, MemoryError) as problem:
        said = " ".join(str(problem).split())  # of several lines where pyarrow's thrift says it
        raise RunError(f"'{path}' is not a parquet file that can be read: {said}") from problem


def _check_sizes(content: bytes, path: Path) -> None:
    """Raises `RunError` for pages that unpack to more than is read; texts are held several times over."""
    total = {"texts": 0, "numbers": 0}
    for kind, size in unpacked_sizes(content):
        total["texts" if kind == BYTE_ARRAY else "numbers"] += size
        for what, most in (("texts", LARGEST), ("numbers", 4 * LARGEST)):
            if total[what] > most:
                raise RunError(f"'{path}' has {what} of {total[what]:,} bytes, more than the {most:,} that assay reads")


def _written_out(table: pa.Table, path: Path) -> pa.Table:
    """The table without dictionaries of texts."""
    size = 0
    for number, field in enumerate(table.schema):
        if not pa.types.is_dictionary(field.type):
            continue
        for chunk in table.column(number).chunks:
            lengths = pc.binary_length(chunk.dictionary).take(chunk.indices)  # type: ignore[attr-defined]
            size += pc.sum(lengths).as_py() or 0  # type: ignore[attr-defined]
        if size > LARGEST:
            raise RunError(f"'{path}' has texts of {size:,} bytes, more than the {LARGEST:,} that assay reads")
        plain = table.column(number).cast(field.type.value_type)
        table = table.set_column(number, field.name, plain)
    return table


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_plain(kind: pa.DataType) -> bool:
    held = kind.value_type if pa.types.is_dictionary(kind) else kind
    return _is_text(held) or any(
        is_it(kind) for is_it in (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
    )
