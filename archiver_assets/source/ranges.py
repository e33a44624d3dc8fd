"""Days as ranges of a timestamp column, in the column's own type.

What belongs here: that conversion. What does not: which days (`partition.py`), and the column's type (`catalog.py`, `day_probe.py`).
"""

from datetime import date, datetime

from archiver_assets.partition import Partition
from archiver_assets.source import sql


def days_between(relation: sql.Relation, column: str, builtin_type: str, first: Partition, last: Partition) -> sql.Days:
    """Return the range of all days from `first` to `last`, both included; `builtin_type` is timestamptz, timestamp or date."""
    if builtin_type == "timestamptz":
        return sql.Days(relation, column, first.start, last.end)
    if builtin_type == "date":
        return sql.Days(relation, column, first.day, last.next_day)
    return sql.Days(relation, column, midnight(first.day), midnight(last.next_day))


def midnight(day: date) -> datetime:
    """Return the start of a day without a time zone, like the values of a `timestamp` column."""
    return datetime(day.year, day.month, day.day)  # noqa: DTZ001 - see above
