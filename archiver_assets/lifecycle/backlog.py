"""The backlog: the expired days of a table that still have rows in the database.

What belongs here: finding those days and measuring the backlog. What does not: Dagster's record of runs, the choice of the next days, and
how long a day may wait (`orchestration`).
"""

from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from psycopg import sql as composed

from archiver_assets.config import Hold, TableConfig
from archiver_assets.lifecycle.holding.holds import HoldPlaces
from archiver_assets.partition import Partition, newest_expired, stretches
from archiver_assets.source import sql
from archiver_assets.source.catalog import Connection, Table, read_server, read_table
from archiver_assets.source.hold_rows import held_rows, read_clock
from archiver_assets.source.preflight import require_index
from archiver_assets.source.session import Connects

MOST_COUNTED = 100_000
"""The largest number of rows that the backlog counts. Counting this many takes tens of milliseconds."""

_NEAR = (timedelta(days=0), timedelta(days=6))
"""Most often, the next day with rows is the next day or within a week. Planning a probe of one of 400 leaves takes 1 ms, of all 27 ms."""


@dataclass(frozen=True)
class ExpiredDay:
    """An expired partition with rows; `held` is true if legal holds keep all of these rows."""

    partition: Partition
    held: bool


@dataclass(frozen=True)
class Backlog:
    """The days and rows of a table that are due to be archived and purged at `now`, the clock of the database.

    `waiting` lists, oldest first, the days with at least one row that no hold keeps; `days_held` is the number of days whose rows are all
    held. Days passed as done appear in neither, and their rows are not counted. Each row count stops at MOST_COUNTED.
    """

    now: datetime
    waiting: tuple[Partition, ...]
    days_held: int
    rows_waiting: int
    rows_before_start_date: int
    rows_without_day: int


@dataclass(frozen=True)
class _View:
    """A table as one session sees it: `newest` is its last expired day, and each hold in force is paired with the rows that it keeps.

    Days in `done` are skipped.
    """

    connection: Connection
    config: TableConfig
    table: Table
    now: datetime
    newest: Partition
    holds: Sequence[tuple[Hold, sql.HeldRows]]
    done: Collection[date]


def expired_days(
    source: Connects, table: TableConfig, places: HoldPlaces, done: Collection[date] = ()
) -> Generator[ExpiredDay, None, None]:
    """Yield the expired days from `start_date` on that have rows and are not `done` (see `archive_only.done_days`), oldest first.

    Each day takes one probe of the timestamp's index, up to two more after a gap, and one more if a hold may keep some of its rows. The
    generator is lazy: its session stays open until it is closed or exhausted. Raises HoldsUnreadable, TableRefused if every probe would
    read all of a large table, and whatever `connect` and `read_table` raise.
    """
    with _looking_at(source, table, places, done) as view:
        yield from _walk(view)


def measure_backlog(source: Connects, table: TableConfig, places: HoldPlaces, done: Collection[date] = ()) -> Backlog:
    """Return the backlog of a table.

    Costs a full pass of `expired_days` and three counts of at most MOST_COUNTED rows each. Raises what `expired_days` raises.
    """
    with _looking_at(source, table, places, done) as view:
        days = list(_walk(view))
        waiting = tuple(day.partition for day in days if not day.held)
        column, start = view.table.timestamp.name, view.table.days(Partition(table.start_date, table.timezone)).lower
        return Backlog(
            now=view.now,
            waiting=waiting,
            days_held=len(days) - len(waiting),
            rows_waiting=_rows_waiting(view, waiting[0]) if waiting else 0,
            rows_before_start_date=_count(view, sql.before(column, start)),
            rows_without_day=_count(view, sql.without_day(column)),
        )


@contextmanager
def _looking_at(source: Connects, table: TableConfig, places: HoldPlaces, done: Collection[date]) -> Iterator[_View]:
    with source.connect() as connection:
        now = read_server(connection).now
        shape = read_table(connection, table)
        require_index(connection, table)
        # Holds only prevent deletion. They do not keep a day of a table that is only archived out of the archive.
        holds = places.in_force(table, read_clock(connection)) if table.purge else ()
        newest = newest_expired(now=now, retention_days=table.retention_days, timezone=table.timezone)
        kept = held_rows(connection, table, shape, holds)
        yield _View(connection, table, shape, now, newest, tuple(zip(holds, kept, strict=True)), done)


def _walk(view: _View) -> Iterator[ExpiredDay]:
    first = Partition(view.config.start_date, view.config.timezone)
    for stretch in stretches(first, view.newest, view.done):
        yield from _walk_stretch(view, *stretch)


def _walk_stretch(view: _View, partition: Partition, newest: Partition) -> Iterator[ExpiredDay]:
    zone, horizons = partition.timezone, [newest]
    while partition <= newest:
        found = next((first for last in horizons if (first := _first_day(view, partition, last)) is not None), None)
        if found is None:
            return
        yield ExpiredDay(found, _is_held(view, found))
        partition = Partition(found.next_day, zone)
        horizons = sorted({*(min(Partition(partition.day + near, zone), newest) for near in _NEAR), newest})


def _first_day(view: _View, first: Partition, last: Partition, kept: Sequence[sql.HeldRows] = ()) -> Partition | None:
    row = view.connection.execute(sql.first_row(view.table.days(first, last), kept)).fetchone()
    return None if row is None else Partition.containing(view.table.instant(row["first"], first.timezone), first.timezone)


def _is_held(view: _View, partition: Partition) -> bool:
    if any(hold.holds_all_of(partition.day) for hold, _ in view.holds):
        return True
    # Query only holds with conditions, and only for this day: the query reads past every held row until it finds a free one.
    kept = [rows for hold, rows in view.holds if hold.covers(partition.day)]
    return bool(kept) and _first_day(view, partition, partition, kept) is None


def _rows_waiting(view: _View, oldest: Partition) -> int:
    rows, kept = 0, [rows for _, rows in view.holds]
    for stretch in stretches(oldest, view.newest, view.done):
        rows += _count(view, sql.in_days_and_free(view.table.days(*stretch), kept), MOST_COUNTED - rows)
        if rows == MOST_COUNTED:
            break
    return rows


def _count(view: _View, condition: composed.Composed, most: int = MOST_COUNTED) -> int:
    statement = sql.count_up_to(view.table.relation, condition, most)
    return next(int(row["rows"]) for row in view.connection.execute(statement))
