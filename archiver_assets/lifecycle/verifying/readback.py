"""Reading a generation back: fetch its complete object from the store and compare it with its manifest.

What belongs here: fetching an object into a private local copy, and reporting every mismatch. What does not: comparing its content
(`object_content.py`), and the consequences of a mismatch (`verify.py`, `purging/purge.py`, and every other user of an object's rows).

The proof applies to the local copy: purge deletes by the rows of the same copy, so nothing can change between proof and use. The copy is an
unnamed temporary file: the disk needs room for one object, and a killed process leaves nothing behind.
"""

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import IO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from archiver_assets.errors import NotVerified, ObjectDamaged, ObjectMissing
from archiver_assets.lifecycle.generations import Generation
from archiver_assets.lifecycle.task import Task, log
from archiver_assets.lifecycle.verifying.object_content import Compared, Comparison, compare_content
from archiver_assets.store.objects import StoredObject
from archiver_assets.store.parquet import open_parquet, read_batches

_RUN_AGAIN = "no row was deleted by it; run the day again, or restore the object from an older version or a copy"
_BRING_BACK = (
    "its purge had begun, and no run repairs it: bring back the version of the object that its manifest names; "
    "until then rows that came late are purged by materializing the purge of the day alone"
)

_LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)
"""The latest time to which a retention is added: Python's years end with 9999, and a retention is at most a hundred years."""


@dataclass(frozen=True)
class Verification:
    """The result of reading back. `mismatches` has one line for each difference from the manifest; if empty, the generation is proven.

    For several generations, `generation` is the first unproven one, or else the newest, and the numbers are sums. `comparisons` lists all
    comparisons, for people. `rejected` is the number of generations rejected; these are ignored from now on. `versioned`: the store's
    answer shows that the bucket keeps versions, whatever the manifest says. `other_version`: an object's current version is not the one
    that the manifest names, as in a copied bucket. `purge_begun`: an unproven generation may be the only remaining copy of its rows. If an
    error prevented any reading, `hint` is its next step.
    """

    generation: Generation | None
    rows_in_manifest: int
    rows_in_object: int
    rows_in_table: int | None
    bytes_in_object: int
    mismatches: tuple[str, ...]
    comparisons: tuple[Comparison, ...] = ()
    rejected: int = 0
    versioned: bool = False
    other_version: bool = False
    purge_begun: bool = False
    hint: str = ""

    @property
    def passed(self) -> bool:
        """Whether everything is proven."""
        return not self.mismatches

    def failing(self, mismatches: Sequence[str]) -> "Verification":
        """Return this verification with more mismatches."""
        return replace(self, mismatches=(*self.mismatches, *mismatches))

    def failure(self, label: str, *, rejected: bool = False) -> NotVerified:
        """Return the error that lists every mismatch, and whether the generation was rejected."""
        message = f"{label}: the generation is not what its manifest says: {'; '.join(self.mismatches)}"
        return NotVerified(message, hint=self.next_step, rejected=int(rejected))

    @property
    def next_step(self) -> str:
        """The next step after a mismatch: a run archives again what is in the table, but not what a purge has deleted."""
        return self.hint or (_BRING_BACK if self.purge_begun else _RUN_AGAIN)


@dataclass(frozen=True)
class LocalCopy:
    """A generation's object as read back, and its verification. It exists until the block that opened it ends."""

    verification: Verification
    _file: IO[bytes]

    @cached_property
    def _parquet(self) -> pq.ParquetFile:
        self._file.seek(0)
        return open_parquet(self._file)

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Yield the given columns of all rows in order, with one row group in memory at a time."""
        return read_batches(self._parquet, columns)

    def row_groups(self) -> Iterator["RowGroup"]:
        """Yield the row groups in order, not yet decoded."""
        return (RowGroup(self._parquet, number) for number in range(self._parquet.num_row_groups))


@dataclass(frozen=True)
class RowGroup:
    """One row group of a proven object."""

    _parquet: pq.ParquetFile
    _number: int

    def columns(self, names: list[str]) -> pa.RecordBatch:
        """Return the named columns of all its rows, in one batch."""
        return _one_batch(self._parquet.read_row_group(self._number, columns=names).select(names))

    @cached_property
    def whole(self) -> pa.RecordBatch:
        """All columns of all its rows, in one batch, decoded once."""
        return _one_batch(self._parquet.read_row_group(self._number))


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    (batch,) = table.replace_schema_metadata(None).combine_chunks().to_batches()
    return batch


@contextmanager
def read_back(task: Task, generation: Generation, *, copied: bool = False) -> Iterator[LocalCopy]:
    """Fetch the generation's complete object by version and compare it with its manifest; if that fails, try once more.

    In a bucket `copied` from the archive's, versions and etags differ: the current object is read, and neither is compared.
    """
    with tempfile.TemporaryFile(prefix="archiver-") as file:
        copy = LocalCopy(_compare(task, generation, file, copied=copied), file)
        if copy.verification.passed:
            yield copy
            return
        log.warning("%s: reading generation %s again: %s", task.label, generation.number, "; ".join(copy.verification.mismatches))
    with tempfile.TemporaryFile(prefix="archiver-") as file:
        yield LocalCopy(_compare(task, generation, file, copied=copied), file)


@contextmanager
def proven(task: Task, generation: Generation, *, copied: bool = False) -> Iterator[LocalCopy]:
    """Read a generation back for a use that rejects nothing. Raises NotVerified if it does not match its manifest."""
    with read_back(task, generation, copied=copied) as copy:
        if not copy.verification.passed:
            raise copy.verification.failure(task.label)
        yield copy


def _compare(task: Task, generation: Generation, file: IO[bytes], *, copied: bool) -> Verification:
    manifest, compared = generation.manifest, Compared(generation.number)
    rows, size, current = 0, 0, None
    try:
        current = _compare_current(task, generation, compared, copied=copied)
        size, sha256 = _fetch(task, generation, file, None if copied else manifest.object.version_id)
    except ObjectMissing as error:
        compared.wrong("object", "there", error.message)
    except ObjectDamaged as error:
        compared.wrong("object", "what the store's own checksum says", error.message)
    else:
        compared.same("bytes", manifest.object.bytes, size)
        compared.same("sha256", manifest.object.sha256, sha256)
        # If the bytes differ, only their footer is read; the rows are not decoded.
        rows = compare_content(task, manifest, file, compared)
    said = tuple(compared.mismatches), tuple(compared.comparisons)
    return Verification(
        generation,
        manifest.rows,
        rows,
        None,
        size,
        *said,
        versioned=current is not None and current.version_id is not None,
        other_version=current is not None and manifest.object.version_id not in {None, current.version_id},
        purge_begun=bool(compared.mismatches) and (generation.purging or generation.receipt is not None),
    )


def _compare_current(task: Task, generation: Generation, compared: Compared, *, copied: bool) -> StoredObject | None:
    """Compare the current object, without naming a version: a delete marker or a lifecycle rule would remove the object later.

    Return what the store reports, or None if the object is missing.
    """
    uri = task.store.uri(generation.object_key)
    try:
        current = task.store.head(generation.object_key)
    except ObjectMissing:
        compared.wrong("object", "there", f"{uri} is gone, or hidden by a delete marker")
        return None
    if generation.manifest.object.version_id is not None and not copied:
        compared.same(f"current version of {uri}", generation.manifest.object.version_id, current.version_id)
        compared.same(f"etag of {uri}", generation.manifest.object.etag, current.etag)
    until = min(generation.manifest.archived_at, _LATEST) + timedelta(days=task.table.retention_days)
    if current.expires_at is not None and current.expires_at < until:
        line = f"expiration of {uri}: expected none before {until:%Y-%m-%d}, found {current.expires_at:%Y-%m-%d}"
        compared.wrong("expiration", f"none before {until:%Y-%m-%d}", line)
    return current


def _fetch(task: Task, generation: Generation, file: IO[bytes], version_id: str | None) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    with task.progress("read back", generation.manifest.object.bytes, "bytes", beside=generation.manifest.rows) as progress:
        for chunk in task.store.read(generation.object_key, version_id=version_id):
            size += len(chunk)
            digest.update(chunk)
            file.write(chunk)
            progress.add(len(chunk))
            if size > generation.manifest.object.bytes:
                break  # already a mismatch; no need to store the rest
    file.seek(0)
    return size, f"sha256:{digest.hexdigest()}"
