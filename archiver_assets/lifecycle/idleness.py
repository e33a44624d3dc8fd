"""Whether a table has nothing to do: the question that most ticks of most tables end with.

What belongs here: that question. What does not: which days have rows (`backlog.py`).
"""

from archiver_assets.config import TableConfig
from archiver_assets.partition import Partition, newest_expired
from archiver_assets.source.glancing import glance
from archiver_assets.source.session import Connects


def has_no_expired_rows(source: Connects, table: TableConfig) -> bool:
    """Tell whether no expired day from `start_date` on has rows, held ones included; False too if that cannot be told at a glance.

    Raises what `connect` raises, and asks neither for holds nor for what would stop an archive: nothing is there that they could stop.
    """
    with source.connect() as connection:
        seen = glance(connection, table)
        if seen is None:
            return False
        first = Partition(table.start_date, table.timezone)
        newest = newest_expired(now=seen.now, retention_days=table.retention_days, timezone=table.timezone)
        return newest < first or not seen.has_rows(connection, first, newest)
