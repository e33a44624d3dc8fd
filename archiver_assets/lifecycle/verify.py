"""Verify: read a generation back from the store, whole, and compare it with its manifest.

What belongs here: fetching the object into a private local copy, and naming every mismatch. What does not: what follows from one.

The copy is what was proven: purge deletes by the rows of the same copy, so that nothing can change between proof and use. It is a temporary
file without a name, so the disk needs room for one object, and a killed process leaves nothing behind.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from archiver_assets.errors import ManifestInvalid, NotVerified, ObjectMissing
from archiver_assets.lifecycle.generations import Generation, find_generation
from archiver_assets.lifecycle.task import Task, log
from archiver_assets.source.catalog import count_rows, read_table
from archiver_assets.store.digest import content_digest
from archiver_assets.store.manifest import Manifest
from archiver_assets.store.objects import ObjectStore
from archiver_assets.store.parquet import open_parquet, read_batches


@dataclass(frozen=True)
class Verification:
    """What was read back. `mismatches` says, one line each, what is not as the manifest says; none means proven."""

    generation: Generation | None
    rows_in_manifest: int
    rows_in_object: int
    rows_in_table: int | None
    bytes_in_object: int
    mismatches: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Tell whether the generation is proven."""
        return not self.mismatches

    def require_passed(self, label: str) -> None:
        """Raise NotVerified, naming every mismatch, unless the generation is proven."""
        if self.mismatches:
            message = f"{label}: the generation is not what its manifest says: {'; '.join(self.mismatches)}"
            raise NotVerified(message, hint="nothing was deleted; restore the object from an older version or a copy, then run again")


@dataclass(frozen=True)
class LocalCopy:
    """A generation's object as it was read back, and what was found; it lives as long as the block that opened it."""

    verification: Verification
    _file: IO[bytes]

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Yield the given columns of all rows in order, holding one row group in memory."""
        self._file.seek(0)
        return read_batches(open_parquet(self._file), columns)


def verify(task: Task) -> Verification:
    """Verify the partition's generation. Where there is none, the partition must have no rows in the table.

    Raises the errors of source and store: then nothing is known, which is not the same as a mismatch.
    """
    try:
        generation = find_generation(task)
    except (ManifestInvalid, NotVerified) as error:
        return Verification(None, 0, 0, None, 0, (error.message,))
    if generation is None:
        return _verify_absence(task)
    with read_back(task.store, generation) as copy:
        log.info("verify %s: %s", task.label, "; ".join(copy.verification.mismatches) or "passed")
        return copy.verification


def _verify_absence(task: Task) -> Verification:
    with task.source.connect() as connection:
        table = read_table(connection, task.table)
        rows = count_rows(connection, table.days(task.partition))
    mismatches = (f"the table holds {rows} rows of the partition and there is no generation",) if rows else ()
    return Verification(None, 0, 0, rows, 0, mismatches)


@contextmanager
def read_back(store: ObjectStore, generation: Generation) -> Iterator[LocalCopy]:
    """Fetch the generation's object, whole and by version, and compare it with its manifest."""
    with tempfile.TemporaryFile(prefix="archiver-") as file:
        yield LocalCopy(_compare(store, generation, file), file)


def _compare(store: ObjectStore, generation: Generation, file: IO[bytes]) -> Verification:
    manifest = generation.manifest
    rows, size, mismatches = 0, 0, _hidden(store, generation)
    try:
        size, sha256 = _fetch(store, generation, file)
    except ObjectMissing as error:
        mismatches.append(error.message)
    else:
        mismatches += _unequal("bytes", manifest.object.bytes, size) + _unequal("sha256", manifest.object.sha256, sha256)
        # Bytes that are not ours are not decoded, only asked what they say they are.
        rows, found = _compare_content(manifest, file, decode=not mismatches)
        mismatches += found
    return Verification(generation, manifest.rows, rows, None, size, tuple(mismatches))


def _hidden(store: ObjectStore, generation: Generation) -> list[str]:
    """Name an object that only its version id still reaches: a delete marker hides it, and a lifecycle rule would remove it later."""
    if any(found.key == generation.object_key for found in store.list(generation.object_key)):
        return []
    return [f"{store.uri(generation.object_key)} is not listed: it is gone, or hidden by a delete marker"]


def _fetch(store: ObjectStore, generation: Generation, file: IO[bytes]) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    for chunk in store.read(generation.object_key, version_id=generation.manifest.object.version_id):
        size += len(chunk)
        digest.update(chunk)
        file.write(chunk)
        if size > generation.manifest.object.bytes:
            break  # already a mismatch; the disk need not hold all of it
    file.seek(0)
    return size, f"sha256:{digest.hexdigest()}"


def _compare_content(manifest: Manifest, file: IO[bytes], *, decode: bool) -> tuple[int, list[str]]:
    try:
        parquet = open_parquet(file)
        rows = parquet.metadata.num_rows
        mismatches = _unequal("rows", manifest.rows, rows)
        mismatches += _compare_footer(manifest, parquet) + _compare_columns(manifest, parquet.schema_arrow)
        if decode:
            digest = content_digest(parquet.schema_arrow, read_batches(parquet))
            mismatches += _unequal("content_digest", manifest.content_digest, digest)
    except (pa.ArrowException, OSError, TypeError, ValueError) as error:
        # ValueError, because no checksum guards the footer, and a column's name in a damaged one may be no UTF-8.
        return 0, [f"it does not decode as Parquet: {' '.join(str(error).split())}"]
    return rows, mismatches


def _compare_footer(manifest: Manifest, parquet: pq.ParquetFile) -> list[str]:
    footer = (parquet.metadata.metadata or {}).items()
    found = {_text(name): _text(value) for name, value in footer if name != b"ARROW:schema"}
    return [line for name, value in manifest.footer().items() for line in _unequal(f"{name} in its footer", value, found.get(name))]


def _compare_columns(manifest: Manifest, schema: pa.Schema) -> list[str]:
    expected = [(column.name, column.arrow_type, column.pg_type) for column in manifest.columns] + [("_xmin", "uint32", "xid")]
    found = [(field.name, str(field.type), _text((field.metadata or {}).get(b"pg_type", b""))) for field in schema]
    return _unequal("columns", expected, found)


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")


def _unequal(what: str, expected: object, found: object) -> list[str]:
    return [] if expected == found else [f"{what}: expected {expected}, found {found}"]
