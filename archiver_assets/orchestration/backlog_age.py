"""Since when the rows of an overdue day have waited, as far as one evaluation of `backlog` can tell from the one before it.

This module decides, and reads nothing: `lifecycle/backlog.py` measures, and `check_evaluation.py` gives an evaluation its form.

The rows of a day wait from its expiry on. Rows that come back into the day long afterwards, late or restored, wait from when they were
first seen. Neither the database nor Dagster records when a row came. So an evaluation that found no stalled day records the days that it
knew, and the next one can tell which are new.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from archiver_assets.config import TableConfig
from archiver_assets.lifecycle.backlog import Backlog
from archiver_assets.partition import Partition


@dataclass(frozen=True)
class Seen:
    """What an evaluation at `at` saw: whether days were stalled, and since when rows are back in days that were clean once overdue."""

    at: datetime
    stalled: bool
    back_since: Mapping[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True)
class Stalling:
    """The days that have waited too long, oldest first, and those in which rows are back, with the time they were first seen."""

    stalled: tuple[Partition, ...]
    back_since: Mapping[str, datetime]


def find_stalled(backlog: Backlog, table: TableConfig, before: Seen | None) -> Stalling:
    """Return which of the waiting days wait longer than `max_backlog_days`; none do where that is null."""
    if table.max_backlog_days is None:
        return Stalling((), {})
    most = timedelta(days=table.max_backlog_days)
    stalled, back_since = [], {}
    for partition in backlog.waiting:
        overdue = partition.expires_at(table.retention_days) + most
        if overdue > backlog.now:
            break
        since = _back_since(partition.key, overdue, backlog.now, before)
        if since is None or since + most <= backlog.now:
            stalled.append(partition)
        if since is not None:
            back_since[partition.key] = since
    return Stalling(tuple(stalled), back_since)


def _back_since(day: str, overdue: datetime, now: datetime, before: Seen | None) -> datetime | None:
    """Return when rows were first seen to be back in an overdue day; None if, for all that is known, they never left."""
    if before is None:
        return None
    if day in before.back_since:
        return before.back_since[day]
    # An evaluation that found nothing stalled knew every overdue day with rows as one they are back in.
    return now if overdue <= before.at and not before.stalled else None
