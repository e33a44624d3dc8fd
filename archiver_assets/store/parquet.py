"""Rows to Parquet and back: row groups bounded in rows and bytes, format settings, and the footer's metadata.

What belongs here: everything that knows the Parquet library. What does not: where the bytes go, or what makes a generation valid.
"""

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import IO, Protocol, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROW_GROUP_ROWS = 65_536
ROW_GROUP_BYTES = 48 * 1024 * 1024
MOST_GROUP_BYTES = 4 * ROW_GROUP_BYTES
"""The limit of a row group before compression: Parquet stores an int16 in four bytes, Arrow in two."""
LARGEST_ROW = 4 * 1024**3
"""The limit of a single row: PostgreSQL's rows end at 1 GiB, and the text of a bytea has twice as many bytes."""
_READ_ROWS = 8_192


class Sink(Protocol):
    """Where the encoded bytes go, in order."""

    def write(self, data: bytes, /) -> None:
        """Receive the next bytes of the file."""


class ParquetEncoder:
    """Encodes record batches of one schema into one Parquet file, holding at most one row group in memory.

    A row group has at most 65,536 rows and, unless one row alone is larger, about 48 MiB of Arrow data. Use as a context manager; `finish`
    writes the footer, without which the file is not valid Parquet.
    """

    def __init__(self, sink: Sink, schema: pa.Schema, metadata: Mapping[str, str]) -> None:
        """Start a file; `metadata` becomes the footer's key-value metadata."""
        self._output = _WriteOnly(sink)
        self._file = pa.PythonFile(self._output, mode="w")
        self._schema = schema.with_metadata(dict(metadata))
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0
        self._bytes = 0

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Drop what is in memory, and write nothing more: an unfinished Parquet writer would still write a footer when it is destroyed."""
        self._waiting.clear()
        self._output.discard = True

    def write(self, batch: pa.RecordBatch) -> None:
        """Add the rows of `batch`; a row group is encoded as soon as it is full."""
        for piece in _pieces(batch):
            if self._rows + piece.num_rows > ROW_GROUP_ROWS or self._bytes + piece.nbytes > ROW_GROUP_BYTES:
                self._write_row_group()
            self._waiting.append(piece)
            self._rows += piece.num_rows
            self._bytes += piece.nbytes

    def finish(self) -> None:
        """Encode the remaining rows, and write the footer. Raises ValueError if there were no rows at all."""
        self._write_row_group()
        if self._writer is None:
            message = "expected at least one row, found none"
            raise ValueError(message)
        self._writer.close()

    def _write_row_group(self) -> None:
        if not self._waiting:
            return
        group = pa.Table.from_batches(self._waiting).replace_schema_metadata(self._schema.metadata)
        self._waiting, self._rows, self._bytes = [], 0, 0
        if self._writer is None:
            self._writer = self._open(group)
        self._writer.write_table(group, row_group_size=ROW_GROUP_ROWS)

    def _open(self, first: pa.Table) -> pq.ParquetWriter:
        # zstd level 1 is as small as level 9 on audit rows; dictionaries pay only where values repeat.
        return pq.ParquetWriter(
            self._file,
            self._schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=_repetitive_columns(first),
            write_page_checksum=True,
        )


def open_parquet(file: IO[bytes]) -> pq.ParquetFile:
    """Open a Parquet file for reading, with verification of page checksums.

    Raises pyarrow.ArrowInvalid or OSError if it is not a Parquet file.
    """
    return pq.ParquetFile(file, page_checksum_verification=True)


def oversized(parquet: pq.ParquetFile) -> str | None:
    """Return which row group is larger, by its own metadata, than any that an encoder writes; None if there is none. Decodes nothing.

    A few kilobytes can expand to gigabytes: anyone who can write an object and its manifest could make every reader run out of memory.
    """
    for number in range(parquet.metadata.num_row_groups):
        group = parquet.metadata.row_group(number)
        most = MOST_GROUP_BYTES if group.num_rows > 1 else LARGEST_ROW
        if group.num_rows > ROW_GROUP_ROWS or group.total_byte_size > most:
            found = f"{group.num_rows:,} rows and {group.total_byte_size:,} bytes in row group {number}"
            return f"expected at most {ROW_GROUP_ROWS:,} rows and {most:,} bytes in each, found {found}"
    return None


def read_batches(parquet: pq.ParquetFile, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the rows in order, in batches of at most 8,192, none spanning row groups; with `columns`, only those columns.

    Raises pyarrow.ArrowInvalid or OSError where the file is damaged.
    """
    # In one thread: decoding whole row groups in two took 110 MiB more, and saved no time where the batches are also processed.
    for group in range(parquet.num_row_groups):
        for batch in parquet.iter_batches(_READ_ROWS, row_groups=[group], columns=columns, use_threads=False):
            yield batch.replace_schema_metadata(None)


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    if batch.num_rows == 0:
        return
    rows = batch.num_rows
    if rows > ROW_GROUP_ROWS:
        step = ROW_GROUP_ROWS
    elif rows > 1 and batch.nbytes > ROW_GROUP_BYTES:
        step = (rows + 1) // 2  # not by the mean size of a row: large rows may be adjacent
    else:
        yield batch
        return
    for start in range(0, rows, step):
        yield from _pieces(batch.slice(start, step))


def _repetitive_columns(table: pa.Table) -> list[str]:
    """Return the names of string columns with at most one distinct value per twenty rows in the first 10,000 rows."""
    sample = table.slice(0, 10_000)
    return [
        field.name
        for field in sample.schema
        if pa.types.is_string(field.type) and pc.count_distinct(sample[field.name]).as_py() * 20 <= sample.num_rows
    ]


class _WriteOnly:
    """The methods of a file object that pyarrow's PythonFile needs."""

    closed = False

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.discard = False

    def write(self, data: bytes) -> int:
        if self.discard:
            return len(data)
        self.discard = True  # until the sink accepts it: after an error the library would still write its buffer
        self._sink.write(data)
        self.discard = False
        return len(data)

    def flush(self) -> None:
        """Do nothing: nothing is buffered here."""

    def close(self) -> None:
        """Do nothing: the owner of the sink closes it."""

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False
