"""Stored values as CSV that COPY reads back as the very same values, most of it written by Arrow.

What belongs here: from a record batch of the stored types (`types.py`) to rows in a relation. What does not: which relation, and whether
the rows may go there (`destination.py`).

Arrow writes what PostgreSQL's input functions take as the same value: numbers, booleans, ordinary dates and times, and strings, which it
always quotes, so that an empty one is none of CSV's nulls. The rest goes by way of `literals.py`.
"""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from archiver_assets.source import sql
from archiver_assets.source.catalog import Connection
from archiver_assets.source.literals import is_ordinary, to_input_text

_SLICE_ROWS = 8_192
_SLICE_BYTES = 8 * 1024 * 1024
_OPTIONS = pa_csv.WriteOptions(include_header=False, quoting_style="needed")


def copy_rows(connection: Connection, relation: sql.Relation, names: Sequence[str], batch: pa.RecordBatch) -> int:
    """Copy the named columns of all rows of `batch` into a relation, and return how many rows the server took.

    One COPY, as part of the caller's transaction; memory beyond the batch is that of a slice of 8,192 rows or 8 MiB.
    """
    cursor = connection.cursor()
    rows = batch.select(list(names))
    with cursor.copy(sql.copy_in(relation, names)) as copy:
        for piece in _slices(rows):
            copy.write(to_csv(piece))
    return cursor.rowcount


def to_csv(batch: pa.RecordBatch) -> bytes:
    """Return the rows as CSV without a header; null is nothing between two commas, an empty string is quoted."""
    columns = [_writable(column) for column in batch.columns]
    sink = pa.BufferOutputStream()
    pa_csv.write_csv(pa.RecordBatch.from_arrays(columns, names=[str(number) for number in range(len(columns))]), sink, _OPTIONS)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def _writable(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_floating(kind):
        return pc.cast(column, pa.string())  # `nan` and `inf` are as good as PostgreSQL's own spelling
    if isinstance(kind, pa.UuidType):
        return _digits(column.storage)
    if pa.types.is_binary(kind) or (pa.types.is_temporal(kind) and not is_ordinary(column)):
        return pa.array(to_input_text(column), pa.string())
    return column


def _digits(column: pa.Array) -> pa.Array:
    """Return fixed-size values in hex, which is how PostgreSQL takes a uuid too, made at once for the whole column."""
    width = column.type.byte_width
    present = column.drop_null()
    data = memoryview(present.buffers()[1] or b"")[present.offset * width : (present.offset + len(present)) * width]
    digits = pa.Array.from_buffers(pa.binary(2 * width), len(present), [None, pa.py_buffer(data.hex().encode())])
    texts = digits.cast(pa.binary()).cast(pa.string())
    if not column.null_count:
        return texts
    places = pc.subtract(pc.cumulative_sum(column.is_valid().cast(pa.int64())), 1)
    return texts.take(pc.if_else(column.is_valid(), places, pa.scalar(None, pa.int64())))


def _slices(batch: pa.RecordBatch) -> list[pa.RecordBatch]:
    mean = max(batch.nbytes // max(batch.num_rows, 1), 1)
    step = max(min(_SLICE_ROWS, _SLICE_BYTES // mean), 1)
    return [batch.slice(start, step) for start in range(0, batch.num_rows, step)]
