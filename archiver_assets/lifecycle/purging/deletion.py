"""Delete the rows that a proven generation holds, batch by batch, in the session that holds the lock.

What belongs here: choosing the rows of an object, the range and the leaves, and deciding whether row versions are believed. What does not:
how a batch is deleted (`source/deleting.py`), and when a generation may be purged (`purge.py`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from archiver_assets.config import Hold
from archiver_assets.errors import SourceConflict
from archiver_assets.lifecycle.archive_only import require_purge
from archiver_assets.lifecycle.believed_versions import doubtful
from archiver_assets.lifecycle.generations import Generation, versions_believed
from archiver_assets.lifecycle.holding.holds import HoldPlaces, in_force
from archiver_assets.lifecycle.purging.pacing import Pace
from archiver_assets.lifecycle.task import Step, Task, log
from archiver_assets.lifecycle.verifying.readback import LocalCopy, RowGroup
from archiver_assets.source import sql
from archiver_assets.source.catalog import XMIN, Connection, Server, Table
from archiver_assets.source.deleting import Batch, Deleted, Target, delete_rows
from archiver_assets.source.hold_rows import held_rows, read_clock
from archiver_assets.store.manifest import Manifest

_CONFLICT_PAUSES = (0.1, 0.2, 0.4, 0.8)
"""Seconds between attempts at a batch whose transaction the server ended because of a conflict with another one."""


@dataclass(frozen=True)
class Tally:
    """The outcome for the rows of the purged generations, and the number of batches."""

    rows: Deleted = field(default_factory=Deleted)
    batches: int = 0

    @property
    def purged(self) -> int:
        """The rows that this call deleted."""
        return self.rows.by_version + self.rows.by_content

    @property
    def left(self) -> int:
        """The rows that could not be deleted: locked by others, or no longer in the partition's range. Held rows are not included."""
        return self.rows.locked + self.rows.elsewhere

    def __add__(self, other: "Tally") -> "Tally":
        """Return the sum of each number."""
        return Tally(self.rows + other.rows, self.batches + other.batches)


@dataclass(frozen=True)
class Session:
    """The session that holds the lock, and the server and table that it found."""

    task: Task
    connection: Connection
    server: Server
    table: Table
    places: HoldPlaces

    def holds(self) -> tuple[Hold, ...]:
        """Read the holds, and return those now in force on the partition."""
        covering = [hold for hold in self.places.on(self.task.table) if hold.covers(self.task.partition.day)]
        if not covering:
            return ()
        now = read_clock(self.connection)
        return tuple(hold for hold in covering if in_force(hold, now, self.task.table.timezone))

    def held_rows(self) -> tuple[sql.HeldRows, ...]:
        """Read the holds, and return the rows that each of them keeps."""
        return held_rows(self.connection, self.task.table, self.table, self.holds())


@dataclass(frozen=True)
class Proven:
    """A generation whose purge has begun, and the copy of its object that this call has proven."""

    generation: Generation
    copy: LocalCopy


def target_of(session: Session, generation: Generation) -> Target:
    """Return the table as the session found it, with the range and the leaves in which the generation may delete rows."""
    table, manifest = session.table, generation.manifest
    # A leaf attached since the archive may by chance have the same keys and xmins, although its rows are in no object.
    archived = {(leaf.oid, leaf.columns) for leaf in manifest.source.leaves}
    leaves = tuple(leaf for leaf in table.leaves if (leaf.oid, leaf.columns) in archived)
    return Target(session.task.table, table, _days(session, manifest), leaves, session.task.source.config.statement_timeout_seconds)


def _days(session: Session, manifest: Manifest) -> sql.Days:
    """Return the intersection of the partition's ranges in the manifest and in today's config: the time zone may have changed since."""
    days = session.table.days(session.task.partition)
    if session.table.timestamp.builtin_type != "timestamptz":
        return days  # local days have the same bounds in every zone
    partition = session.task.partition
    return replace(days, lower=max(partition.start, manifest.partition.start), upper=min(partition.end, manifest.partition.end))


def delete_all(session: Session, proven: Proven, note: Callable[[Deleted], None]) -> Tally:
    """Delete the rows of a proven generation that are still in the table.

    Each batch is its own transaction; `note` is called after its commit. Raises SourceChanged or TableRefused if the table is altered
    meanwhile, and the other errors of the source.
    """
    require_purge(session.task.table)
    task, target = session.task, target_of(session, proven.generation)
    manifest, tally, last = proven.generation.manifest, Tally(), Deleted()
    pace = Pace(task, session.connection)
    with task.progress("purge", manifest.rows, beside=manifest.object.bytes) as progress:
        for batch in batches_of(session, proven):
            if tally.batches:
                pace.pause_between_batches(last.blocked)
            last = _delete_past_conflicts(session, target, batch, pace)
            note(last)
            tally += Tally(last, 1)
            progress.add(batch.versions.num_rows)
            task.reached(Step.BATCH_DELETED)
    return tally


def _delete_past_conflicts(session: Session, target: Target, batch: Batch, pace: Pace) -> Deleted:
    # A row that moves between leaves, or a deadlock, ends the transaction but not the session.
    for pause in _CONFLICT_PAUSES:
        try:
            with session.task.source.errors():
                return delete_rows(session.connection, target, batch, session.held_rows, pace.is_time_to_look)
        except SourceConflict as conflict:
            log.info("%s: trying a batch again after: %s", session.task.label, conflict.message)
        session.task.sleep(pause)
    return delete_rows(session.connection, target, batch, session.held_rows, pace.is_time_to_look)


def batches_of(session: Session, proven: Proven) -> Iterator[Batch]:
    """Yield the rows of a proven generation in batches of at most `batch_size`, in the object's order."""
    names = list(dict.fromkeys([*(column.name for column in session.table.key), session.table.timestamp.name, XMIN]))
    size = session.task.table.batch_size
    for group in proven.copy.row_groups():
        versions = group.columns(names)
        believed = _believed(session, proven.generation, versions)
        for start in range(0, versions.num_rows, size):
            yield Batch(versions.slice(start, size), believed.slice(start, size), _content(group, start))


def _believed(session: Session, generation: Generation, versions: pa.RecordBatch) -> pa.BooleanArray:
    if not versions_believed(generation, session.server, session.table):
        return pa.array([False] * versions.num_rows)
    return pc.invert(doubtful(versions.column(XMIN), generation.manifest.source, session.server.next_xid))


def _content(group: RowGroup, offset: int) -> Callable[[int, int], pa.RecordBatch]:
    return lambda start, stop: group.whole.slice(offset + start, stop - start)
