"""The candidates for reading a day. Each yields record batches, which then all take the archiver's own path to a Parquet file.

What belongs here: one function per candidate, and the path from its batches to a local file. What does not: repeating and comparing
(`comparing.py`). Arguments: the candidate's name, then the file to write.

Every candidate reads the same rows with `xmin`, in a snapshot that another session exports, and uses the same digest, hash and encoder,
so only reading differs. The CSV candidate stores uuids as text, because pyarrow does not parse them.
"""

import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv as pacsv
from psycopg import Copy
from psycopg import sql as composed
from psycopg.rows import tuple_row
from psycopg.types.numeric import OidBinaryLoader

from archiver_assets.config import ColumnConfig, TableConfig
from archiver_assets.lifecycle.archiving.archive import _HashingSink
from archiver_assets.lifecycle.archiving.content import Content
from archiver_assets.source import sql, sql_session
from archiver_assets.source.catalog import XMIN, Column, Connection, Table, read_table
from archiver_assets.source.reading import read_rows
from archiver_assets.source.session import Source, open_snapshot
from archiver_assets.store.digest import ContentDigest
from archiver_assets.store.parquet import ParquetEncoder
from archiver_assets_tests.benchmarks.measuring import Done, report
from archiver_assets_tests.benchmarks.methods.place import PARTITION, source, table

_BLOCK_BYTES = 4 * 1024 * 1024
# About 4 MiB of this workload's rows.
_BATCH_ROWS = 8192

UUIDS_AS_TEXT = dict.fromkeys(("tenant_id", "actor_id", "request_id"), ColumnConfig(store_as="text"))


def adbc(database: Source, table: Table, snapshot_id: str) -> Generator[pa.RecordBatch, None, None]:
    """Read as the archiver does."""
    with closing(read_rows(database, table, table.days(PARTITION), snapshot_id)) as batches:
        yield from batches


def copy_csv(database: Source, table: Table, snapshot_id: str) -> Iterator[pa.RecordBatch]:
    """Read COPY CSV with psycopg, parsed by pyarrow with options that distinguish NULL from the empty string."""
    types = {field.name: field.type for field in table.schema}
    with (
        _session(database, snapshot_id) as connection,
        connection.cursor() as cursor,
        cursor.copy(_copy(_select(table), "csv")) as copy,
    ):
        parsed = pacsv.open_csv(
            pa.PythonFile(_CopyFile(copy), mode="r"),
            read_options=pacsv.ReadOptions(column_names=list(types), block_size=_BLOCK_BYTES),
            parse_options=pacsv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            convert_options=pacsv.ConvertOptions(
                column_types=types,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                true_values=["t"],
                false_values=["f"],
            ),
        )
        for batch in parsed:
            yield pa.RecordBatch.from_arrays(batch.columns, schema=table.schema)


def copy_binary(database: Source, table: Table, snapshot_id: str) -> Iterator[pa.RecordBatch]:
    """Read COPY BINARY, with psycopg converting the values to Python objects."""
    types = ["text" if _as_text(column) else column.builtin_type for column in table.columns]
    with (
        _session(database, snapshot_id) as connection,
        connection.cursor(row_factory=tuple_row) as cursor,
        cursor.copy(_copy(_select(table), "binary")) as copy,
    ):
        copy.set_types([*types, "oid"])  # an xid has the same format
        yield from _batches(copy.rows(), table.schema)


def cursor_rows(database: Source, table: Table, snapshot_id: str) -> Iterator[pa.RecordBatch]:
    """Fetch from a server-side cursor of psycopg, with values in binary form."""
    with (
        _session(database, snapshot_id) as connection,
        connection.cursor(name="rows", row_factory=tuple_row, binary=True) as cursor,
    ):
        cursor.itersize = _BATCH_ROWS
        cursor.execute(_select(table))
        yield from _batches(cursor, table.schema)


@dataclass(frozen=True)
class Candidate:
    """A way to read a table, with config for some `columns`."""

    read: Callable[[Source, Table, str], Iterator[pa.RecordBatch]]
    columns: Mapping[str, ColumnConfig] = field(default_factory=dict)


CANDIDATES: Mapping[str, Candidate] = {
    "adbc": Candidate(adbc),
    "copy-csv": Candidate(copy_csv, UUIDS_AS_TEXT),
    "copy-binary": Candidate(copy_binary),
    "cursor": Candidate(cursor_rows),
}


@contextmanager
def opened(database: Source, config: TableConfig) -> Iterator[tuple[Table, str]]:
    """Export a snapshot, and yield the table with the snapshot's id."""
    relation = sql.Relation(config.schema_name, config.name)
    with database.connect() as connection, open_snapshot(connection, relation) as snapshot:
        yield read_table(connection, config), snapshot.id


def extract(candidate: Candidate, path: Path) -> Done:
    """Write the day to a Parquet file, digested and hashed on the way as in an archive."""
    database = source()
    with opened(database, table(columns=candidate.columns)) as (found, snapshot_id), path.open("wb") as file:
        content, digest = Content(found), ContentDigest(found.schema)
        with ParquetEncoder(_HashingSink(_LocalFile(file)), found.schema, {}) as encoder:
            for batch in candidate.read(database, found, snapshot_id):
                content.add(batch)
                digest.update(batch)
                encoder.write(batch)
            encoder.finish()
    return Done(content.rows, {"bytes": path.stat().st_size})


class _LocalFile:
    """A sink that is a file on this machine."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, data: bytes, /) -> None:
        self._file.write(data)


class _CopyFile:
    """A COPY as a file for pyarrow, which needs blocks of the requested size, while psycopg returns single rows."""

    closed = False

    def __init__(self, copy: Copy) -> None:
        self._copy = copy
        self._waiting = bytearray()

    def read(self, size: int) -> bytes:
        while len(self._waiting) < size and (data := self._copy.read()):
            self._waiting += data
        block = bytes(memoryview(self._waiting)[:size])
        del self._waiting[:size]
        return block


@contextmanager
def _session(database: Source, snapshot_id: str) -> Iterator[Connection]:
    with database.connect() as connection:
        connection.execute(sql_session.BEGIN_SNAPSHOT)
        connection.execute(sql_session.import_snapshot(snapshot_id))
        connection.adapters.register_loader("xid", OidBinaryLoader)
        yield connection


def _as_text(column: Column) -> bool:
    # psycopg would parse json into dicts, which no other candidate does.
    return column.arrow_type is None or column.builtin_type == "jsonb"


def _select(table: Table) -> composed.Composed:
    columns = [(column.name, "{}::text" if _as_text(column) else "{}") for column in table.columns]
    return sql.select_rows(table.days(PARTITION), columns, XMIN)


def _copy(query: composed.Composed, form: str) -> composed.Composed:
    return composed.SQL("COPY ({}) TO STDOUT (FORMAT {})").format(query, composed.Identifier(form))


def _batches(rows: Iterable[Sequence[Any]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    remaining = iter(rows)
    while chunk := list(islice(remaining, _BATCH_ROWS)):
        columns = [pa.array(values, field.type) for values, field in zip(zip(*chunk, strict=True), schema, strict=True)]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


if __name__ == "__main__":
    name, target = sys.argv[1:]
    report(lambda: extract(CANDIDATES[name], Path(target)))
