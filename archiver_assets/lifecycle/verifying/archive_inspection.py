"""Inspection of a whole table's archive: which days to inspect, and comparing each with earlier reports.

What belongs here: merging the days in the store, in the bucket's history and in witnesses. What does not: inspecting one day
(`inspection.py`), listing the store (`archive_listing.py`), and printing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date

from archiver_assets.lifecycle.task import Task
from archiver_assets.lifecycle.verifying.archive_listing import in_range, list_table
from archiver_assets.lifecycle.verifying.bucket_history import History, read_history
from archiver_assets.lifecycle.verifying.inspection import Inspection, inspect_day, inspect_table
from archiver_assets.lifecycle.verifying.readback import Verification
from archiver_assets.lifecycle.verifying.witness import Witness
from archiver_assets.partition import Partition

Days = tuple[date | None, date | None]
"""The first and last day, both included; None means no limit."""


@dataclass(frozen=True)
class ArchiveInspection:
    """The findings in a table's folder outside all days (`table`), and for each day, oldest first (`days`)."""

    table: Inspection
    days: tuple[Inspection, ...]

    @property
    def all(self) -> tuple[Inspection, ...]:
        """The table's inspection, then the days'."""
        return (self.table, *self.days)

    @property
    def verifications(self) -> list[Verification]:
        """The verifications of all generations that were read back."""
        return [verification for each in self.days for verification in each.verifications]

    @property
    def digests(self) -> dict[str, str]:
        """The digests of all manifests and marks, by key relative to the table's folder."""
        return {name: digest for each in self.all for name, digest in each.digests.items()}


def inspect_archive(
    task: Task,
    days: Days,
    witnesses: Sequence[Witness],
    *,
    copied: bool = False,
    told: Callable[[Inspection], None],
) -> ArchiveInspection:
    """Inspect a table's folder and its days; `told` receives each result at once. `task` is for any day of the table.

    A day is inspected if the store has objects of it, or once had some according to the bucket's versions or a witness. With `copied`, the
    bucket's versions are not read: those of a copy only show how it was made. Raises the errors of the store.
    """
    store, keys = task.store, task.table_keys
    objects = list_table(store, keys).between(*days)
    history = {} if copied else read_history(store, keys.folder).by_day(keys)
    seen = [(witness, witness.by_day(task.table.label, keys)) for witness in witnesses]
    ever = {*history, *(day for _, of_days in seen for day in of_days)}
    inspected = sorted({day for day in ever if day is not None and in_range(day, *days)}.union(objects.days))

    def compared(found: Inspection, day: date | None) -> Inspection:
        for witness, of_days in seen:
            found.mismatches += witness.contradictions(of_days.get(day, {}), found.digests, keys)
        told(found)
        return found

    def of_day(day: date) -> Inspection:
        its_task = replace(task, partition=Partition(day, task.table.timezone))
        return compared(inspect_day(its_task, history.get(day, History()), copied=copied), day)

    table = compared(inspect_table(task, objects, history.get(None, History())), None)
    return ArchiveInspection(table, tuple(map(of_day, inspected)))
