"""The standing of a table: its backlog, its archive, and the size of both.

What belongs here: combining what the database and the store report. What does not: Dagster's records of runs, and printing.
"""

from dataclasses import dataclass

from archiver_assets.config import TableConfig
from archiver_assets.lifecycle.archive_only import done_days
from archiver_assets.lifecycle.backlog import Backlog, measure_backlog
from archiver_assets.lifecycle.holding.holds import HoldPlaces
from archiver_assets.lifecycle.reporting.archive_totals import Inventory, read_inventory
from archiver_assets.source.session import Source
from archiver_assets.source.table_size import TableSize, read_size
from archiver_assets.store.keys import TableKeys


@dataclass(frozen=True)
class Standing:
    """The standing of a table now. `late` are the waiting days that were archived and purged before: rows came back into them."""

    backlog: Backlog
    archived: Inventory
    size: TableSize

    @property
    def late(self) -> tuple[str, ...]:
        """The keys of those days, oldest first."""
        purged = set(self.archived.purged)
        return tuple(day.key for day in self.backlog.waiting if day.key in purged)

    @property
    def ratio(self) -> float | None:
        """How many times smaller a row is in the archive than in the table; None where one of the two is not known."""
        here, there = self.size.bytes_per_row, self.archived.means.bytes_per_row
        return here / there if here and there else None


def read_standing(source: Source, table: TableConfig, places: HoldPlaces, keys: TableKeys, storage_class: str) -> Standing:
    """Return the standing of a table. Costs and raises as `done_days`, `read_inventory` and `measure_backlog`."""
    with source.connect() as connection:
        size = read_size(connection, table)
    backlog = measure_backlog(source, table, places, done_days(places.store, keys, table))
    return Standing(backlog, read_inventory(places.store, keys, storage_class), size)
