"""Preflight: checks of a table that need not be repeated for every batch: rights, indexes, publications, poolers.

What belongs here: one query for each check, and the work that its answer stops. What does not: conditions that must hold under the lock of
each batch (`catalog.py`, whose findings are included here).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg

from archiver_assets.config import TableConfig
from archiver_assets.source import sql, sql_catalog
from archiver_assets.source.catalog import Connection, find_relation, read_findings, wrong_server
from archiver_assets.source.findings import EVERYTHING, NOTHING, PURGE, Finding, Work, as_accepted, refuse
from archiver_assets.source.maintenance import missing_right, not_maintained
from archiver_assets.source.session import is_pooled
from archiver_assets.source.strain import count_hidden_replicas

NEWEST_TESTED = 18
"""The newest major version of PostgreSQL that the tests cover."""

SCANNED_ANYWAY = 64 << 20
"""The size in bytes up to which a full scan of a table is about as fast as an index scan."""

_SHOWN = 3
"""The number of relations that a finding names: enough to show the pattern."""


def read_preflight(connection: Connection, config: TableConfig) -> list[Finding]:
    """Return every reason against archiving or purging the table, and the warnings for its owner.

    Queries only the catalog and takes no lock, so it works without rights on the table. Raises SourceUnavailable.
    """
    server = wrong_server(connection)
    try:
        return [*server, *_of_table(connection, config)]
    except psycopg.ProgrammingError:
        if any(each.name == "unsupported_version" for each in server):
            return server  # its catalog lacks what the queries need
        raise


def _of_table(connection: Connection, config: TableConfig) -> list[Finding]:
    found = find_relation(connection, config)
    if found is None:
        return [Finding("missing_table", f"expected a table {config.label}, found none", "compare schema and name in the config")]
    core = read_findings(connection, config)
    if any(each.name == "wrong_kind" for each in core):
        return core
    oid = found["oid"]
    outer = [
        *_pooler(connection),
        *_version(connection),
        *_rights(connection, config, oid),
        *_indexes(connection, config, found),
        *(_of_purges(connection, config, found) if config.purge else ()),
    ]
    return [*core, *as_accepted(outer, config)]


def _of_purges(connection: Connection, config: TableConfig, found: Mapping[str, Any]) -> Iterator[Finding]:
    yield from _publications(connection, found["oid"])
    if config.purge_method == "drop_partition":
        yield from _dropping(connection, found)
    yield from _replicas(connection, config)
    yield from _maintenance(connection, config, found["oid"])


def require_index(connection: Connection, config: TableConfig) -> None:
    """Raise TableRefused if finding a day's rows would scan a large table completely, and the config does not allow that."""
    found = find_relation(connection, config)
    if found is not None:
        refuse(as_accepted(_indexes(connection, config, found), config), config, "archive")


def _pooler(connection: Connection) -> Iterator[Finding]:
    if is_pooled(connection):
        yield Finding(
            "connection_pooler",
            "the connection goes through a pooler, which in transaction mode voids locks and settings",
            "point host and port at the server itself, or, if the pool is in session mode, accept connection_pooler",
        )


def _version(connection: Connection) -> Iterator[Finding]:
    major = connection.info.server_version // 10_000
    if major > NEWEST_TESTED:
        yield Finding(
            "untested_version", f"PostgreSQL {major} is newer than {NEWEST_TESTED}, the newest one tested", "try it on a copy", NOTHING
        )


def _rights(connection: Connection, config: TableConfig, oid: int) -> Iterator[Finding]:
    table, role = sql.Relation(config.schema_name, config.name).identifier.as_string(), connection.info.user
    row = connection.execute(sql_catalog.RIGHTS, [oid]).fetchone() or {}
    if row["schemas"]:
        yield _no_usage(role, row["schemas"])
    if row["hidden"] or not row["select"]:
        hidden = ", ".join(row["hidden"]) or "xmin, which rights on columns leave out"
        yield Finding("no_select", f"the role {role} may not read {hidden}", f"GRANT SELECT ON {table} TO {sql.quoted(role)}")
    if config.purge and not row["delete"]:
        yield Finding("no_delete", f"the role {role} may not delete", f"GRANT DELETE ON {table} TO {sql.quoted(role)}", PURGE)


def _no_usage(role: str, schemas: Sequence[str], stops: frozenset[Work] = EVERYTHING) -> Finding:
    names = ", ".join(map(sql.quoted, schemas))
    what = f"the role {role} may not use the schema {names}" + (", where leaves are" if stops == PURGE else "")
    return Finding("no_usage", what, f"GRANT USAGE ON SCHEMA {names} TO {sql.quoted(role)}", stops)


def _indexes(connection: Connection, config: TableConfig, found: Mapping[str, Any]) -> Iterator[Finding]:
    leaves = connection.execute(sql_catalog.LEAVES_WITHOUT_INDEX, [found["oid"], config.timestamp_column]).fetchall()
    if not leaves:
        return
    size = sum(leaf["bytes"] for leaf in leaves)
    statements = [
        f"CREATE INDEX CONCURRENTLY ON {sql.Relation(leaf['schema'], leaf['name']).identifier.as_string()} "
        f"({sql.quoted(config.timestamp_column)})"
        for leaf in leaves[:_SHOWN]
    ]
    more = f"; and so on for {len(leaves) - _SHOWN} more" if len(leaves) > _SHOWN else ""
    # At worst a leaf is scanned completely, and usually all of it is archived anyway.
    harmless = size <= SCANNED_ANYWAY or config.allow_sequential_scan or found["kind"] == "p"
    yield Finding(
        "no_timestamp_index",
        f"no index begins with {config.timestamp_column!r}, so that {_megabytes(size)} MB are read for each day",
        f"{'; '.join(statements)}{more}; or set allow_sequential_scan",
        NOTHING if harmless else EVERYTHING,
    )


def _publications(connection: Connection, oid: int) -> Iterator[Finding]:
    for row in connection.execute(sql_catalog.PUBLICATIONS, [oid]):
        if row["without_identity"]:
            yield Finding(
                "publication_without_identity",
                f"{row['publication']} publishes deletes, and {row['without_identity']} has no replica identity: a DELETE would fail",
                f"ALTER TABLE {row['without_identity']} REPLICA IDENTITY DEFAULT with a primary key, or USING INDEX, or FULL",
                PURGE,
            )
        else:
            yield Finding(
                "published_deletes",
                f"{row['publication']} publishes deletes: its subscribers lose the purged rows too",
                "leave delete out of its publish parameter if they are to keep them",
                NOTHING,
            )


def _dropping(connection: Connection, found: Mapping[str, Any]) -> Iterator[Finding]:
    if found["kind"] != "p":
        what = "purge_method is drop_partition, and the table is not partitioned: its rows are deleted"
        yield Finding("not_partitioned", what, "leave purge_method out", NOTHING)
        return
    role = connection.info.user
    if others := connection.execute(sql_catalog.NOT_OWNED, [found["oid"]]).fetchall():
        names, owners = [row["relation"] for row in others], sorted({sql.quoted(row["owner"]) for row in others})
        what = f"the role {role} does not own {', '.join(names[:_SHOWN])}{' and more' if len(names) > _SHOWN else ''}"
        grant = f"make it a member of the owner (GRANT {', '.join(owners)} TO {sql.quoted(role)})"
        yield Finding("not_owned", what, f"{grant}, or set purge_method: delete", PURGE)
    if schemas := [row["schema"] for row in connection.execute(sql_catalog.UNUSABLE_LEAVES, [found["oid"]])]:
        yield _no_usage(role, schemas, PURGE)


def _replicas(connection: Connection, config: TableConfig) -> Iterator[Finding]:
    hidden = count_hidden_replicas(connection) if config.max_replication_lag_seconds is not None else 0
    if hidden:
        role = connection.info.user
        yield Finding(
            "hidden_replication_lag",
            f"the role {role} may not see the lag of {hidden} replicas, so that no purge pauses for them",
            f"GRANT pg_read_all_stats TO {sql.quoted(role)}, or set max_replication_lag_seconds to null",
            NOTHING,
        )


def _maintenance(connection: Connection, config: TableConfig, oid: int) -> Iterator[Finding]:
    lacking = not_maintained(connection, oid) if config.vacuum_strategy != "none" else ()
    if lacking:
        what = f"vacuum_strategy is {config.vacuum_strategy}, and {missing_right(connection, lacking)}"
        yield Finding("no_maintain", what, "do that, or set vacuum_strategy to none", NOTHING)


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:,.1f}"
