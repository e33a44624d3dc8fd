"""Totals of a table's archive, from one listing and the newest manifests and receipts.

What belongs here: counts from the names of objects, and means over the newest generations. What does not: which rows are archived, for
which each manifest of a partition is read (`generations.py`), and reading data.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TypeVar

from archiver_assets.config import billed_bytes
from archiver_assets.errors import ManifestInvalid, ObjectMissing
from archiver_assets.store.keys import Mark, TableKeys
from archiver_assets.store.manifest import Manifest, Receipt, decode
from archiver_assets.store.objects import ObjectStore, StoredObject, read_whole

NEWEST = 10
"""Manifests, and receipts, that are read of a table: means over them follow what its rows are like now."""

Facts = TypeVar("Facts", Manifest, Receipt)


@dataclass(frozen=True)
class Means:
    """Of the newest generations: the bytes of a row in the archive, and the rows purged in a second; None where there are none."""

    bytes_per_row: float | None = None
    purged_per_second: float | None = None


@dataclass(frozen=True)
class Inventory:
    """The archive of a table. Days are keys of partitions, in order.

    `days` have a generation that counts, `purged` are those of them all of whose generations have a receipt, `interrupted` those with a
    purge that has begun and not ended. `rejected` names generations that failed their verification. `bytes` are those of all objects,
    `billed` what they count for in the bucket's storage class, `leftovers` the number of data objects that no manifest names. `damaged`
    are messages about manifests or receipts that cannot be read.
    """

    days: tuple[str, ...] = ()
    purged: tuple[str, ...] = ()
    interrupted: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()
    generations: int = 0
    bytes: int = 0
    billed: int = 0
    leftovers: int = 0
    last_archived: datetime | None = None
    last_purged: datetime | None = None
    means: Means = field(default_factory=Means)
    damaged: tuple[str, ...] = ()


def read_inventory(store: ObjectStore, keys: TableKeys, storage_class: str) -> Inventory:
    """Return what lies in the archive of a table.

    One request for each thousand objects (four or so a day), and at most NEWEST manifests and NEWEST receipts, one request each.
    Raises StoreError and StoreUnavailable.
    """
    folders = _list_days(store, keys)
    days = [_day(keys, day, objects) for day, objects in sorted(folders.items())]
    damaged: list[str] = []
    manifests = _read_newest(store, (each for day in days for each in day.manifests), Manifest, damaged)
    receipts = _read_newest(store, (each for day in days for each in day.receipts), Receipt, damaged)
    objects = [each for objects in folders.values() for each in objects]
    return Inventory(
        days=tuple(day.key for day in days if day.live),
        purged=tuple(day.key for day in days if day.live and day.live <= day.marks[Mark.PURGED]),
        interrupted=tuple(day.key for day in days if day.marks[Mark.PURGING] - day.marks[Mark.PURGED]),
        rejected=tuple(f"{day.key} generation {number}" for day in days for number in sorted(day.rejected)),
        generations=sum(len(day.live) for day in days),
        bytes=sum(each.bytes for each in objects),
        billed=sum(billed_bytes(each.bytes, storage_class) if each.key.endswith(".parquet") else each.bytes for each in objects),
        leftovers=sum(day.leftovers for day in days),
        last_archived=max((each.archived_at for each in manifests), default=None),
        last_purged=max((each.at for each in receipts), default=None),
        means=_means(manifests, receipts),
        damaged=tuple(damaged),
    )


def live_days(store: ObjectStore, keys: TableKeys) -> frozenset[date]:
    """Return the days of a table with a generation that counts, as the names of objects say: one request for each thousand of them.

    Raises StoreError and StoreUnavailable.
    """
    days = (_day(keys, day, objects) for day, objects in _list_days(store, keys).items())
    return frozenset(date.fromisoformat(day.key) for day in days if day.live)


def _list_days(store: ObjectStore, keys: TableKeys) -> dict[str, list[StoredObject]]:
    folders = defaultdict[str, list[StoredObject]](list)
    for found in store.list(f"{keys.folder}dt="):
        if (day := keys.day(found.key)) is not None:
            folders[day.isoformat()].append(found)
    return folders


@dataclass(frozen=True)
class _Day:
    """The folder of a partition: the numbers of its generations by the marks that they have."""

    key: str
    marks: dict[Mark, set[int]]
    manifests: list[StoredObject]
    receipts: list[StoredObject]
    leftovers: int

    @property
    def rejected(self) -> set[int]:
        """Those that do not count: a rejection beside a purge that has begun is void."""
        return (self.marks[Mark.REJECTED] - self.marks[Mark.PURGING]) & self.marks[Mark.MANIFEST]

    @property
    def live(self) -> set[int]:
        """Those that count."""
        return self.marks[Mark.MANIFEST] - self.rejected


def _day(keys: TableKeys, day: str, objects: list[StoredObject]) -> _Day:
    names = keys.partition(day)
    marks: dict[Mark, set[int]] = {mark: set() for mark in Mark}
    by_mark = defaultdict[Mark, list[StoredObject]](list)
    data: list[int] = []
    for each in objects:
        if mark := names.parse_mark(each.key):
            marks[mark[0]].add(mark[1])
            by_mark[mark[0]].append(each)
        elif (number := names.number(each.key)) is not None:
            data.append(number)
    # Attempts that failed before the one that a manifest names have its number too.
    leftovers = len(data) - len(marks[Mark.MANIFEST] & set(data))
    return _Day(day, marks, by_mark[Mark.MANIFEST], by_mark[Mark.PURGED], leftovers)


def _read_newest(store: ObjectStore, objects: Iterable[StoredObject], kind: type[Facts], damaged: list[str]) -> list[Facts]:
    newest = sorted(objects, key=_age, reverse=True)[:NEWEST]
    facts = []
    for each in newest:
        try:
            facts.append(decode(kind, read_whole(store, each.key), key=each.key))
        except (ManifestInvalid, ObjectMissing) as error:
            damaged.append(error.message)
    return facts


def _age(found: StoredObject) -> tuple[float, str]:
    return (found.modified_at.timestamp() if found.modified_at else 0.0, found.key)


def _means(manifests: list[Manifest], receipts: list[Receipt]) -> Means:
    rows = sum(each.rows for each in manifests)
    purged = sum(each.rows_purged_by_version + each.rows_purged_by_content for each in receipts)
    seconds = sum((each.at - each.started_at).total_seconds() for each in receipts)
    return Means(
        bytes_per_row=sum(each.object.bytes for each in manifests) / rows if rows else None,
        purged_per_second=purged / seconds if purged and seconds > 0 else None,
    )
