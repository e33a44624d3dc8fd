"""A quick check whether a table has nothing to do. For most tables, most ticks need nothing more.

What does not belong here: finding the days that have rows (`backlog.py`).
"""

from collections.abc import Collection
from datetime import date

from archiver_assets.config import TableConfig
from archiver_assets.partition import Partition, newest_expired, stretches
from archiver_assets.source.day_probe import glance
from archiver_assets.source.session import Connects


def has_no_expired_rows(source: Connects, table: TableConfig, done: Collection[date] = ()) -> bool:
    """Return whether no expired day from `start_date` on has rows, held or not. Also return False if a cheap probe cannot decide.

    Days in `done` are skipped: each unbroken series of other days takes one probe, and the first row found ends the check. Neither holds
    nor preflight are read, because without rows there is nothing to stop. Raises what `connect` raises.
    """
    with source.connect() as connection:
        seen = glance(connection, table)
        if seen is None:
            return False
        first = Partition(table.start_date, table.timezone)
        newest = newest_expired(now=seen.now, retention_days=table.retention_days, timezone=table.timezone)
        return not any(seen.has_rows(connection, *days) for days in stretches(first, newest, done))
