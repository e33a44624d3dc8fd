"""The generations of a partition, as the store has them, and what they are to the table at hand.

What belongs here: reading manifests and marks, whether a generation's row versions can be believed, rejecting one, removing what crashes
left. What does not: the objects' data.
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
"""Below the folder of a partition, which are gathered in memory. A generation has three."""

State = Literal["live", "rejected", "former source", "purging", "purged"]


@dataclass(frozen=True)
class Generation:
    """One committed archive of a partition. `object_key` is where its object lies today; `receipt` is there once it was purged.

    `former` is one of a source that the table had before a person accepted another one: it counts, and says nothing of today's rows.
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
        """Its number, from 1."""
        return self.manifest.generation

    @property
    def live(self) -> bool:
        """Whether it counts. A rejection beside a purge that has begun is void: rows may be nowhere else."""
        return self.purging or not self.rejected

    @property
    def open(self) -> bool:
        """Whether rows of it may still be in the table, to be purged by it. One that somebody rejected purges nothing any more."""
        return self.receipt is None and not self.rejected and not self.former

    @property
    def state(self) -> State:
        """What became of it, in a word."""
        if self.receipt is not None:
            return "purged"
        if not self.live:
            return "rejected"
        return "former source" if self.former else "purging" if self.purging else "live"


@dataclass(frozen=True)
class Generations:
    """What lies in a partition's folder: the committed generations in order, the next free number, and what crashes left behind."""

    committed: tuple[Generation, ...]
    next_number: int
    leftovers: tuple[str, ...]

    @property
    def live(self) -> tuple[Generation, ...]:
        """Those that count, in order."""
        return tuple(each for each in self.committed if each.live)

    @property
    def open(self) -> tuple[Generation, ...]:
        """Those by which rows may be purged, oldest first."""
        return tuple(each for each in self.committed if each.open)


def read_generations(task: Task) -> Generations:
    """Return the partition's generations. Raises ManifestInvalid for a manifest or a mark that cannot be believed."""
    keys = [found.key for found in task.store.list(task.keys.folder, at_most=MOST_OBJECTS + 1)]
    if len(keys) > MOST_OBJECTS:
        message = f"expected at most {MOST_OBJECTS:,} objects below {task.store.uri(task.keys.folder)}, found more"
        raise ManifestInvalid(message, hint="look at who writes there; nothing was deleted")
    return generations_among(task, keys)


def generations_among(task: Task, keys: Iterable[str]) -> Generations:
    """Return the generations that the partition's `keys` are of, as `read_generations` does of those that lie there now."""
    keys = tuple(keys)
    marks = {mark for key in keys if (mark := task.keys.parse_mark(key))}
    committed = tuple(read_generation(task, number, marks) for number in sorted({number for _, number in marks}))
    numbers = {key: number for key in keys if (number := task.keys.number(key)) is not None}
    named = {each.object_key for each in committed}
    # A number with a mark was committed once: its data are no leftover, whatever its manifest says.
    marked = {number for _, number in marks}
    leftovers = tuple(key for key, number in numbers.items() if number not in marked and key not in named)
    last = max(numbers.values(), default=0)
    if last >= LAST_GENERATION:
        message = f"expected generations below {LAST_GENERATION:,} in {task.store.uri(task.keys.folder)}, found {last}"
        raise ManifestInvalid(message, hint="no archive wrote so many: look at who writes there; nothing was deleted")
    return Generations(committed, last + 1, leftovers)


def read_generation(task: Task, number: int, marks: set[tuple[Mark, int]]) -> Generation:
    """Return the generation of that number, of which `marks` lie in the store. Raises ManifestInvalid if any cannot be believed."""
    key = task.keys.mark(Mark.MANIFEST, number)
    if (Mark.MANIFEST, number) not in marks:
        message = f"expected {key} beside the other marks of generation {number}, found none"
        raise ManifestInvalid(message, hint="bring the manifest back from an older version or a copy; nothing was deleted")
    data = read_whole(task.store, key)
    manifest = decode(Manifest, data, key=key)
    object_key = _require_own(task, manifest, number, key)
    receipt_key = task.keys.mark(Mark.PURGED, number)
    receipt = decode(Receipt, read_whole(task.store, receipt_key), key=receipt_key) if (Mark.PURGED, number) in marks else None
    if receipt is not None and receipt.manifest_sha256 != sha256_of(data):
        message = f"expected the receipt {receipt_key} to speak of the manifest {key}, found the digest of another one"
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
    message = f"expected the manifest {key} to speak of {expected} and an object beside it, found {spoken}"
    raise ManifestInvalid(message, hint="somebody moved or replaced it: compare it with its older versions; nothing was deleted")


def own_generations(task: Task, server: Server) -> Generations:
    """Return the partition's generations, those of a former source marked so.

    Raises SourceChanged where the archive is that of another server or database and nobody has accepted this one.
    """
    generations = read_generations(task)
    require_accepted(task, server, [each.manifest.source for each in generations.live])
    committed = tuple(replace(each, former=identity(each.manifest.source) != identity(server)) for each in generations.committed)
    return replace(generations, committed=committed)


def drift(task: Task, table: Table, generation: Generation) -> list[str]:
    """Say how the table is not of the shape that the generation recorded. Such a generation holds none of the rows as they are now."""
    manifest = generation.manifest
    return [
        *_changed("columns", manifest.fingerprint, table.fingerprint),
        *_changed("primary key", manifest.primary_key, task.table.primary_key),
        *_changed("timestamp column", manifest.partition.column, table.timestamp.name),
    ]


def versions_believed(generation: Generation, server: Server, table: Table) -> bool:
    """Tell whether a key and an xmin name the same row here as in the generation, as far as the server and the table decide that."""
    source = generation.manifest.source
    return (source.table_oid, source.timeline) == (table.oid, server.timeline)


def _changed(what: str, then: object, now: object) -> Iterator[str]:
    if then != now:
        yield f"{what} {then} is now {now}"


def remove_leftovers(task: Task, generations: Generations) -> None:
    """Remove what crashes of earlier archives left: objects that no manifest names, unfinished uploads. The caller holds the lock.

    Those of the newest number stay, for `remove_newest_leftovers`. Where versions are kept, a delete marker is all that is added. A store
    that forbids it keeps them: they are in nobody's way.
    """
    _remove(task, [key for key in generations.leftovers if not _is_newest(task, generations, key)], uploads=True)


def remove_newest_leftovers(task: Task, generations: Generations) -> None:
    """Remove the others, once an object of a newer number is there or is not needed: as long as they lie there, their number is taken.

    Its manifest may have been taken back, and a second one over that would be to the bucket's history what a forged one is.
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
        log.warning("%s: could not remove what an earlier archive left: %s (%s)", task.label, error.message, error.hint)
        return
    if aborted or keys:
        log.info("%s: removed %s objects and %s uploads that an earlier archive left", task.label, len(keys), aborted)


def reject(task: Task, generation: Generation, mismatches: tuple[str, ...]) -> bool:
    """Say in the store that a generation does not count, unless its purge has begun. The caller holds the lock. Return whether it did."""
    if _exists(task, Mark.PURGING, generation.number):
        log.error("%s: generation %s is damaged and its purge had begun: it stays", task.label, generation.number)
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
        log.info("%s: generation %s was rejected before", task.label, generation.number)
    log.warning("%s: generation %s does not count any more: %s", task.label, generation.number, "; ".join(mismatches))
    task.reached(Step.REJECTED)
    return True


def was_rejected(task: Task, generation: Generation) -> bool:
    """Tell whether a rejection lies in the store now, also one that came in the last moment."""
    return _exists(task, Mark.REJECTED, generation.number)


def _exists(task: Task, mark: Mark, number: int) -> bool:
    try:
        task.store.head(task.keys.mark(mark, number))
    except ObjectMissing:
        return False
    return True
