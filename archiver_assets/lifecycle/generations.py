"""The generations of a partition, as the store has them.

What belongs here: reading manifests and marks, and whether a generation is of the table at hand. What does not: the objects' data, or
changing anything.
"""

from dataclasses import dataclass

from archiver_assets.errors import ManifestInvalid, NotVerified, SourceChanged
from archiver_assets.lifecycle.task import Task
from archiver_assets.source.catalog import Server, Table
from archiver_assets.store.keys import Mark
from archiver_assets.store.manifest import Manifest, Receipt, decode, sha256_of
from archiver_assets.store.objects import ObjectStore


@dataclass(frozen=True)
class Generation:
    """One committed archive of a partition. `object_key` is where its object lies today; `receipt` is there once it was purged."""

    manifest: Manifest
    manifest_sha256: str
    object_key: str
    receipt: Receipt | None

    @property
    def number(self) -> int:
        """Its number, from 1."""
        return self.manifest.generation


def read_whole(store: ObjectStore, key: str) -> bytes:
    """Return the content of a small object. Raises ObjectMissing."""
    return b"".join(store.read(key))


def find_generation(task: Task) -> Generation | None:
    """Return the partition's generation, or None if it has none. This version makes at most one generation of a partition.

    Raises ManifestInvalid for a manifest that cannot be believed, and NotVerified if somebody rejected the generation.
    """
    marks = {mark for found in task.store.list(task.keys.folder) if (mark := task.keys.parse_mark(found.key))}
    numbers = sorted({number for _, number in marks})
    if not numbers:
        return None
    if numbers != [1]:
        message = f"expected at most generation 1 of {task.label}, found marks of the generations {', '.join(map(str, numbers))}"
        raise ManifestInvalid(message, hint="use the version of the archiver that wrote them; nothing was changed")
    if (Mark.REJECTED, 1) in marks:
        message = f"generation 1 of {task.label} was rejected, see {task.keys.mark(Mark.REJECTED, 1)}"
        raise NotVerified(message, hint="use the version of the archiver that rejected it; nothing was deleted")
    return _read_generation(task, 1, purged=(Mark.PURGED, 1) in marks)


def _read_generation(task: Task, number: int, *, purged: bool) -> Generation:
    key = task.keys.mark(Mark.MANIFEST, number)
    data = read_whole(task.store, key)
    manifest = decode(Manifest, data, key=key)
    object_key = _require_own(task, manifest, number, key)
    receipt_key = task.keys.mark(Mark.PURGED, number)
    receipt = decode(Receipt, read_whole(task.store, receipt_key), key=receipt_key) if purged else None
    if receipt is not None and receipt.manifest_sha256 != sha256_of(data):
        message = f"expected the receipt {receipt_key} to speak of the manifest {key}, found the digest of another one"
        raise ManifestInvalid(message, hint="compare both objects with their older versions or a copy; nothing was deleted")
    return Generation(manifest, sha256_of(data), object_key, receipt)


def _require_own(task: Task, manifest: Manifest, number: int, key: str) -> str:
    table = task.table
    day = manifest.partition.day.isoformat()
    expected = (table.database, table.schema_name, table.name, task.partition.key, number)
    found = (manifest.database, manifest.schema_name, manifest.table, day, manifest.generation)
    object_key = task.keys.rows(manifest.object.key, number)
    if found == expected and object_key is not None:
        return object_key
    message = f"expected the manifest {key} to speak of {expected} and an object beside it, found {found} and {manifest.object.key}"
    raise ManifestInvalid(message, hint="somebody moved or replaced it: compare it with its older versions; nothing was deleted")


def require_same_source(task: Task, server: Server, table: Table, generation: Generation) -> None:
    """Raise SourceChanged unless server, table and partition are those of the generation: only there a row version means the same row.

    A generation that was purged may have other columns and lie on another timeline by now: nothing is deleted by it any more.
    """
    manifest = generation.manifest
    source, partition = manifest.source, manifest.partition
    compared: dict[str, tuple[object, object]] = {
        "system identifier": (source.system_identifier, server.system_identifier),
        "database oid": (source.database_oid, server.database_oid),
        "start": (partition.start, task.partition.start),
        "end": (partition.end, task.partition.end),
    }
    if generation.receipt is None:
        compared |= {
            "table oid": (source.table_oid, table.oid),
            "timeline": (source.timeline, server.timeline),
            "columns": (manifest.fingerprint, table.fingerprint),
            "primary key": (manifest.primary_key, task.table.primary_key),
            "timestamp column": (partition.column, table.timestamp.name),
            "time zone": (partition.timezone, task.partition.timezone),
        }
    changed = [f"{what} {then} is now {now}" for what, (then, now) in compared.items() if then != now]
    if changed:
        message = f"{task.label}: the table is not the one that generation {generation.number} was archived from: {'; '.join(changed)}"
        raise SourceChanged(message, hint="point the config back at the table of the manifest; nothing was deleted")
