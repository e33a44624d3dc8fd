"""How large a table is, and about how many rows some of its days have: reported before anything is done.

What belongs here: sizes from the statistics, and row counts up to a limit. What does not: what follows from them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from archiver_assets.config import TableConfig
from archiver_assets.errors import TableRefused
from archiver_assets.partition import Partition
from archiver_assets.source import sql, sql_overview
from archiver_assets.source.catalog import Connection, Table, find_relation


@dataclass(frozen=True)
class TableSize:
    """Bytes of a table with its TOAST, and of its indexes, leaves included; `rows` is the server's estimate."""

    table_bytes: int
    index_bytes: int
    rows: int

    @property
    def all_bytes(self) -> int:
        """Bytes of the table and its indexes together."""
        return self.table_bytes + self.index_bytes

    @property
    def bytes_per_row(self) -> float | None:
        """Bytes per row in the table, without indexes; None if the table is empty, or was never counted."""
        return self.table_bytes / self.rows if self.rows else None


@dataclass(frozen=True)
class RowCount:
    """A number of rows: `counted` one by one, or else estimated by the planner because there are more than the limit."""

    rows: int
    counted: bool


def read_size(connection: Connection, config: TableConfig) -> TableSize:
    """Return the size of a table, from the statistics alone. Raises TableRefused if the role sees no table of that name."""
    found = find_relation(connection, config)
    row = connection.execute(sql_overview.SIZE, [found["oid"]]).fetchone() if found else None
    if row is None:
        message = f"expected a table {config.label} on the server, found none that this role can see"
        raise TableRefused(message, hint="compare schema and name in the config with the database")
    return TableSize(**row)


def count_days(connection: Connection, table: Table, days: Sequence[Partition], most: int) -> RowCount:
    """Count the rows of the days, up to `most`; beyond that, add what the planner expects.

    ACCESS SHARE; reads at most `most` + 1 rows, by the timestamp's index.
    """
    total, counted = 0, True
    for day in days:
        span = table.days(day)
        left = most - total if counted else 0
        found = _count_up_to(connection, span, left + 1) if left else left + 1
        if found > left:
            counted, found = False, max(found - 1, _estimate(connection, span))
        total += found
    return RowCount(total, counted)


def _count_up_to(connection: Connection, span: sql.Days, most: int) -> int:
    row = connection.execute(sql.count_up_to(span.relation, sql.in_days_and_free(span, ()), most)).fetchone()
    return int(row["rows"]) if row else 0


def _estimate(connection: Connection, span: sql.Days) -> int:
    row = connection.execute(sql_overview.estimate(span)).fetchone()
    return int(row["QUERY PLAN"][0]["Plan"]["Plan Rows"]) if row else 0
