"""The bucket's own history of an archive: with versioning, it shows which objects were hidden, replaced or removed.

What belongs here: judging versions and delete markers. What does not: the current objects (`inspection.py`).

The archiver writes each object of a generation once and removes none, so a second version or a delete marker comes from someone else. The
exception is a crash's leftover: data that no manifest ever named, which the next archive hides with a delete marker.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date
from itertools import groupby, islice
from shlex import quote
from typing import Final

from archiver_assets.errors import NotVerified, StoreError, StoreUnavailable
from archiver_assets.lifecycle.generations import Generation
from archiver_assets.lifecycle.task import Task, log
from archiver_assets.store.keys import Mark, PartitionKeys, TableKeys
from archiver_assets.store.manifest import sha256_of
from archiver_assets.store.objects import NULL_VERSION, ObjectStore, Version, read_whole

_MOST_NAMED: Final = 10
"""The maximum number of versions for which a line lists removal commands: an object may have any number of versions."""


@dataclass(frozen=True)
class History:
    """All versions and delete markers of some keys; `problem` is why they are unknown."""

    versions: Sequence[Version] = ()
    problem: str | None = None

    def by_day(self, keys: TableKeys) -> "dict[date | None, History]":
        """Return the history of each day that has any, and, under None, of objects outside all day folders."""
        found: dict[date | None, list[Version]] = {None: []}
        for each in self.versions:
            found.setdefault(keys.day(each.key), []).append(each)
        return {day: History(versions, self.problem) for day, versions in found.items()}

    def numbers(self, keys: PartitionKeys) -> list[int]:
        """Return the numbers of all generations that ever had an object, in order."""
        return sorted({number for each in self.versions if (number := keys.number(each.key)) is not None})


def read_history(store: ObjectStore, prefix: str) -> History:
    """Return the history of all keys that begin with `prefix`. If it may not be read, or the store has none, set `problem`."""
    try:
        return History(tuple(store.history(prefix)))
    except StoreUnavailable:
        raise
    except StoreError as error:
        return History(problem=f"what was hidden or replaced cannot be told: {error.message}")


def changes(task: Task, history: History, generations: Mapping[int, Generation]) -> Iterator[str]:
    """Yield each change to the day's objects that the archiver itself would not make, one line each, with how to undo it.

    Data belong to a generation if its manifest, among `generations`, names them: a crash may have left other data earlier. If that manifest
    existed but cannot be read, all data with its number belong to it.
    """
    keys, manifests = (
        task.keys,
        {mark[1] for each in history.versions if (mark := task.keys.parse_mark(each.key)) and mark[0] is Mark.MANIFEST},
    )

    def committed(key: str) -> bool:
        number = keys.number(key)
        if number is None or keys.parse_mark(key) is not None:
            return number is not None
        return generations[number].object_key == key if number in generations else number in manifests

    yield from _changes(task.store, history, committed)


def require_manifest_as_written(task: Task, generation: Generation, *, versioned: bool) -> None:
    """Raise NotVerified unless the manifest is the one written first, according to the bucket's versions, if it keeps them.

    A lock keeps a version, but lets anyone write another one above it: data and manifest forged together prove each other. `versioned` is
    whether the store reported a version of the data, since a forged manifest might name none. The oldest version's content is compared: a
    manifest that was put back is valid again, and one that was replaced only while it was read is not.
    """
    if not versioned and generation.manifest.object.version_id is None:
        return
    key = task.keys.mark(Mark.MANIFEST, generation.number)
    history = read_history(task.store, key)
    if history.problem:
        log.warning("%s: generation %s: %s", task.label, generation.number, history.problem)
        return
    versions = [each for each in history.versions if each.key == key]
    found = list(_changes_of_one(task.store.uri(key), versions))
    if not _is_oldest(task, generation, versions):
        found = found or [f"{task.store.uri(key)}, as it was read, is not the oldest version"]
        message = f"{task.label}: generation {generation.number}: {'; '.join(found)}"
        hint = "see who else writes, and remove newer versions, or copy the oldest over locked ones; no row was deleted by this generation"
        raise NotVerified(message, hint=hint)
    if found:
        log.warning("%s: generation %s: the oldest manifest is current again: %s", task.label, generation.number, "; ".join(found))


def _is_oldest(task: Task, generation: Generation, versions: Sequence[Version]) -> bool:
    contents = [each for each in versions if not each.marker]
    if any(each.marker and each.current for each in versions):
        return False
    if len(contents) > 1 and contents[-1].at == contents[-2].at:
        return False  # it is unknown which of the two is older
    # If a store lists no versions, use the current object.
    version = (contents[-1].version_id or NULL_VERSION) if contents else None
    data = read_whole(task.store, task.keys.mark(Mark.MANIFEST, generation.number), version_id=version)
    return sha256_of(data) == generation.manifest_sha256


def changes_of_sources(task: Task, history: History) -> Iterator[str]:
    """Yield the same for the table's accepted sources."""
    yield from _changes(task.store, history, lambda key: task.table_keys.source_number(key) is not None)


def _changes(store: ObjectStore, history: History, ours: Callable[[str], bool]) -> Iterator[str]:
    for key, of_key in groupby(history.versions, key=lambda each: each.key):
        if ours(key):
            yield from _changes_of_one(store.uri(key), list(of_key))


def _changes_of_one(uri: str, versions: Sequence[Version]) -> Iterator[str]:
    markers, contents = [each for each in versions if each.marker], [each for each in versions if not each.marker]
    hidden = next((each for each in markers if each.current), None)
    if hidden is not None:
        left = f"version {contents[0].version_id} is left" if contents else "no version is left"
        yield f"{uri} was removed: the delete marker {_named(hidden)} hides it, and {left}; to have it back: {_removing(uri, [hidden])}"
    elif markers:
        yield f"{uri} was removed, and came back: the delete marker {_named(markers[0])} is in its history"
    if len(contents) > 1:
        oldest, newer = contents[-1], contents[:-1]
        undoing = f"to have the oldest back, {_named(oldest)}: {_removing(uri, newer)}"
        if len(newer) > _MOST_NAMED:
            undoing += f"; and so with {len(newer) - _MOST_NAMED} more, which aws s3api list-object-versions names"
        yield f"{uri} was replaced: it has {len(contents)} versions, and the archiver writes it once; {undoing}"


def _named(version: Version) -> str:
    return f"{version.version_id} of {version.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _removing(uri: str, versions: Iterable[Version]) -> str:
    bucket, _, key = uri.partition("://")[2].partition("/")
    place = f"--bucket {quote(bucket)} --key {quote(key)}"
    named = islice(versions, _MOST_NAMED)
    return "; ".join(f"aws s3api delete-object {place} --version-id {quote(each.version_id or NULL_VERSION)}" for each in named)
