"""Purge: delete from the table exactly the rows that a generation holds, having proven the generation itself.

What belongs here: the order of proof, mark, deletes and receipt, and everything that stops a purge. What does not: how a batch is deleted
(`source/deleting.py`), how a generation is proven (`verify.py`).

Nothing that ran before is trusted, no check and no earlier verification: whoever asks for a purge alone gets the same proof. A crash
between any two steps leaves a state from which running purge again finishes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from archiver_assets.config import Hold
from archiver_assets.errors import ArchiverError, ManifestInvalid, NotArchived, NotVerified, ObjectExists, SourceChanged, SourceConflict
from archiver_assets.lifecycle.generations import (
    Generation,
    drift,
    read_generations,
    read_whole,
    reject,
    require_own_source,
    versions_believed,
    was_rejected,
)
from archiver_assets.lifecycle.holds import HoldPlaces
from archiver_assets.lifecycle.preflight import require_compliance, require_preflight
from archiver_assets.lifecycle.retrying import persistently
from archiver_assets.lifecycle.task import Step, Task, log
from archiver_assets.lifecycle.verify import LocalCopy, RowGroup, read_back
from archiver_assets.lifecycle.versions import doubtful
from archiver_assets.source import sql
from archiver_assets.source.catalog import XMIN, Connection, Server, Table, count_held, count_rows, read_server, read_table
from archiver_assets.source.deleting import Batch, Deleted, Target, delete_rows
from archiver_assets.source.holding import held_rows, read_clock
from archiver_assets.source.session import locked_table, partition_lock
from archiver_assets.store.keys import Mark
from archiver_assets.store.manifest import Manifest, PurgeSettings, Purging, Receipt, decode, encode

_CONFLICT_PAUSES = (0.1, 0.2, 0.4, 0.8)
"""Seconds between tries at a batch that the server ended for the sake of another transaction."""


Outcome = Literal["purged", "already purged", "empty", "incomplete", "held"]


@dataclass(frozen=True)
class Tally:
    """What became of the rows of the generations purged, in how many batches. Those that this call deleted are `purged`."""

    rows: Deleted = field(default_factory=Deleted)
    batches: int = 0

    @property
    def purged(self) -> int:
        """The rows that this call deleted."""
        return self.rows.by_version + self.rows.by_content

    @property
    def left(self) -> int:
        """The rows that should have gone, and could not: locked by others, or no longer of the partition's range. Held ones should not."""
        return self.rows.locked + self.rows.elsewhere

    def __add__(self, other: "Tally") -> "Tally":
        """Add each number."""
        return Tally(self.rows + other.rows, self.batches + other.batches)


@dataclass(frozen=True)
class Purged:
    """What a purge did. `late` is what the table still holds of the partition and no purged generation does; `generation` is the newest.

    "incomplete" means that rows which should have gone were locked by others; another purge goes on with them. "held" means that nothing is
    left to delete but rows which legal holds keep. `held` is the number of such rows in the table, archived or not, and `holds` are those
    in force on the partition, both at the end.
    """

    outcome: Outcome
    generation: Generation | None
    table: Table
    tally: Tally
    late: int
    seconds: float
    held: int = 0
    holds: tuple[Hold, ...] = ()


@dataclass(frozen=True)
class _Session:
    """The session that holds the lock, and what it found there."""

    task: Task
    connection: Connection
    server: Server
    table: Table
    places: HoldPlaces

    def holds(self) -> tuple[Hold, ...]:
        """Read the holds that are in force on the partition now."""
        found = self.places.in_force(self.task.table, read_clock(self.connection))
        return tuple(hold for hold in found if hold.covers(self.task.partition.day))

    def held_rows(self) -> tuple[sql.HeldRows, ...]:
        """Read the holds, and return the rows that they keep."""
        return held_rows(self.connection, self.task.table, self.table, self.holds())


def purge(task: Task) -> Purged:
    """Purge the partition's open generations, oldest first. Without rows and without generation that is a success that deletes nothing.

    A generation that does not prove itself is skipped, and the others are purged all the same. Rows that legal holds keep stay; holds are
    read before anything is deleted, and again for every transaction.

    Raises HoldsUnreadable if that fails, NotArchived for rows without a generation, NotVerified for a generation that failed, SourceChanged
    where the table is not that of the manifest, ConfigError where compliance forbids the purge, and NotExpired, PartitionBusy, TableRefused
    and the errors of source and store. Rows deleted before an error are those of whole batches, each proven.
    """
    return persistently(task, "purge", lambda: _purge(task))


def _purge(task: Task) -> Purged:
    started = task.monotonic()
    require_compliance(task)
    with task.source.connect() as connection, partition_lock(connection, table=task.table.label, partition=task.partition):
        task.reached(Step.LOCKED)
        server = read_server(connection)
        task.partition.require_expired(now=server.now, retention_days=task.table.retention_days, table=task.table.label)
        require_preflight(task, connection, "purge")
        session = _Session(task, connection, server, _read_table(task, connection), task.hold_places())
        result = _purge_open(session)
        task.reached(Step.UNLOCKED)
    left = f"{result.late:,} late, {result.held:,} held"
    log.info("%s: %s, %s rows purged, %s", task.label, result.outcome, f"{result.tally.purged:,}", left)
    return replace(result, seconds=task.monotonic() - started)


def _read_table(task: Task, connection: Connection) -> Table:
    with locked_table(connection, sql.Relation(task.table.schema_name, task.table.name)):
        return read_table(connection, task.table)


def _purge_open(session: _Session) -> Purged:
    task = session.task
    generations = read_generations(task)
    require_own_source(task, session.server, generations)
    newest = generations.live[-1] if generations.live else None
    if any(hold.holds_all_of(task.partition.day) for hold in session.holds()):
        return _counted(session, Purged("held", newest, session.table, Tally(), 0, 0.0))
    tally, refusals, purged = Tally(), [], []
    for generation in generations.open:
        try:
            tally += _purge_generation(session, generation)
        except (NotVerified, SourceChanged) as refusal:
            log.warning("%s: generation %s is skipped: %s", task.label, generation.number, refusal.message)
            refusals.append(refusal)
        else:
            purged.append(generation)
    left = count_rows(session.connection, session.table.days(task.partition))
    _require_nothing_wrong(task, refusals, left, any_live=bool(generations.live))
    outcome: Outcome = "already purged" if newest else "empty"
    if purged:
        outcome = "incomplete" if tally.left else "held" if tally.rows.held else "purged"
    return _counted(session, Purged(outcome, newest, session.table, tally, 0, 0.0))


def _counted(session: _Session, purged: Purged) -> Purged:
    """Count what is left in the table: held by the holds of this moment, or else late."""
    holds = session.holds()
    held = held_rows(session.connection, session.task.table, session.table, holds)
    rows = count_held(session.connection, session.table.days(session.task.partition), held)
    return replace(purged, late=max(rows.all - rows.held - purged.tally.rows.locked, 0), held=rows.held, holds=holds)


def _require_nothing_wrong(task: Task, refusals: Sequence[ArchiverError], left: int, *, any_live: bool) -> None:
    # Rows of another shape that are gone, archived anew by a later generation, are no reason to complain for ever.
    serious = [refusal for refusal in refusals if left or isinstance(refusal, NotVerified)]
    if serious:
        raise serious[0]
    if left and not any_live:
        message = f"{task.label}: expected a generation that holds the {left} rows of the table, found none that counts"
        raise NotArchived(message, hint="archive the partition first; nothing was deleted")


def _purge_generation(session: _Session, generation: Generation) -> Tally:
    task, started_at = session.task, session.task.clock()
    if changed := drift(task, session.table, generation):
        message = f"{task.label}: the table is not as generation {generation.number} recorded it: {'; '.join(changed)}"
        raise SourceChanged(message, hint="archive the partition again, then purge; nothing was deleted by this generation")
    with read_back(task, generation) as copy:
        if not copy.verification.passed:
            reject(task, generation, copy.verification.mismatches)
            raise copy.verification.failure(task.label)
        task.reached(Step.READ_BACK)
        _mark_purging(task, generation)
        task.reached(Step.PURGE_MARKED)
        _require_not_rejected(task, generation)
        tally = _delete_all(session, generation, copy)
    if tally.left:
        log.warning("%s: %s rows are locked by others or of another day by now; they stay", task.label, f"{tally.left:,}")
    if tally.rows.held:
        log.warning("%s: %s rows of generation %s are held; they stay", task.label, f"{tally.rows.held:,}", generation.number)
    if tally.left or tally.rows.held:
        return tally
    _write_receipt(session, generation, tally, started_at)
    task.reached(Step.RECEIPT_WRITTEN)
    return tally


def _require_not_rejected(task: Task, generation: Generation) -> None:
    """Raise NotVerified if somebody rejected the generation while its purge began: void beside a purging mark, but it stops the purge."""
    if was_rejected(task, generation):
        message = f"{task.label}: generation {generation.number} was rejected while its purge began"
        raise NotVerified(message, hint="archive the partition again, then purge; nothing was deleted by this generation")


def _mark_purging(task: Task, generation: Generation) -> None:
    table = task.table
    settings = PurgeSettings(
        batch_size=table.batch_size, sleep_between_batches=table.sleep_between_batches, retention_days=table.retention_days
    )
    mark = Purging(
        generation=generation.number,
        manifest_sha256=generation.manifest_sha256,
        at=task.clock(),
        run_id=task.run_id,
        settings=settings,
    )
    try:
        task.store.create(task.keys.mark(Mark.PURGING, generation.number), encode(mark))
    except ObjectExists as error:
        key = task.keys.mark(Mark.PURGING, generation.number)
        earlier = decode(Purging, read_whole(task.store, key), key=key)
        if earlier.manifest_sha256 != generation.manifest_sha256:
            message = f"expected {key} to speak of the manifest of {task.label}, found the digest of another one"
            raise ManifestInvalid(message, hint="compare both with their older versions or a copy; nothing was deleted") from error
        log.info("%s: an earlier purge of generation %s had begun; going on with it", task.label, generation.number)


def _target(session: _Session, generation: Generation) -> Target:
    table, manifest = session.table, generation.manifest
    # Keys and xmins of a leaf that was attached since may be the same by chance, and its rows are in no object.
    archived = {(leaf.oid, leaf.columns) for leaf in manifest.source.leaves}
    leaves = tuple(leaf.oid for leaf in table.leaves if (leaf.oid, leaf.columns) in archived)
    return Target(session.task.table, table, _days(session, manifest), leaves)


def _days(session: _Session, manifest: Manifest) -> sql.Days:
    """Return the range that both the manifest and today's config call the partition: the time zone may have changed between them."""
    days = session.table.days(session.task.partition)
    if session.table.timestamp.builtin_type != "timestamptz":
        return days  # local days have the same bounds in every zone
    partition = session.task.partition
    return replace(days, lower=max(partition.start, manifest.partition.start), upper=min(partition.end, manifest.partition.end))


def _delete_all(session: _Session, generation: Generation, copy: LocalCopy) -> Tally:
    task, target = session.task, _target(session, generation)
    progress = task.progress("purge", copy.verification.rows_in_manifest)
    tally = Tally()
    for batch in _batches(session, generation, copy):
        if tally.batches and task.table.sleep_between_batches:
            task.sleep(task.table.sleep_between_batches)
        tally += Tally(_delete_past_conflicts(session, target, batch), 1)
        progress.add(batch.versions.num_rows)
        task.reached(Step.BATCH_DELETED)
    return tally


def _delete_past_conflicts(session: _Session, target: Target, batch: Batch) -> Deleted:
    # A row that moves from leaf to leaf, or a deadlock, ends the transaction and not the session.
    for pause in _CONFLICT_PAUSES:
        try:
            with session.task.source.errors():
                return delete_rows(session.connection, target, batch, session.held_rows)
        except SourceConflict as conflict:
            log.info("%s: trying a batch again after: %s", session.task.label, conflict.message)
        session.task.sleep(pause)
    return delete_rows(session.connection, target, batch, session.held_rows)


def _batches(session: _Session, generation: Generation, copy: LocalCopy) -> Iterator[Batch]:
    names = [*(column.name for column in session.table.key), XMIN]
    size = session.task.table.batch_size
    for group in copy.row_groups():
        versions = group.columns(names)
        believed = _believed(session, generation, versions)
        for start in range(0, versions.num_rows, size):
            yield Batch(versions.slice(start, size), believed.slice(start, size), _content(group, start))


def _believed(session: _Session, generation: Generation, versions: pa.RecordBatch) -> pa.BooleanArray:
    if not versions_believed(generation, session.server, session.table):
        return pa.array([False] * versions.num_rows)
    return pc.invert(doubtful(versions.column(XMIN), generation.manifest.source, session.server.next_xid))


def _content(group: RowGroup, offset: int) -> Callable[[int, int], pa.RecordBatch]:
    return lambda start, stop: group.whole.slice(offset + start, stop - start)


def _write_receipt(session: _Session, generation: Generation, tally: Tally, started_at: datetime) -> None:
    task = session.task
    receipt = Receipt(
        generation=generation.number,
        manifest_sha256=generation.manifest_sha256,
        at=task.clock(),
        run_id=task.run_id,
        started_at=started_at,
        rows_purged_by_version=tally.rows.by_version,
        rows_purged_by_content=tally.rows.by_content,
        rows_gone=tally.rows.gone,
        rows_late=count_rows(session.connection, session.table.days(task.partition)),
        rows_held_before=0,
        batches=tally.batches,
        wal_bytes=None,
    )
    try:
        task.store.create(task.keys.mark(Mark.PURGED, generation.number), encode(receipt))
    except ObjectExists:
        log.info("%s: the receipt lies there already, by a try whose answer was lost", task.label)
