"""The backlog: the expired days of a table that hold rows which no legal hold keeps, as the database says.

What belongs here: walking over those days. What does not: what Dagster knows of runs, or which days to take next (`orchestration`).
"""

from collections.abc import Generator

from archiver_assets.config import TableConfig
from archiver_assets.lifecycle.holds import HoldPlaces
from archiver_assets.partition import Partition, newest_expired
from archiver_assets.source import sql
from archiver_assets.source.catalog import read_server, read_table
from archiver_assets.source.holding import held_rows, read_clock
from archiver_assets.source.session import Source


def expired_partitions(source: Source, table: TableConfig, places: HoldPlaces) -> Generator[Partition, None, None]:
    """Yield the expired partitions from `start_date` on, oldest first, that have rows which no legal hold keeps.

    One probe of the timestamp's index each. Lazy: the session is open until the iterator is closed or exhausted. Raises HoldsUnreadable,
    and what `Source.connect` and `read_table` raise.
    """
    with source.connect() as connection:
        newest = newest_expired(now=read_server(connection).now, retention_days=table.retention_days, timezone=table.timezone)
        shape = read_table(connection, table)
        holds = places.in_force(table, read_clock(connection))
        # Days that are held whole are passed over here: a query would read on over all of their rows.
        partial = held_rows(connection, table, shape, [hold for hold in holds if hold.conditions])
        partition = Partition(table.start_date, table.timezone)
        while partition <= newest:
            if not any(hold.holds_all_of(partition.day) for hold in holds):
                row = connection.execute(sql.first_row(shape.days(partition, newest), partial)).fetchone()
                if row is None:
                    return
                partition = Partition.containing(shape.instant(row["first"], table.timezone), table.timezone)
                if not any(hold.holds_all_of(partition.day) for hold in holds):
                    yield partition
            partition = Partition(partition.next_day, table.timezone)
