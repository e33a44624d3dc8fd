"""What the next run of a table would do, from what the database and the archive say now. Nothing is changed.

What belongs here: the days, rows, bytes and seconds of the next run, and what would be skipped and why. What does not: what Dagster knows
of runs, which may postpone days (`orchestration/day_selection.py`), and words for people.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from archiver_assets.config import Hold, TableConfig
from archiver_assets.lifecycle.archive_only import done_days
from archiver_assets.lifecycle.backlog import MOST_COUNTED, Backlog, measure_backlog
from archiver_assets.lifecycle.holding.holds import HoldPlaces
from archiver_assets.lifecycle.reporting.archive_totals import Means
from archiver_assets.partition import Partition, newest_expired
from archiver_assets.source.catalog import Connection, describe_table
from archiver_assets.source.findings import Finding
from archiver_assets.source.preflight import read_preflight
from archiver_assets.source.session import Source
from archiver_assets.source.table_size import RowCount, TableSize, count_days, read_size
from archiver_assets.store.keys import TableKeys

ASSUMED_SMALLER = 4.0
"""A row in the archive takes about a fourth of its bytes in the table: for tables that have no generation yet."""

ASSUMED_ARCHIVED = 50_000.0
ASSUMED_PURGED = 30_000.0
"""Rows in a second, each of the two steps alone, on a small machine: for tables that have no receipt yet; no manifest tells the first
one."""

STARTING = 6.0
"""Seconds until a run has started, through Dagster's queue and its default launcher; a pod takes longer."""


@dataclass(frozen=True)
class Estimate:
    """What some rows would take: bytes in the table and in the archive, seconds until runs are done; what of it is only assumed."""

    table_bytes: int
    archive_bytes: int
    seconds: float
    size_assumed: bool
    pace_assumed: bool


@dataclass(frozen=True)
class Plan:
    """The next run of a table: `days` are its partitions, oldest first, with `rows`.

    `later` is the number of days left to the runs after it. `not_expired` is the oldest day that the retention still protects, and
    `expires_at` when it no longer does.
    """

    now: datetime
    days: tuple[Partition, ...]
    later: int
    rows: RowCount
    estimate: Estimate
    size: TableSize
    backlog: Backlog
    holds: tuple[Hold, ...]
    findings: tuple[Finding, ...]
    not_expired: Partition
    expires_at: datetime


@dataclass(frozen=True)
class Refused:
    """A table that no run could work on, as preflight says, so that its days were not looked for."""

    findings: tuple[Finding, ...]
    size: TableSize | None


def make_plan(
    source: Source,
    table: TableConfig,
    places: HoldPlaces,
    keys: TableKeys,
    means: Means,
    choose: Callable[[], Sequence[Partition]] | None = None,
) -> Plan | Refused:
    """Return what the next run of the table would do: with the days that `choose` gives, or else the oldest ones.

    Costs what `done_days` and `measure_backlog` cost, and a count of at most MOST_COUNTED rows. Raises HoldsUnreadable, the errors of the
    store, and what `Source.connect` raises.
    """
    with source.connect() as connection:
        findings = tuple(read_preflight(connection, table))
        if any("archive" in each.stops for each in findings):
            missing = any(each.name == "missing_table" for each in findings)
            return Refused(findings, None if missing else read_size(connection, table))
        backlog = measure_backlog(source, table, places, done_days(places.store, keys, table))
        days = tuple(backlog.waiting[: table.max_partitions_per_tick] if choose is None else choose())
        rows, size = _count(connection, table, days), read_size(connection, table)
    next_day = Partition(
        newest_expired(now=backlog.now, retention_days=table.retention_days, timezone=table.timezone).next_day, table.timezone
    )
    return Plan(
        now=backlog.now,
        days=days,
        later=len(backlog.waiting) - len(days),
        rows=rows,
        estimate=_estimate(table, len(days), rows.rows, size, means),
        size=size,
        backlog=backlog,
        holds=places.in_force(table, backlog.now) if table.purge else (),
        findings=findings,
        not_expired=next_day,
        expires_at=next_day.expires_at(table.retention_days),
    )


def _count(connection: Connection, table: TableConfig, days: Sequence[Partition]) -> RowCount:
    shape = describe_table(connection, table) if days else None
    return RowCount(0, counted=True) if shape is None else count_days(connection, shape, days, MOST_COUNTED)


def _estimate(table: TableConfig, days: int, rows: int, size: TableSize, means: Means) -> Estimate:
    in_table = rows * (size.bytes_per_row or 0.0)
    in_archive = in_table / ASSUMED_SMALLER if means.bytes_per_row is None else rows * means.bytes_per_row
    purging = rows / (means.purged_per_second or ASSUMED_PURGED) if table.purge else 0.0
    seconds = days * STARTING + rows / ASSUMED_ARCHIVED + purging
    return Estimate(
        table_bytes=round(in_table),
        archive_bytes=round(in_archive),
        seconds=seconds,
        size_assumed=means.bytes_per_row is None,
        pace_assumed=means.purged_per_second is None or not table.purge,
    )
