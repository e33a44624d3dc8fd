"""The event log of a Dagster instance: the events of one kind, of all runs, from a position on.

What belongs here: the calls of Dagster's storage that are not public, and when no earlier event can still arrive. What does not: the
meaning of an event (`events.py`, `figures.py`).

Every event has a storage id, and a read is a range of the index on (type, id): its cost does not depend on the length of the log. The
public calls do not fit: `fetch_materializations` reads one of thousands of assets at a time, and no public call reads the evaluations of
checks by id (https://docs.dagster.io/api/dagster/internals). Tests cover the private calls.
"""

from collections.abc import Mapping
from typing import Final

import dagster as dg
from dagster._core.events.log import EventLogEntry

SETTLED_AFTER: Final = 5.0
"""Seconds after which no event with a lower storage id is still to come: ids are drawn before transactions commit."""
OLD_AFTER: Final = 30.0
"""Seconds since an event's own time after which it counts as one of the past: a clock that lags, or a storage that was waited for, by less
than that makes no event look older than it is."""


def last_id(instance: dg.DagsterInstance) -> int:
    """Return the highest storage id; 0 if there is none."""
    return instance.event_log_storage.get_maximum_record_id() or 0


def entries_after(instance: dg.DagsterInstance, position: int, kind: dg.DagsterEventType, limit: int) -> Mapping[int, EventLogEntry]:
    """Return the next events of a kind after a storage id, in their order; from SQLite's files per run too."""
    return instance.event_log_storage.get_logs_for_all_runs_by_log_id(position, dagster_event_type=kind, limit=limit)
