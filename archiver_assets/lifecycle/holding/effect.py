"""How many rows one hold keeps in a table, alone and together with other holds.

What belongs here: counting. What does not: which holds there are (`holds.py`),
and deleting.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from archiver_assets.config import Hold, TableConfig
from archiver_assets.lifecycle.holding.holds import HoldPlaces
from archiver_assets.partition import Partition, newest_expired
from archiver_assets.source.catalog import Connection, Table, count_held, read_server, read_table
from archiver_assets.source.hold_rows import held_rows, read_clock
from archiver_assets.source.preflight import require_index
from archiver_assets.source.session import Source


@dataclass(frozen=True)
class Kept:
    """The rows of a table's expired days: how many a hold keeps, and how many of these no other hold in force keeps."""

    table: TableConfig
    rows: int
    alone: int


def kept_by(source: Source, table: TableConfig, places: HoldPlaces, hold: Hold) -> Kept:
    """Count what a hold keeps, whether it is placed already or not. Reads the table's expired days whole.

    Raises HoldsUnreadable, also for conditions that the table cannot be asked for, and what `Source.connect` and `read_table` raise.
    """
    with source.connect() as connection:
        now = read_server(connection).now
        shape = read_table(connection, table)
        require_index(connection, table)
        others = [each for each in places.in_force(table, read_clock(connection)) if each.id != hold.id]
        newest = newest_expired(now=now, retention_days=table.retention_days, timezone=table.timezone)
        expired = _Expired(connection, table, shape, newest)
        without = expired.count(others)
        return Kept(table, expired.count([hold]), expired.count([*others, hold]) - without)


@dataclass(frozen=True)
class _Expired:
    connection: Connection
    config: TableConfig
    table: Table
    newest: Partition

    def count(self, holds: Sequence[Hold]) -> int:
        first = Partition(self.config.start_date, self.config.timezone)
        if self.newest < first:
            return 0
        held = held_rows(self.connection, self.config, self.table, holds)
        return count_held(self.connection, self.table.days(first, self.newest), held).held
