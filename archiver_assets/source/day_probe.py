"""Whether a table has a row in a range of days, in three statements: the cost of a tick without a backlog.

What belongs here: this question, answered only where the answer is certain. What does not: a table's other problems, which are checked
before anything is done (`catalog.py`, `preflight.py`) and reported every day by the check `preflight`.

Imports no Arrow, so that a code server whose tables have no backlog never loads it.
"""

from dataclasses import dataclass
from datetime import datetime

from archiver_assets.config import TableConfig
from archiver_assets.partition import Partition
from archiver_assets.source import sql, sql_catalog
from archiver_assets.source.ranges import days_between
from archiver_assets.source.session import Connection


@dataclass(frozen=True)
class Glance:
    """A table in which one index probe finds the first row of a range of days; `now` is the clock of its database."""

    relation: sql.Relation
    timestamp_column: str
    builtin_type: str
    now: datetime

    def has_rows(self, connection: Connection, first: Partition, last: Partition) -> bool:
        """Return whether the days from `first` to `last`, both included, have a row."""
        days = days_between(self.relation, self.timestamp_column, self.builtin_type, first, last)
        return connection.execute(sql.first_row(days, ())).fetchone() is not None


def glance(connection: Connection, config: TableConfig) -> Glance | None:
    """Return what a probe needs; None if the table is unusual in any way, so that the whole catalog must be read."""
    names = [config.schema_name, config.name, config.timestamp_column]
    found = connection.execute(sql_catalog.GLANCE, names).fetchone()
    if found is None or config.timestamp_column in config.columns:
        return None
    if connection.execute(sql_catalog.LEAVES_WITHOUT_INDEX, [found["oid"], config.timestamp_column]).fetchone() is not None:
        return None
    return Glance(sql.Relation(config.schema_name, config.name), config.timestamp_column, found["builtin_type"], found["now"])
