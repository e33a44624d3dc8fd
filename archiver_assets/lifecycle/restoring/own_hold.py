"""The hold that a restore places on rows it loads back into the archived table, so that the next purge keeps them.

What belongs here: its days and duration, and placing it only once. What does not: its form as an object (`store/hold_objects.py`).
"""

import re
from collections.abc import Sequence
from datetime import date, timedelta
from secrets import token_hex

from archiver_assets.config import Hold
from archiver_assets.errors import ObjectExists
from archiver_assets.lifecycle.generations import Generation
from archiver_assets.lifecycle.task import Task
from archiver_assets.partition import Partition
from archiver_assets.source.catalog import Connection
from archiver_assets.source.hold_rows import read_clock
from archiver_assets.store.hold_objects import is_placed, place_hold

_REQUESTOR = "archiver restore"
_ID = re.compile(r"restored-[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9a-f]{16}")


def is_of_a_restore(hold: Hold) -> bool:
    """Return whether a restore placed the hold."""
    # Check both, so that a person's hold with such an id is not mistaken for a restore's.
    return hold.requestor == _REQUESTOR and bool(_ID.fullmatch(hold.id))


class OwnHold:
    """The hold of one restore, shared by all its tries: one of them may have committed its rows and lost the answer."""

    def __init__(self) -> None:
        """Start without a placed hold."""
        self._placed: Hold | None = None

    @property
    def id(self) -> str | None:
        """The hold's id once placed, or None."""
        return self._placed.id if self._placed else None

    def place(self, task: Task, connection: Connection, generations: Sequence[Generation], days: int) -> None:
        """Hold the rows of `generations` for `days` days from now, by the database's clock, unless the hold is already placed."""
        if self._placed is None:
            first, last = _days_of(task, generations)
            hold = Hold(
                id=f"restored-{task.partition.key}-{token_hex(8)}",
                reason=f"restored from the archive of {task.label} by run {task.run_id}",
                requestor=_REQUESTOR,
                schema_name=task.table.schema_name,
                table_name=task.table.name,
                first_day=first,
                last_day=last,
                expiration_date=read_clock(connection) + timedelta(days=days),
            )
            _place(task, hold)
            self._placed = hold


def _days_of(task: Task, generations: Sequence[Generation]) -> tuple[date, date]:
    # If the time zone was changed since, the rows also belong to neighbouring days.
    manifests = [generation.manifest for generation in generations]
    ends = [instant for each in manifests for instant in (each.timestamp_min, each.timestamp_max)]
    days = [task.partition.day, *(Partition.containing(instant, task.table.timezone).day for instant in ends)]
    return min(days), max(days)


def _place(task: Task, hold: Hold) -> None:
    try:
        place_hold(task.store, task.prefix, hold)
    except ObjectExists:
        # A client that gets no answer retries by itself, and finds the hold that it placed.
        if not is_placed(task.store, task.prefix, hold):
            raise
