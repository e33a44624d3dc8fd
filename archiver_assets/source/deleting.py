"""Deleting row versions, and counting what became of them.

What belongs here: one transaction for one batch of row versions. What does not: which versions may be deleted, and when (`lifecycle`).
"""

from dataclasses import dataclass

import psycopg
import pyarrow as pa

from archiver_assets.config import TableConfig
from archiver_assets.errors import SourceChanged, SourceError
from archiver_assets.source import sql
from archiver_assets.source.catalog import XMIN, Connection, Table, read_table


@dataclass(frozen=True)
class Deleted:
    """What became of one batch: `deleted` now; `changed`, the key is there under another xmin and stays; or `gone` before."""

    deleted: int
    changed: int
    gone: int


@dataclass(frozen=True)
class Target:
    """The table whose row versions are deleted, as it was when the purge proved its generation, and the leaves whose rows it may touch."""

    config: TableConfig
    table: Table
    days: sql.Days
    leaves: tuple[int, ...]


def delete_row_versions(connection: Connection, target: Target, versions: pa.RecordBatch) -> Deleted:
    """Delete the rows whose key and xmin are in `versions` and that are still in range, in one READ COMMITTED transaction.

    `versions` has the key's columns, in the key's order, and `_xmin`. Raises SourceChanged or TableRefused if the table is not as it was
    proven, looked at under the lock of the DELETE; and SourceError if a row version that should have gone would still be there at the end
    of the transaction. Then nothing of the batch was deleted.
    """
    table, days = target.table, target.days
    key = [(column.name, column.pg_type) for column in table.key]
    arrays = [versions.column(name).to_pylist() for name, _ in key]
    arrays += [[str(xmin) for xmin in versions.column(XMIN).to_pylist()], list(target.leaves)]
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE")
        _require_unchanged(connection, target)
        deleted = connection.execute(sql.delete_versions(days, key), arrays).rowcount
        if deleted == versions.num_rows:
            return Deleted(deleted, changed=0, gone=0)
        left = _count_left(connection, sql.count_versions(days, key), arrays)
        if left["same"]:
            message = f"{left['same']} archived row versions of {table.relation.schema}.{table.relation.name} could not be deleted"
            raise SourceError(
                message, hint="look for rows that were moved to another day by changing their timestamp without a new version"
            )
        return Deleted(deleted, changed=left["changed"], gone=versions.num_rows - deleted - left["changed"])


def _require_unchanged(connection: Connection, target: Target) -> None:
    connection.execute(sql.lock_table_for_delete(target.table.relation))
    if read_table(connection, target.config) != target.table:
        message = f"table {target.config.label} was altered or replaced while its rows were purged"
        raise SourceChanged(message, hint="run again; this batch deleted nothing")


def _count_left(connection: Connection, statement: psycopg.sql.Composed, arrays: list[list[object]]) -> dict[str, int]:
    row = connection.execute(statement, arrays).fetchone()
    if row is None:
        message = "expected one row of counts, found none"
        raise SourceError(message, hint="report this: the statement always gives a row")
    return row
