"""Vacuum after a purge, as configured, so that the table can reuse the space of the deleted rows.

What belongs here: choosing the tables, vacuuming or analyzing them, and estimating the reusable space. What does not: freezing, and
returning space to the disk. The purge is already complete, so any failure here is only a warning.
See https://www.postgresql.org/docs/current/sql-vacuum.html.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from archiver_assets.errors import ArchiverError
from archiver_assets.lifecycle.archive_only import require_purge
from archiver_assets.lifecycle.task import Task, log
from archiver_assets.source import sql, sql_catalog, sql_session
from archiver_assets.source.catalog import Connection, Table
from archiver_assets.source.maintenance import missing_right, not_maintained


@dataclass(frozen=True)
class Vacuumed:
    """The result of a vacuum after a purge. `bytes_reusable` estimates the space in the table's file that is now free for new rows.

    It is the number of purged rows, less those that older snapshots still see, times the mean bytes of a row with its TOAST. The file does
    not shrink.
    """

    outcome: str = "none"
    bytes_reusable: int = 0


def vacuum(task: Task, table: Table, purged_rows: int) -> Vacuumed:
    """Vacuum or analyze the relations that hold the day, as `vacuum_strategy` says, in a separate session and outside any transaction.

    A database error is logged and becomes the outcome instead of being raised. Raises TableRefused for a table that is only archived.
    """
    require_purge(task.table)
    if task.table.vacuum_strategy == "none" or not purged_rows:
        return Vacuumed()
    try:
        with task.source.connect() as connection:
            return _vacuum(task, connection, table, purged_rows)
    except ArchiverError as error:
        # Catch every kind: the rows are purged and the receipt is written, so a failure here must not look like a failed purge.
        log.warning("%s: purged, but not vacuumed: %s (%s)", task.label, error.message, error.hint)
        return Vacuumed(f"failed: {error.message}")


def _vacuum(task: Task, connection: Connection, table: Table, purged_rows: int) -> Vacuumed:
    relations = _relations_of_day(connection, table.days(task.partition))
    if lacking := [each for each in not_maintained(connection, table.oid) if each.relation in relations]:
        right = missing_right(connection, lacking)
        log.warning("%s: purged, but not vacuumed: %s", task.label, right)
        return Vacuumed(f"skipped: {right}")
    notices: list[str] = []
    connection.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    before = _space(connection, relations)
    connection.execute(sql_session.GENTLE_VACUUM)
    strategy = task.table.vacuum_strategy
    connection.execute((sql.vacuum if strategy == "standard" else sql.analyze)(relations))
    for notice in notices:
        log.warning("%s: purged, but not everything was vacuumed: %s", task.label, notice)
    if notices:
        return Vacuumed(f"skipped: {'; '.join(notices)}")
    bytes_reusable = _reusable(before, _space(connection, relations), purged_rows) if strategy == "standard" else 0
    log.info("%s: %s done, about %s bytes are reusable", task.label, strategy, f"{bytes_reusable:,}")
    return Vacuumed(strategy, bytes_reusable)


def _relations_of_day(connection: Connection, days: sql.Days) -> list[sql.Relation]:
    """Return the relations that hold the rows of a day: the table, or the leaves that the planner does not prune."""
    row = connection.execute(sql.explain(days)).fetchone()
    (plan,) = row["QUERY PLAN"] if row else ({"Plan": {}},)
    return list(dict.fromkeys(_scanned(plan["Plan"])))


def _scanned(node: Mapping[str, Any]) -> Iterator[sql.Relation]:
    if "Relation Name" in node:
        yield sql.Relation(node["Schema"], node["Relation Name"])
    for child in node.get("Plans", ()):
        yield from _scanned(child)


@dataclass(frozen=True)
class _Space:
    bytes: int
    live: int
    dead: int


def _space(connection: Connection, relations: Sequence[sql.Relation]) -> _Space:
    row = connection.execute(sql_catalog.SPACE, [[relation.identifier.as_string() for relation in relations]]).fetchone()
    return _Space(**row) if row else _Space(0, 0, 0)


def _reusable(before: _Space, after: _Space, purged_rows: int) -> int:
    # VACUUM counts live rows, and dead rows that it had to leave. Rows that it removed are in neither count, only in the size before.
    freed = max(purged_rows - after.dead, 0)
    return before.bytes * freed // max(after.live + after.dead + freed, 1)
