"""Since when the rows of overdue days wait, as far as one evaluation of `backlog` can tell from the one before it.

What belongs here: that pure decision. What does not: measuring (`lifecycle/backlog.py`), and the form of an evaluation
(`check_evaluation.py`).

A day's rows wait since it expired, but for rows that came back into it long after, late or restored: they wait since they were first seen.
The database does not say when a row came, and Dagster does not know; but an evaluation that found no day stalled leaves the days that it
knew of, so that the next one can tell new ones.
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
