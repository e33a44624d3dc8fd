"""The days and generations of a table in the store, without using its database.

What belongs here: listing objects and reading marks. What does not: the objects' data (`inspection.py`), and anything that writes.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date

from archiver_assets.errors import ManifestInvalid
from archiver_assets.lifecycle.generations import Generation, Generations, generations_among
from archiver_assets.lifecycle.source_identity import accepted_source, identity
from archiver_assets.lifecycle.task import Task
from archiver_assets.store.keys import TableKeys
from archiver_assets.store.manifest import AcceptedSource
from archiver_assets.store.objects import ObjectStore

_AT_ONCE = 8
"""The number of days read at the same time: each needs a few small requests, which wait for the store, not for this machine."""


@dataclass(frozen=True)
class TableObjects:
    """The keys of a table's objects: by day, oldest first, for days that have any; and those outside all day folders."""

    days: dict[date, tuple[str, ...]]
    strays: tuple[str, ...]

    def between(self, first: date | None, last: date | None) -> "TableObjects":
        """Return the same with only the days from `first` to `last`, both included; None means no limit."""
        return replace(self, days={day: keys for day, keys in self.days.items() if in_range(day, first, last)})


@dataclass(frozen=True)
class SurveyedDay:
    """A day of a table in the store: its committed generations in order, or the `problem` that prevented reading them."""

    day: date
    generations: tuple[Generation, ...] = ()
    problem: ManifestInvalid | None = None

    @property
    def live(self) -> tuple[Generation, ...]:
        """The live generations."""
        return tuple(each for each in self.generations if each.live)


def in_range(day: date, first: date | None, last: date | None) -> bool:
    """Return whether a day lies between `first` and `last`, both included; None means no limit."""
    return (first is None or first <= day) and (last is None or day <= last)


def list_table(store: ObjectStore, keys: TableKeys) -> TableObjects:
    """Return the objects in a table's folder, from one listing."""
    days: dict[date, list[str]] = {}
    strays = []
    for found in store.list(keys.folder):
        day = keys.day(found.key)
        if day is not None:
            days.setdefault(day, []).append(found.key)
        elif keys.source_number(found.key) is None:
            strays.append(found.key)
    return TableObjects({day: tuple(days[day]) for day in sorted(days)}, tuple(strays))


def survey(task_of: Callable[[date], Task], objects: TableObjects) -> Iterator[SurveyedDay]:
    """Yield the days, oldest first, with their generations; those from a source before the accepted one are marked `former`.

    Raises ManifestInvalid if the accepted source itself cannot be read, and the errors of the store.
    """
    days: Sequence[date] = list(objects.days)
    if not days:
        return
    first = task_of(days[0])
    accepted = accepted_source(first.store, first.table_keys)
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        yield from threads.map(lambda day: _surveyed(task_of(day), objects.days[day], accepted), days)


def _surveyed(task: Task, keys: Sequence[str], accepted: AcceptedSource | None) -> SurveyedDay:
    try:
        generations = generations_among(task, keys)
    except ManifestInvalid as problem:
        return SurveyedDay(task.partition.day, problem=problem)
    return SurveyedDay(task.partition.day, _marked(generations, accepted))


def _marked(generations: Generations, accepted: AcceptedSource | None) -> tuple[Generation, ...]:
    if accepted is None:
        return generations.committed
    return tuple(replace(each, former=identity(each.manifest.source) != identity(accepted)) for each in generations.committed)
