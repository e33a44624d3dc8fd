"""Reads the rows of a partition in batches, as Arrow, within a snapshot that another session holds open.

What belongs here: everything that knows ADBC, the extraction engine (docs/adr/0002). What does not: what is done with the rows.
"""

import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, LiteralString

import adbc_driver_manager
import adbc_driver_postgresql
import psycopg
import pyarrow as pa
from adbc_driver_manager._reader import AdbcRecordBatchReader

from archiver_assets.source import numerics, sql, sql_session
from archiver_assets.source.catalog import XMIN, Column, Table
from archiver_assets.source.error_text import said, said_by_driver
from archiver_assets.source.session import Source
from archiver_assets.source.types import to_stored
from archiver_assets.threads import gathered

if TYPE_CHECKING:
    from adbc_driver_postgresql.dbapi import Cursor

# A batch is returned once it has this many bytes, so that memory is bounded by bytes and not by rows.
_BATCH_BYTES = 4 * 1024 * 1024
_BATCH_HINT = adbc_driver_postgresql.StatementOptions.BATCH_SIZE_HINT_BYTES.value


class Cancel:
    """Cancels the statements of readers from another thread, so that their pending calls fail."""

    def __init__(self) -> None:
        """Start without readers."""
        self._lock = threading.Lock()
        self._cursors: list[Cursor] = []

    def __call__(self) -> None:
        """Ask the server to cancel the current statements of all readers."""
        with self._lock:
            for cursor in self._cursors:
                with suppress(adbc_driver_manager.Error):
                    cursor.adbc_cancel()

    @contextmanager
    def reaching(self, cursor: "Cursor") -> Iterator[None]:
        """Cancel `cursor` too if called during the block, and never once the cursor is closed."""
        with self._lock:
            self._cursors.append(cursor)
        try:
            yield
        finally:
            with self._lock:
                self._cursors.remove(cursor)


def read_rows_ahead(source: Source, table: Table, ranges: Sequence[sql.Days], snapshot_id: str) -> Generator[pa.RecordBatch, None, None]:
    """Yield the rows of several ranges as `read_rows` does; each range is read ahead by its own session and thread.

    At most three batches of each range are in memory. An error in one range ends all, and is raised; closing the generator cancels the
    statements on the server.
    """
    cancel = Cancel()
    yield from gathered([partial(read_rows, source, table, days, snapshot_id, cancel) for days in ranges], cancel)


def read_rows(
    source: Source, table: Table, days: sql.Days, snapshot_id: str, cancel: Cancel | None = None
) -> Generator[pa.RecordBatch, None, None]:
    """Yield the rows in range, in no particular order, in batches of about 4 MiB with the table's stored schema.

    Raises ValueRefused for a value that its stored type cannot hold, and what `Source.connect` raises. `cancel` ends the read from another
    thread.
    """
    query = sql.select_rows(days, [(column.name, _sent(column)) for column in table.columns], XMIN)
    label = f"{source.config.name}/{table.relation.schema}/{table.relation.name}"
    with _errors(source), _cursor(source, cancel or Cancel()) as cursor:
        cursor.execute(sql_session.import_snapshot(snapshot_id).as_string())
        cursor.execute(query.as_string())
        # `fetch_record_batch` returns pyarrow's own reader, whose errors are OSErrors without an SQLSTATE.
        stream = cursor.fetch_arrow()  # its memory must outlive the import by the reader
        for batch in AdbcRecordBatchReader._import_from_c(stream.address):  # noqa: SLF001 -- pyarrow's own name for it
            yield to_stored(batch, table.schema, label)


def _sent(column: Column) -> LiteralString:
    # A bpchar is text already, and a cast would strip its trailing spaces.
    if column.arrow_type is None and column.builtin_type != "bpchar":
        return "{}::text"
    return "numeric_send({})" if numerics.fits(column.arrow_type) else "{}"


@contextmanager
def _cursor(source: Source, cancel: Cancel) -> "Iterator[Cursor]":
    from adbc_driver_postgresql import dbapi  # noqa: PLC0415 -- imports polars if installed; a day without rows need not wait for it

    with (
        closing(dbapi.connect(source.conninfo(), autocommit=True)) as connection,
        closing(connection.cursor(adbc_stmt_kwargs={_BATCH_HINT: _BATCH_BYTES})) as cursor,
        cancel.reaching(cursor),
    ):
        cursor.execute(sql_session.pin(source.settings).as_string())
        cursor.execute(sql_session.BEGIN_SNAPSHOT)
        try:
            yield cursor
        except BaseException:
            # Ask the server to stop before the connection closes: it would keep sending an abandoned COPY.
            cursor.adbc_cancel()
            raise


@contextmanager
def _errors(source: Source) -> Iterator[None]:
    try:
        yield
    except adbc_driver_manager.Error as error:
        text = said_by_driver(error.sqlstate, str(error))
        _hush(error, text)
        raise source.error_for(error.sqlstate, text) from error
    except psycopg.Error as error:
        raise source.error_for(error.sqlstate, said(error)) from error


def _hush(error: BaseException | None, text: str) -> None:
    """Replace the text of the driver's error, and of the stream errors behind it, which repeat the server's report, with `text`."""
    while error is not None:
        if isinstance(error, adbc_driver_manager.Error | OSError):
            error.args = (text,)
            vars(error).pop("details", None)
        error = error.__cause__ or error.__context__
