"""Stored values as CSV that COPY reads back as exactly the same values, most of it written by Arrow.

What belongs here: from a record batch of the stored types (`types.py`) to rows in a relation. What does not: which relation, and whether
the rows may be loaded into it (`destination.py`).

Arrow writes numbers, booleans, ordinary dates and times, and strings such that PostgreSQL's input functions read the same value. Arrow
always quotes strings, so an empty string is never read as NULL. `literals.py` converts all other values.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from archiver_assets.source import sql, sql_restore
from archiver_assets.source.catalog import Connection
from archiver_assets.source.literals import input_texts, is_ordinary

_SLICE_ROWS = 8_192
_SLICE_BYTES = 8 * 1024 * 1024
_OPTIONS = pa_csv.WriteOptions(include_header=False, quoting_style="needed")


def copy_rows(connection: Connection, relation: sql.Relation, names: Sequence[str], batches: Iterable[pa.RecordBatch]) -> int:
    """Copy the named columns of all rows of `batches` into a relation, and return how many rows the server accepted.

    Runs one COPY in the caller's transaction. A separate thread reads `batches` and writes the CSV one slice ahead, while the server reads
    the slice before. Beyond a batch, memory is bounded by two slices of 8,192 rows or 8 MiB.
    """
    cursor = connection.cursor()
    pieces = (to_csv(piece) for batch in batches for piece in _slices(batch.select(list(names))))
    with cursor.copy(sql_restore.copy_in(relation, names)) as copy, closing(_one_ahead(pieces)) as written:
        for piece in written:
            copy.write(piece)
    return cursor.rowcount


def _one_ahead(pieces: Iterator[bytes]) -> Generator[bytes, None, None]:
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="copying") as thread:
        coming = thread.submit(next, pieces, None)
        while (piece := coming.result()) is not None:
            coming = thread.submit(next, pieces, None)
            yield piece


def to_csv(batch: pa.RecordBatch) -> bytes:
    """Return the rows as CSV without a header. A null is an empty field; an empty string is quoted."""
    columns = [_writable(column) for column in batch.columns]
    sink = pa.BufferOutputStream()
    pa_csv.write_csv(pa.RecordBatch.from_arrays(columns, names=[str(number) for number in range(len(columns))]), sink, _OPTIONS)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def _writable(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_floating(kind):
        return pc.cast(column, pa.string())  # PostgreSQL also reads the spellings `nan` and `inf`
    if pa.types.is_binary(kind) or isinstance(kind, pa.UuidType) or (pa.types.is_temporal(kind) and not is_ordinary(column)):
        return input_texts(column)
    return column


def _slices(batch: pa.RecordBatch) -> list[pa.RecordBatch]:
    mean = max(batch.nbytes // max(batch.num_rows, 1), 1)
    step = max(min(_SLICE_ROWS, _SLICE_BYTES // mean), 1)
    return [batch.slice(start, step) for start in range(0, batch.num_rows, step)]
