"""The tables of a database that could be archived, as the catalog and the statistics describe them.

What belongs here: reading them. What does not: choosing those that look like audit tables (`lifecycle/reporting/config_draft.py`).
"""

from dataclasses import dataclass
from datetime import date

import psycopg

from archiver_assets.source import sql, sql_overview
from archiver_assets.source.catalog import Connection
from archiver_assets.source.preflight import SCANNED_ANYWAY


@dataclass(frozen=True)
class TimeColumn:
    """A timestamp or date column; `indexed` if a non-partial B-tree begins with it."""

    name: str
    pg_type: str
    not_null: bool
    indexed: bool


@dataclass(frozen=True)
class Candidate:
    """A table. `rows` is an estimate; `inserted`, `changed` and `deleted` count rows since the statistics were last reset.

    `key` is the primary key, else the shortest unique key, and empty if there is none. `readable` is whether the role may read the table.
    """

    oid: int
    schema: str
    name: str
    partitioned: bool
    bytes: int
    rows: int
    inserted: int
    changed: int
    deleted: int
    readable: bool
    key: tuple[str, ...]
    times: tuple[TimeColumn, ...]

    @property
    def relation(self) -> sql.Relation:
        """Schema and name of the table, unquoted."""
        return sql.Relation(self.schema, self.name)


def read_candidates(connection: Connection) -> list[Candidate]:
    """Return all tables outside system schemas and extensions, the largest first. Leaves are part of their table.

    Reads only the catalog and statistics.
    """
    rows = connection.execute(sql_overview.CANDIDATES).fetchall()
    return [Candidate(**{**row, "key": tuple(row["key"]), "times": tuple(TimeColumn(**each) for each in row["times"])}) for row in rows]


def read_oldest_day(connection: Connection, candidate: Candidate, column: TimeColumn) -> date | None:
    """Return the day of the oldest row by a column; None if there is no row, or the role may not read it.

    Also None if the column has no index and the table is too large to scan.
    """
    if not candidate.readable or not (column.indexed or candidate.bytes <= SCANNED_ANYWAY):
        return None
    try:
        row = connection.execute(sql_overview.oldest_day(candidate.relation, column.name)).fetchone()
        return date.fromisoformat(row["day"]) if row and row["day"] else None
    except (ValueError, psycopg.errors.InsufficientPrivilege):  # a day BC or after 9999; column privileges, or row-level security
        return None
