"""The tables of a database that could be archived: what the catalog and the statistics say of each.

What belongs here: reading. What does not: which of them looks like an audit table (`lifecycle/reporting/config_draft.py`).
"""

from dataclasses import dataclass
from datetime import date

import psycopg

from archiver_assets.source import sql, sql_overview
from archiver_assets.source.catalog import Connection
from archiver_assets.source.preflight import SCANNED_ANYWAY


@dataclass(frozen=True)
class TimeColumn:
    """A column with a time; `indexed` if a whole B-tree begins with it."""

    name: str
    pg_type: str
    not_null: bool
    indexed: bool


@dataclass(frozen=True)
class Candidate:
    """A table, largest first among its like. `rows` are estimated; `inserted`, `changed` and `deleted` count since the last reset.

    `key` is the primary key, else the shortest unique one, and empty if there is none. `readable` says whether the role may read it.
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
        """Its true names."""
        return sql.Relation(self.schema, self.name)


def read_candidates(connection: Connection) -> list[Candidate]:
    """Return all tables outside of system schemas and extensions, leaves only by their tables, the largest first. Catalog only."""
    rows = connection.execute(sql_overview.CANDIDATES).fetchall()
    return [Candidate(**{**row, "key": tuple(row["key"]), "times": tuple(TimeColumn(**each) for each in row["times"])}) for row in rows]


def read_oldest_day(connection: Connection, candidate: Candidate, column: TimeColumn) -> date | None:
    """Return the day of the oldest row by a column; None if there is no row, the role may not read it, or looking would read much."""
    if not candidate.readable or not (column.indexed or candidate.bytes <= SCANNED_ANYWAY):
        return None
    try:
        row = connection.execute(sql_overview.oldest_day(candidate.relation, column.name)).fetchone()
        return date.fromisoformat(row["day"]) if row and row["day"] else None
    except (ValueError, psycopg.errors.InsufficientPrivilege):  # a day before Christ, or after 9999; a right on columns, or row security
        return None
