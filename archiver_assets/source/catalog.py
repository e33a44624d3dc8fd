"""A table in the catalog: its columns, its key, its identity, and whether it can be archived and purged safely.

What belongs here: reading the catalog into frozen values, and refusing unsafe tables. What does not: the statements (`sql_catalog.py`), and
rows. Call `read_table` while holding ACCESS SHARE on the table, so that its result stays valid.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
from psycopg import sql as composed
from psycopg.rows import DictRow

from archiver_assets.config import ACCEPTABLE_RISKS, TableConfig
from archiver_assets.errors import SourceUnavailable, TableRefused
from archiver_assets.partition import Partition
from archiver_assets.source import session, sql, sql_catalog, sql_session
from archiver_assets.source.findings import Finding, as_accepted, refuse
from archiver_assets.source.ranges import days_between, midnight
from archiver_assets.source.types import exact_type

XMIN = "_xmin"

Connection = session.Connection

_KINDS = {"r": "an ordinary table", "p": "a partitioned table"}
_OTHER_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table", "S": "a sequence"}
OLDEST_SUPPORTED = 14
"""A major version of PostgreSQL."""
_MEND = "remove the cause, or leave the table out of the config"
_OF_EVERY_STATEMENT = frozenset({"row_level_security", "inheritance"})
"""Side effects that a SELECT also has; where nothing is deleted, the others do not occur."""


@dataclass(frozen=True)
class Column:
    """A column. `arrow_type` is None if it is transferred and stored as text. `pg_type` is PostgreSQL's own notation, with precision.

    `meaning` is what can change how a stored value reads without a new row version: generation expression, enum labels, members.
    """

    name: str
    number: int
    meaning: str
    pg_type: str
    builtin_type: str
    not_null: bool
    arrow_type: pa.DataType | None

    @property
    def field(self) -> pa.Field:
        """The stored field."""
        return pa.field(self.name, self.arrow_type or pa.string(), nullable=not self.not_null, metadata={"pg_type": self.pg_type})


@dataclass(frozen=True)
class Leaf:
    """A relation that stores a table's rows: the table itself or one of its leaves; `columns` is a digest of its columns and numbers."""

    oid: int
    columns: str


@dataclass(frozen=True)
class Table:
    """A table as the catalog describes it: `columns` in the table's order, `key` in the config's order.

    `facts` is the catalog's text that `read_table` read the table from and accepted; empty for a table from elsewhere.
    """

    relation: sql.Relation
    oid: int
    columns: tuple[Column, ...]
    key: tuple[Column, ...]
    timestamp: Column
    leaves: tuple[Leaf, ...]
    facts: str = field(default="", compare=False, repr=False)

    @cached_property
    def schema(self) -> pa.Schema:
        """The stored columns: the table's, then `_xmin`."""
        xmin = pa.field(XMIN, pa.uint32(), nullable=False, metadata={"pg_type": "xid"})
        return pa.schema([*(column.field for column in self.columns), xmin])

    def only(self, names: Sequence[str]) -> "Table":
        """Return the table as if it had only the named columns, in this order."""
        by_name = {column.name: column for column in self.columns}
        return replace(self, columns=tuple(by_name[name] for name in names))

    @property
    def fingerprint(self) -> str:
        """A digest over the columns, in order: name, number, type, nullability and meaning."""
        facts = [[column.name, column.number, column.pg_type, column.not_null, column.meaning] for column in self.columns]
        return f"sha256:{hashlib.sha256(json.dumps(facts).encode()).hexdigest()}"

    @property
    def ddl(self) -> str:
        """A CREATE TABLE of the columns and the key."""
        lines = [
            composed.SQL("    {} {}{}").format(
                composed.Identifier(column.name), sql.trusted(column.pg_type), sql.trusted(" NOT NULL" if column.not_null else "")
            )
            for column in self.columns
        ]
        names = composed.SQL(", ").join(composed.Identifier(column.name) for column in self.key)
        key = composed.SQL("    PRIMARY KEY ({})").format(names)
        return (
            composed.SQL("CREATE TABLE {} (\n{}\n);\n")
            .format(self.relation.identifier, composed.SQL(",\n").join([*lines, key]))
            .as_string()
        )

    def days(self, first: Partition, last: Partition | None = None) -> sql.Days:
        """Return the range of a partition, or of all days from `first` to `last`, both included, in the timestamp column's type."""
        return days_between(self.relation, self.timestamp.name, self.timestamp.builtin_type, first, last or first)

    def instant(self, value: datetime | date, timezone: str) -> datetime:
        """Return a value of the timestamp column as a timezone-aware time."""
        return instant_of(value, timezone)


def instant_of(value: datetime | date, timezone: str) -> datetime:
    """Return a timestamp as a timezone-aware time: one without a zone is local to `timezone`, a date means its midnight there."""
    if not isinstance(value, datetime):
        value = midnight(value)
    return value if value.tzinfo else value.replace(tzinfo=ZoneInfo(timezone))


@dataclass(frozen=True)
class Server:
    """The server and database of a session, the server's clock, and its next unassigned transaction id (64 bits)."""

    now: datetime
    server_version: str
    system_identifier: str
    database_oid: int
    timeline: int
    next_xid: int


def read_server(connection: Connection) -> Server:
    """Return the server's identity, and the clock that decides when partitions expire.

    Raises TableRefused, with all reasons in one message, for a server or database from which nothing can be archived.
    """
    if wrong := wrong_server(connection):
        raise TableRefused("; ".join(each.what for each in wrong), hint="; ".join(each.hint for each in wrong))
    return Server(**_one(connection, sql_session.SERVER))


def wrong_server(connection: Connection) -> list[Finding]:
    """Return the reasons against any work on the server or in the database, whatever the table. Most are known to the session."""
    version, encoding = connection.info.server_version, connection.info.parameter_status("server_encoding")
    if encoding is None:  # behind a pooler that does not pass it on
        encoding = _one(connection, sql_session.ENCODING)["encoding"]
    findings = []
    if version < OLDEST_SUPPORTED * 10_000:
        what = f"expected PostgreSQL {OLDEST_SUPPORTED} or newer, found {connection.info.parameter_status('server_version')}"
        findings.append(Finding("unsupported_version", what, "upgrade the server, or leave its tables out of the config"))
    if encoding == "SQL_ASCII":
        what = "expected a database whose encoding has a UTF-8 form, found SQL_ASCII"
        findings.append(Finding("wrong_encoding", what, "move the table to a database with the encoding UTF8"))
    return findings


def require_standby_of(connection: Connection, server: Server, label: str) -> None:
    """Raise SourceUnavailable unless the session is on a standby of the primary `server`, on its timeline.

    Otherwise a row version read on the standby could be a different one on the primary.
    """
    found = _one(connection, sql_session.STANDBY)
    expected = {"in_recovery": True, "system_identifier": server.system_identifier, "timeline": server.timeline}
    wrong = [f"{name} {found[name]} in place of {value}" for name, value in expected.items() if found[name] != value]
    if wrong:
        message = f"expected the read_replica of {label} to be a standby of its primary, on the same timeline, found {', '.join(wrong)}"
        raise SourceUnavailable(message, hint="after a failover wait for the standby's next restartpoint, or correct read_replica")


def read_table(connection: Connection, config: TableConfig) -> Table:
    """Return the current state of the table of `config`.

    Raises TableRefused, with all reasons in one message, for anything that cannot be archived exactly and purged safely.
    """
    facts = read_facts(connection, config)
    found = _parsed(facts)
    if found["relation"] is None:
        message = f"expected a table {config.label} on the server, found none that this role can see"
        raise TableRefused(message, hint="compare schema and name in the config with the database")
    columns = _columns(found, config)
    refuse(_findings(found, columns, config), config, "archive")
    return replace(_table(found, columns, config), facts=facts)


def describe_table(connection: Connection, config: TableConfig) -> Table | None:
    """Return the table as `read_table` does, despite any reason to refuse it; None if its days or its key cannot be determined."""
    found = _parsed(read_facts(connection, config))
    if found["relation"] is None or found["relation"]["kind"] not in _KINDS:
        return None
    columns = _columns(found, config)
    return None if any(_wrong_columns(columns, config)) else _table(found, columns, config)


def read_facts(connection: Connection, config: TableConfig) -> str:
    """Return the catalog's facts about the table of `config` as one text. If it equals a table's `facts`, the table is unchanged."""
    statement = sql_catalog.facts(sql.Relation(config.schema_name, config.name))
    return "".join(row["facts"] for row in connection.execute(statement, prepare=True))


def _parsed(facts: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(facts)
    return found


def _table(found: Mapping[str, Any], columns: Mapping[str, Column], config: TableConfig) -> Table:
    return Table(
        relation=sql.Relation(config.schema_name, config.name),
        oid=found["relation"]["oid"],
        columns=tuple(columns.values()),
        key=tuple(columns[name] for name in config.primary_key),
        timestamp=columns[config.timestamp_column],
        leaves=tuple(Leaf(**row) for row in found["leaves"]),
    )


def find_relation(connection: Connection, config: TableConfig) -> DictRow | None:
    """Return oid, kind and persistence of the relation with the table's name; None if there is none."""
    return connection.execute(sql_catalog.RELATION, [config.schema_name, config.name]).fetchone()


def read_findings(connection: Connection, config: TableConfig) -> list[Finding]:
    """Return what `read_table` would refuse in an existing table, and the risks that the config accepts, as warnings."""
    found = _parsed(read_facts(connection, config))
    return _findings(found, _columns(found, config), config) if found["relation"] else []


def count_rows(connection: Connection, days: sql.Days) -> int:
    """Return the number of rows in range that are visible to the session."""
    row = connection.execute(sql.count_rows(days)).fetchone()
    return int(row["rows"]) if row else 0


def split(connection: Connection, days: sql.Days, rows: int, parts: int) -> list[sql.Days]:
    """Divide `days` into disjoint ranges with about equal shares of its `rows`: at most `parts`, at least one.

    There are fewer ranges if many rows share a timestamp, because a range cannot divide them. Each border except the first is queried from
    the previous border on, so the server reads each index entry at most once.
    """
    if min(parts, rows) == 1:
        return [days]
    ranges, rest, last = [], days, _timestamp_after(connection, days, 0)
    for _ in range(min(parts, rows) - 1):
        border = _timestamp_after(connection, rest, max(rows // parts, 1))
        if border is None or last is None:
            break
        if border > last:  # otherwise no row lies before it
            ranges.append(replace(rest, upper=border))
            rest, last = replace(rest, lower=border), border
    return [*ranges, rest]


def _timestamp_after(connection: Connection, days: sql.Days, rows: int) -> datetime | date | None:
    row = connection.execute(sql.timestamp_after(days, rows)).fetchone()
    return row["timestamp"] if row else None


@dataclass(frozen=True)
class Counted:
    """The number of rows in a range, `all` and `held`, and the number that each hold keeps; holds may keep the same rows."""

    all: int
    held: int
    by_hold: tuple[int, ...] = ()


def count_held(connection: Connection, days: sql.Days, held: Sequence[sql.HeldRows]) -> Counted:
    """Return the number of visible rows in range, and how many are held, in all and by each of `held` in its order."""
    row = _one(connection, sql.count_held(days, held))
    return Counted(row["rows"], row["held"], tuple(row[f"held{number}"] for number in range(len(held))))


def count_without_day(connection: Connection, table: Table) -> int:
    """Return the number of rows whose timestamp is NULL or infinite; they belong to no partition."""
    row = connection.execute(sql.count_without_day(table.relation, table.timestamp.name)).fetchone()
    return int(row["rows"]) if row else 0


def _columns(found: Mapping[str, Any], config: TableConfig) -> dict[str, Column]:
    return {row["name"]: _column(row, config) for row in found["columns"]}


def _column(row: Mapping[str, Any], config: TableConfig) -> Column:
    as_text = row["name"] in config.columns
    arrow_type = None if as_text else exact_type(row["builtin_type"], row["pg_type"])
    names = ("name", "number", "meaning", "pg_type", "builtin_type", "not_null")
    return Column(**{name: row[name] for name in names}, arrow_type=arrow_type)


def _findings(found: Mapping[str, Any], columns: Mapping[str, Column], config: TableConfig) -> list[Finding]:
    findings = [*_wrong_relation(found["relation"]), *_wrong_columns(columns, config), *_lossy_columns(found["columns"], columns)]
    findings += [*_wrong_key(found["unique_keys"], columns, config), *_wrong_leaves(found["wrong_leaves"])]
    findings += _side_effects(found["side_effects"], config)
    return as_accepted(findings, config)


def _side_effects(rows: Sequence[Mapping[str, Any]], config: TableConfig) -> Iterator[Finding]:
    for row in rows:
        if config.purge or row["name"] in _OF_EVERY_STATEMENT:
            statement = "DELETE" if config.purge else "SELECT"
            yield Finding(row["name"], f"{row['effect']} would make a {statement} do more or less", _next_step(row["name"]))


def _next_step(name: str) -> str:
    return _MEND + (f", or take the risk by name: accepted_risks: [{name}]" if name in ACCEPTABLE_RISKS else "")


def _wrong_relation(found: Mapping[str, Any]) -> Iterator[Finding]:
    if found["kind"] not in _KINDS:
        kind = _OTHER_KINDS.get(found["kind"], f"a relation of kind {found['kind']!r}")
        yield Finding("wrong_kind", f"expected {' or '.join(_KINDS.values())}, found {kind}", _MEND)
    elif found["persistence"] != "p":
        yield Finding("not_permanent", "expected a permanent table, found an unlogged or temporary one", _MEND)


def _wrong_leaves(rows: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    for row in rows:
        yield Finding("wrong_leaf", f"expected leaves that are permanent tables, found {row['leaf']}, {row['kind']}", _MEND)


def _wrong_columns(columns: Mapping[str, Column], config: TableConfig) -> Iterator[Finding]:
    for name in dict.fromkeys([config.timestamp_column, *config.primary_key, *config.columns]):
        if name not in columns:
            yield Finding("missing_column", f"expected a column {name!r}, found only {', '.join(columns)}", "correct the config")
    if XMIN in columns:
        yield Finding("reserved_column", f"a column is named {XMIN}, the name under which the archive stores row versions", _MEND)
    timestamp = columns.get(config.timestamp_column)
    if timestamp and (timestamp.builtin_type not in {"timestamptz", "timestamp", "date"} or timestamp.arrow_type is None):
        what = f"expected {timestamp.name!r} to be a timestamptz, timestamp or date, not stored as text; found {timestamp.pg_type}"
        yield Finding("wrong_timestamp", what, "name another timestamp_column")


def _lossy_columns(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, Column]) -> Iterator[Finding]:
    for row in rows:
        name = row["name"]
        if row["text_is_lossy"] and columns[name].arrow_type is None:
            what = f"the text of {name!r} ({columns[name].pg_type}) does not hold its value: a domain over char, or a cast of its own"
            yield Finding("lossy_column", what, _MEND)
        if row["unreadable"]:
            what = f"PostgreSQL reads no text of {name!r} ({columns[name].pg_type}), so that it could not be restored"
            yield Finding("unreadable_column", what, _MEND)


def _wrong_key(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, Column], config: TableConfig) -> Iterator[Finding]:
    nullable = [name for name in config.primary_key if name in columns and not columns[name].not_null]
    if nullable:
        yield Finding("nullable_key", f"expected key columns that are NOT NULL, found {', '.join(nullable)}", "name another primary_key")
        return
    unique = [set(row["columns"]) for row in rows]
    if not any(key <= set(config.primary_key) for key in unique):
        existing = "; ".join(", ".join(sorted(key)) for key in unique) or "none at all"
        what = f"expected a unique index on the key ({', '.join(config.primary_key)}), found: {existing}"
        yield Finding("no_unique_key", what, "name the columns of one, or create it with CREATE UNIQUE INDEX CONCURRENTLY")


def _one(connection: Connection, statement: str | composed.Composed) -> DictRow:
    row = connection.execute(statement).fetchone()
    if row is None:
        message = f"expected one row, found none: {statement if isinstance(statement, str) else statement.as_string()}"
        raise TableRefused(message, hint="report this: the statement always gives a row")
    return row
