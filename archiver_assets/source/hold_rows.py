"""Legal holds in the database: the table that holds are read from, and the rows that holds keep, as SQL.

What belongs here: reading the rows of a table of holds unchanged, and translating holds into conditions on a table's columns. What does
not: what a hold means (`config/legal.py`), and which holds are in force (`lifecycle/holding/holds.py`).
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TypeGuard

import psycopg

from archiver_assets.config import Hold, HoldCondition, HoldsTable, TableConfig
from archiver_assets.errors import HoldsUnreadable
from archiver_assets.partition import Partition
from archiver_assets.source import sql, sql_catalog, sql_session
from archiver_assets.source.catalog import Column, Connection, Table

_REQUIRED = ("table_name", "reason")
_OPTIONAL = ("id", "schema_name", "requestor", "first_day", "last_day", "start_date", "expiration_date", "conditions")


def read_clock(connection: Connection) -> datetime:
    """Return the current time of the database's clock."""
    now: datetime = next(row["now"] for row in connection.execute(sql_session.NOW))
    return now


def read_holds_table(connection: Connection, table: HoldsTable) -> list[dict[str, str | None]]:
    """Return the rows of a table of holds, as text, with those of its columns that a hold has.

    Raises HoldsUnreadable if the table does not exist, if it has no `table_name` or no `reason`, or on a standby, which may lag behind; and
    psycopg's errors, also if row-level security would hide some of the rows.
    """
    place, relation = f"{table.database}/{table.schema_name}/{table.name}", sql.Relation(table.schema_name, table.name)
    connection.execute(sql_session.NO_ROW_SECURITY)
    if any(row["in_recovery"] for row in connection.execute(sql_session.IN_RECOVERY)):
        message = f"expected the table of holds {place} on a primary server, found one in recovery"
        raise HoldsUnreadable(message, hint="point host and port at the primary: a standby may lack the newest holds")
    found = connection.execute(sql_catalog.RELATION, [relation.schema, relation.name]).fetchone()
    columns = [] if found is None else [row["name"] for row in connection.execute(sql_catalog.COLUMNS, [found["oid"]])]
    if missing := [name for name in _REQUIRED if name not in columns]:
        message = f"expected a table of holds {place} with the columns {', '.join(_REQUIRED)}, found none with {', '.join(missing)}"
        raise HoldsUnreadable(message, hint="create it, or correct legal_holds.table in the config")
    return connection.execute(sql.select_holds(relation, [*_REQUIRED, *(name for name in _OPTIONAL if name in columns)])).fetchall()


def held_rows(connection: Connection, config: TableConfig, table: Table, holds: Sequence[Hold]) -> tuple[sql.HeldRows, ...]:
    """Return the rows of `table` that `holds` keep, one part for each hold, after the server has accepted their conditions.

    Raises HoldsUnreadable for a condition on a column that does not exist, or that cannot be compared with the condition's value.
    """
    if not any(hold.conditions for hold in holds):
        return tuple(_held(config, table, hold, {}) for hold in holds)
    names = {row["name"] for row in connection.execute(sql_catalog.COMPARABLE_COLUMNS, [table.oid])}
    columns = {column.name: column for column in table.columns if column.name in names}
    parts = []
    for hold in holds:
        part = _held(config, table, hold, columns)
        try:
            connection.execute(sql.try_held(table.relation, [part]))
        except (psycopg.DataError, psycopg.IntegrityError, psycopg.ProgrammingError) as error:
            raise _not_understood(config, hold, " ".join(str(error).split())) from error
        parts.append(part)
    return tuple(parts)


def _held(config: TableConfig, table: Table, hold: Hold, columns: Mapping[str, Column]) -> sql.HeldRows:
    lower = table.days(Partition(hold.first_day, config.timezone)).lower if _is_limit(hold.first_day) else None
    upper = table.days(Partition(hold.last_day, config.timezone)).upper if _is_limit(hold.last_day) else None
    conditions = tuple(_condition(config, hold, each, columns) for each in hold.conditions)
    return sql.HeldRows(table.timestamp.name, lower, upper, conditions)


def _is_limit(day: date | None) -> TypeGuard[date]:
    """Return whether a day is a limit: None, and a day of the year 1 or 9999, such as 9999-12-31, are not."""
    return day is not None and day.year not in {date.min.year, date.max.year}


def _condition(config: TableConfig, hold: Hold, condition: HoldCondition, columns: Mapping[str, Column]) -> sql.Condition:
    column = columns.get(condition.column)
    if column is None:
        raise _not_understood(
            config, hold, f"{condition.column!r} is not a column of a built-in type, an enum, or a domain over a built-in type"
        )
    pg_type = sql.builtin(column.builtin_type) if column.builtin_type else sql.trusted(column.pg_type)
    return sql.Condition(column.name, condition.operator, pg_type, condition.values)


def _not_understood(config: TableConfig, hold: Hold, found: str) -> HoldsUnreadable:
    message = f"expected the conditions of the legal hold {hold.id!r} to fit the columns of {config.label}, found: {found}"
    return HoldsUnreadable(message, hint="correct the hold; until then every row of the table is held")
