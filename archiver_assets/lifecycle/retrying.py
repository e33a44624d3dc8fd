"""Retries of a verb after a transient database error.

What belongs here: the number of retries, the pauses between them, and logging all attempts as one activity. What does not: requests to the
store, which its client retries one by one.
"""

import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

from archiver_assets.errors import PartitionBusy, SourceConflict, SourceUnavailable
from archiver_assets.lifecycle.progress import Activity, at_work
from archiver_assets.lifecycle.task import Task, log

_PAUSES = (0.5, 1.0, 2.0)
"""Seconds between attempts, each varied by up to half, so that many runs that failed together do not all retry at once."""

Result = TypeVar("Result")


def persistently(task: Task, verb: str, attempt: Callable[[], Result]) -> Result:
    """Return the result of `attempt`, repeated from the beginning after a lost connection or a conflict: running a verb twice is harmless.

    Raises the error of the last attempt. PartitionBusy is retried only after one of these errors: the server may not yet have ended the
    lost session, which holds the lock.
    """
    with working(task, verb):
        return _persistently(task, verb, attempt)


def working(task: Task, verb: str) -> AbstractContextManager[Activity]:
    """Return a context manager whose log lines name the partition and the run, and report the verb's progress."""
    return at_work(
        f"{verb} {task.label}",
        verb.rpartition(" ")[2],  # for "dry run of purge", the verb is "purge"
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
