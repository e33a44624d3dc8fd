"""Trying again what failed for a transient reason of the database.

What belongs here: how often and how long to wait, and that all tries are one piece of work in the log. What does not: the calls to the
store, which its client repeats one by one.
"""

import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

from archiver_assets.errors import PartitionBusy, SourceConflict, SourceUnavailable
from archiver_assets.lifecycle.progress import Activity, at_work
from archiver_assets.lifecycle.task import Task, log

_PAUSES = (0.5, 1.0, 2.0)
"""Seconds between tries, each varied by up to a half, so that many runs that failed together do not come back together."""

Result = TypeVar("Result")


def persistently(task: Task, verb: str, attempt: Callable[[], Result]) -> Result:
    """Return the result of `attempt`, tried again from its beginning after a lost connection or a conflict: every verb may be run twice.

    Raises the error of the last try. A partition that is busy is tried again only after a connection was lost, whose session the server
    may not have ended yet.
    """
    with working(task, verb):
        return _persistently(task, verb, attempt)


def working(task: Task, verb: str) -> AbstractContextManager[Activity]:
    """Return a block whose lines in the log say of which partition and run they are, and how far the verb has got."""
    return at_work(
        f"{verb} {task.label}",
        verb.rpartition(" ")[2],  # of a dry run the verb itself
        database=task.table.database,
        table=task.table.label,
        partition=task.partition.key,
        run_id=task.run_id,
    )


def _persistently(task: Task, verb: str, attempt: Callable[[], Result]) -> Result:
    lost = False
    for pause in _PAUSES:
        try:
            return attempt()
        except (SourceUnavailable, SourceConflict, PartitionBusy) as error:
            if isinstance(error, PartitionBusy) and not lost:
                raise
            lost = True
            log.warning("%s %s: trying again after: %s", verb, task.label, error.message)
        task.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
    return attempt()
