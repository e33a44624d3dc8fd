"""The hold that a restore places on rows which it puts back into the archived table, so that the next purge leaves them.

What belongs here: its days, how long it lasts, that it is placed once. What does not: its form as an object (`store/hold_objects.py`).
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
    """Tell whether a restore placed the hold."""
    # Both, so that a person's hold with such a name is not taken for one of ours.
    return hold.requestor == _REQUESTOR and bool(_ID.fullmatch(hold.id))


class OwnHold:
    """The hold of one restore, through all its tries: one of them may have committed its rows, and lost the answer."""

    def __init__(self) -> None:
        """Nothing is placed yet."""
        self._placed: Hold | None = None

    @property
    def id(self) -> str | None:
        """Its id, once it was placed."""
        return self._placed.id if self._placed else None

    def place(self, task: Task, connection: Connection, generations: Sequence[Generation], days: int) -> None:
        """Hold the rows of `generations` for that many days from now by the database's clock, unless it was placed before."""
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
    # Under a time zone that was changed since, the rows are of neighbouring days too.
    manifests = [generation.manifest for generation in generations]
    ends = [instant for each in manifests for instant in (each.timestamp_min, each.timestamp_max)]
    days = [task.partition.day, *(Partition.containing(instant, task.table.timezone).day for instant in ends)]
    return min(days), max(days)


def _place(task: Task, hold: Hold) -> None:
    try:
        place_hold(task.store, task.prefix, hold)
    except ObjectExists:
        # A client that gets no answer asks again by itself, and finds what it has placed.
        if not is_placed(task.store, task.prefix, hold):
            raise
