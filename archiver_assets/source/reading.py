"""Reading the rows of a partition in batches, as Arrow, within a snapshot that another session holds open.

What belongs here: everything that knows ADBC, the extraction engine (docs/adr/0002). What does not: what is done with the rows.
"""

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import adbc_driver_manager
import adbc_driver_postgresql
import psycopg
import pyarrow as pa

from archiver_assets.source import sql, sql_session
from archiver_assets.source.catalog import XMIN, Column, Table
from archiver_assets.source.session import Source
from archiver_assets.source.types import to_stored

if TYPE_CHECKING:
    from adbc_driver_postgresql.dbapi import Cursor

# A batch is handed over once it has this many bytes, so that memory is bounded by bytes and not by rows.
_BATCH_BYTES = 4 * 1024 * 1024
_BATCH_HINT = adbc_driver_postgresql.StatementOptions.BATCH_SIZE_HINT_BYTES.value


def read_rows(source: Source, table: Table, days: sql.Days, snapshot_id: str) -> Generator[pa.RecordBatch, None, None]:
    """Yield the rows in range, in no particular order, in batches of the table's stored schema of about 4 MiB.

    Raises ValueRefused for a value that its stored type cannot hold, and what `Source.connect` raises.
    """
    query = sql.select_rows(days, [(column.name, _travels_as_text(column)) for column in table.columns], XMIN)
    label = f"{source.config.name}/{table.relation.schema}/{table.relation.name}"
    with _errors(source), _cursor(source) as cursor:
        cursor.execute(sql_session.import_snapshot(snapshot_id).as_string())
        cursor.execute(query.as_string())
        reader = cursor.fetch_record_batch()
        for batch in reader:
            yield to_stored(batch, table.schema, label)


def _travels_as_text(column: Column) -> bool:
    # A bpchar is text already, and a cast would cut the spaces at its end.
    return column.arrow_type is None and column.builtin_type != "bpchar"


@contextmanager
def _cursor(source: Source) -> "Iterator[Cursor]":
    from adbc_driver_postgresql import dbapi  # noqa: PLC0415 -- it imports polars where there is one, which a day without rows need not wait for

    with (
        closing(dbapi.connect(source.conninfo(), autocommit=True)) as connection,
        closing(connection.cursor(adbc_stmt_kwargs={_BATCH_HINT: _BATCH_BYTES})) as cursor,
    ):
        for name, value in source.settings.items():
            cursor.execute(sql_session.set_option(name, value).as_string())
        cursor.execute(sql_session.BEGIN_SNAPSHOT)
        try:
            yield cursor
        except BaseException:
            # An abandoned COPY would keep the server sending: ask it to stop before the connection is closed.
            cursor.adbc_cancel()
            raise


@contextmanager
def _errors(source: Source) -> Iterator[None]:
    try:
        yield
    except adbc_driver_manager.Error as error:
        raise source.error_for(error.sqlstate, str(error)) from error
    except psycopg.Error as error:
        raise source.error_for(error.sqlstate, str(error)) from error
