"""The generations of a partition in the store, and how they relate to the current table.

What belongs here: reading manifests and marks, comparing a generation with the table and its source, rejecting a generation, and removing
what crashes left. What does not: reading the data of the objects.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from archiver_assets.errors import ManifestInvalid, ObjectExists, ObjectMissing, StoreError
from archiver_assets.lifecycle.source_identity import identity, require_accepted
from archiver_assets.lifecycle.task import Step, Task, log
from archiver_assets.source.catalog import Server, Table
from archiver_assets.store.keys import LAST_GENERATION, Mark
from archiver_assets.store.manifest import Manifest, Receipt, Rejected, decode, encode, sha256_of
from archiver_assets.store.objects import read_whole
from archiver_assets.untrusted_text import bounded

MOST_OBJECTS: Final = 100_000
"""The largest number of objects below a partition's folder; their keys are held in memory. A generation usually has three."""

State = Literal["live", "rejected", "former source", "purging", "purged"]


@dataclass(frozen=True)
class Generation:
    """One committed archive of a partition.

    `object_key` is the current key of its object. `receipt` is None until the generation has been purged. `former` is true if its source
    has since been replaced by another one (`source_identity.py`): the generation is still live, but covers none of today's rows.
    """

    manifest: Manifest
    manifest_sha256: str
    object_key: str
    receipt: Receipt | None = None
    purging: bool = False
    rejected: bool = False
    former: bool = False

    @property
    def number(self) -> int:
        """The number of the generation, from 1."""
        return self.manifest.generation

    @property
    def live(self) -> bool:
        """Whether the generation is part of the archive. Once a purge has begun, a rejection is void: the rows may exist nowhere else."""
        return self.purging or not self.rejected

    @property
    def open(self) -> bool:
        """Whether this generation may still purge rows from the table. A rejected generation never does, even if its purge had begun."""
        return self.receipt is None and not self.rejected and not self.former

    @property
    def state(self) -> State:
        """The state of the generation in one word."""
        if self.receipt is not None:
            return "purged"
        if not self.live:
            return "rejected"
        return "former source" if self.former else "purging" if self.purging else "live"


@dataclass(frozen=True)
class Generations:
    """The contents of a partition's folder: committed generations in order, the next free number, and keys of objects left by crashes."""

    committed: tuple[Generation, ...]
    next_number: int
    leftovers: tuple[str, ...]

    @property
    def live(self) -> tuple[Generation, ...]:
        """The live generations, in order."""
        return tuple(each for each in self.committed if each.live)

    @property
    def open(self) -> tuple[Generation, ...]:
        """The generations that may still purge rows, oldest first."""
        return tuple(each for each in self.committed if each.open)


def read_generations(task: Task) -> Generations:
    """Return the partition's generations. Raises ManifestInvalid for a manifest or a mark that cannot be believed."""
    keys = [found.key for found in task.store.list(task.keys.folder, at_most=MOST_OBJECTS + 1)]
    if len(keys) > MOST_OBJECTS:
        message = f"expected at most {MOST_OBJECTS:,} objects below {task.store.uri(task.keys.folder)}, found more"
        raise ManifestInvalid(message, hint="find out what else writes there; nothing was deleted")
    return generations_among(task, keys)


def generations_among(task: Task, keys: Iterable[str]) -> Generations:
    """Return the generations that the given `keys` of the partition belong to. Raises as `read_generations` does."""
    keys = tuple(keys)
    marks = {mark for key in keys if (mark := task.keys.parse_mark(key))}
    committed = tuple(read_generation(task, number, marks) for number in sorted({number for _, number in marks}))
    numbers = {key: number for key in keys if (number := task.keys.number(key)) is not None}
    named = {each.object_key for each in committed}
    # A number with a mark was committed once, so its data is not a leftover, whatever its manifest says.
    marked = {number for _, number in marks}
    leftovers = tuple(key for key, number in numbers.items() if number not in marked and key not in named)
    last = max(numbers.values(), default=0)
    if last >= LAST_GENERATION:
        message = f"expected generations below {LAST_GENERATION:,} in {task.store.uri(task.keys.folder)}, found {last}"
        raise ManifestInvalid(message, hint="the archiver never writes so many: find out what else writes there; nothing was deleted")
    return Generations(committed, last + 1, leftovers)


def read_generation(task: Task, number: int, marks: set[tuple[Mark, int]]) -> Generation:
    """Return the generation `number`, given the partition's `marks`. Raises ManifestInvalid if its manifest or receipt is not valid."""
    key = task.keys.mark(Mark.MANIFEST, number)
    if (Mark.MANIFEST, number) not in marks:
        message = f"expected {key} beside the other marks of generation {number}, found none"
        raise ManifestInvalid(message, hint="recover the manifest from an older version or a copy; nothing was deleted")
    data = read_whole(task.store, key)
    manifest = decode(Manifest, data, key=key)
    object_key = _require_own(task, manifest, number, key)
    receipt_key = task.keys.mark(Mark.PURGED, number)
    receipt = decode(Receipt, read_whole(task.store, receipt_key), key=receipt_key) if (Mark.PURGED, number) in marks else None
    if receipt is not None and receipt.manifest_sha256 != sha256_of(data):
        message = f"expected the receipt {receipt_key} to hold the digest of the manifest {key}, found the digest of another manifest"
        raise ManifestInvalid(message, hint="compare both objects with their older versions or a copy; nothing was deleted")
    return Generation(
        manifest, sha256_of(data), object_key, receipt, purging=(Mark.PURGING, number) in marks, rejected=(Mark.REJECTED, number) in marks
    )


def _require_own(task: Task, manifest: Manifest, number: int, key: str) -> str:
    table = task.table
    day = manifest.partition.day.isoformat()
    expected = (table.database, table.schema_name, table.name, task.partition.key, number)
    found = (manifest.database, manifest.schema_name, manifest.table, day, manifest.generation)
    object_key = task.keys.rows(manifest.object.key, number)
    if found == expected and object_key is not None:
        return object_key
    spoken = bounded(f"{found} and {manifest.object.key}")
    message = f"expected the manifest {key} to describe {expected} and an object in the same folder, found {spoken}"
    raise ManifestInvalid(message, hint="it was moved or replaced: compare it with its older versions; nothing was deleted")


def own_generations(task: Task, server: Server) -> Generations:
    """Return the partition's generations, with `former` set on those of a former source.

    Raises SourceChanged if the archive is of another server or database and this one has not been accepted.
    """
    generations = read_generations(task)
    require_accepted(task, server, [each.manifest.source for each in generations.live])
    committed = tuple(replace(each, former=identity(each.manifest.source) != identity(server)) for each in generations.committed)
    return replace(generations, committed=committed)


def drift(task: Task, table: Table, generation: Generation) -> list[str]:
    """Return how the table's shape differs from the one that the generation recorded; empty if it does not.

    A generation of another shape covers none of the table's current rows.
    """
    manifest = generation.manifest
    return [
        *_changed("columns", manifest.fingerprint, table.fingerprint),
        *_changed("primary key", manifest.primary_key, task.table.primary_key),
        *_changed("timestamp column", manifest.partition.column, table.timestamp.name),
    ]


def versions_believed(generation: Generation, server: Server, table: Table) -> bool:
    """Return whether a key and an xmin can name the same row here as in the generation: same table oid and same timeline.

    A single xmin can still be in doubt (`believed_versions.py`).
    """
    source = generation.manifest.source
    return (source.table_oid, source.timeline) == (table.oid, server.timeline)


def _changed(what: str, then: object, now: object) -> Iterator[str]:
    if then != now:
        yield f"{what} {then} is now {now}"


def remove_leftovers(task: Task, generations: Generations) -> None:
    """Remove what crashed archives left: objects that no manifest names, and unfinished uploads. The caller holds the lock.

    Leftover objects of the newest number stay until `remove_newest_leftovers`. In a versioned bucket, removal only adds a delete marker.
    If the store refuses, the leftovers stay and do no harm; the failure is logged.
    """
    _remove(task, [key for key in generations.leftovers if not _is_newest(task, generations, key)], uploads=True)


def remove_newest_leftovers(task: Task, generations: Generations) -> None:
    """Remove the leftover objects of the newest number, once an object of a newer number exists or is not needed.

    Until then they keep their number from being used again. The manifest of that number may have been removed, and the bucket's history
    could not tell a second manifest under the same key from a forged one.
    """
    if newest := [key for key in generations.leftovers if _is_newest(task, generations, key)]:
        _remove(task, newest, uploads=False)


def _is_newest(task: Task, generations: Generations, key: str) -> bool:
    return task.keys.number(key) == generations.next_number - 1


def _remove(task: Task, keys: Sequence[str], *, uploads: bool) -> None:
    try:
        aborted = task.store.abort_uploads(f"{task.keys.folder}rows-") if uploads else 0
        for key in keys:
            task.store.remove(key)
    except StoreError as error:
        log.warning("%s: could not remove the leftovers of an earlier archive: %s (%s)", task.label, error.message, error.hint)
        return
    if aborted or keys:
        log.info("%s: removed %s objects and %s uploads left by an earlier archive", task.label, len(keys), aborted)


def reject(task: Task, generation: Generation, mismatches: tuple[str, ...]) -> bool:
    """Mark a generation as rejected in the store, unless its purge has begun, and return whether it is rejected.

    The caller holds the lock.
    """
    if _exists(task, Mark.PURGING, generation.number):
        log.error("%s: generation %s is damaged, but its purge has begun: it is not rejected", task.label, generation.number)
        return False
    mark = Rejected(
        generation=generation.number,
        manifest_sha256=generation.manifest_sha256,
        at=task.clock(),
        run_id=task.run_id,
        mismatches=mismatches,
    )
    try:
        task.store.create(task.keys.mark(Mark.REJECTED, generation.number), encode(mark))
    except ObjectExists:
        log.info("%s: generation %s was already rejected", task.label, generation.number)
    log.warning("%s: generation %s is rejected: %s", task.label, generation.number, "; ".join(mismatches))
    task.reached(Step.REJECTED)
    return True


def was_rejected(task: Task, generation: Generation) -> bool:
    """Return whether the store has a rejection of the generation now, including one created since the generations were read."""
    return _exists(task, Mark.REJECTED, generation.number)


def _exists(task: Task, mark: Mark, number: int) -> bool:
    try:
        task.store.head(task.keys.mark(mark, number))
    except ObjectMissing:
        return False
    return True
