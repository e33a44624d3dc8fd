"""Whether a table has nothing to do: the question that most ticks of most tables end with.

What belongs here: that question. What does not: which days have rows (`backlog.py`).
"""

from collections.abc import Collection
from datetime import date

from archiver_assets.config import TableConfig
from archiver_assets.partition import Partition, newest_expired, stretches
from archiver_assets.source.day_probe import glance
from archiver_assets.source.session import Connects


def has_no_expired_rows(source: Connects, table: TableConfig, done: Collection[date] = ()) -> bool:
    """Tell whether no expired day from `start_date` on has rows, held ones included; False too if that cannot be told at a glance.

    Days that are `done` are not looked at: there is one probe for each unbroken row of others, up to the first one that finds a row.
    Raises what `connect` raises, and asks neither for holds nor for what would stop an archive: nothing is there that they could stop.
    """
    with source.connect() as connection:
        seen = glance(connection, table)
        if seen is None:
            return False
        first = Partition(table.start_date, table.timezone)
        newest = newest_expired(now=seen.now, retention_days=table.retention_days, timezone=table.timezone)
        return not any(seen.has_rows(connection, *days) for days in stretches(first, newest, done))
