"""Purge: delete from the table exactly the row versions that a generation holds, having proven the generation itself.

What belongs here: the order of proof, mark, deletes and receipt, and everything that stops a purge. What does not: how a batch is deleted
(`source/deleting.py`), how a generation is proven (`verify.py`).

Nothing that ran before is trusted, no check and no earlier verification: whoever asks for a purge alone gets the same proof. A crash
between any two steps leaves a state from which running purge again finishes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from archiver_assets.errors import ManifestInvalid, NotArchived, ObjectExists, SourceChanged
from archiver_assets.lifecycle.generations import Generation, find_generation, read_whole, require_same_source
from archiver_assets.lifecycle.task import Task, log
from archiver_assets.lifecycle.verify import LocalCopy, Verification, read_back
from archiver_assets.source import sql
from archiver_assets.source.catalog import XMIN, Connection, Server, Table, count_rows, read_server, read_table
from archiver_assets.source.deleting import Target, delete_row_versions
from archiver_assets.source.session import locked_table, partition_lock
from archiver_assets.store.keys import Mark
from archiver_assets.store.manifest import Manifest, PurgeSettings, Purging, Receipt, decode, encode

_XID_SPACE = 2**32


@dataclass(frozen=True)
class Tally:
    """What became of a generation's rows: `purged` by this call; `changed`, their key has another version; `gone` before this call."""

    purged: int = 0
    changed: int = 0
    gone: int = 0
    batches: int = 0


@dataclass(frozen=True)
class Purged:
    """What a purge did. `late` is what the table still holds of the partition: row versions that the generation does not hold."""

    outcome: Literal["purged", "already purged", "empty"]
    generation: Generation | None
    verification: Verification | None
    table: Table
    tally: Tally
    late: int
    seconds: float


def purge(task: Task) -> Purged:
    """Purge the partition's generation. A partition without rows and without generation is a success that deletes nothing.

    Raises NotArchived for rows without a generation, NotVerified for a generation that does not prove itself, SourceChanged where the
    row versions of the manifest cannot be believed, and NotExpired, PartitionBusy, TableRefused and the errors of source and store.
    Rows deleted before an error are those of whole batches, each of them proven.
    """
    started = task.monotonic()
    with task.source.connect() as connection, partition_lock(connection, table=task.table.label, partition=task.partition):
        server = read_server(connection)
        task.partition.require_expired(now=server.now, retention_days=task.table.retention_days, table=task.table.label)
        table = _read_table(task, connection)
        generation = find_generation(task)
        if generation is None or generation.receipt is not None:
            result = _nothing_to_purge(task, connection, table, generation)
        else:
            result = _purge_generation(task, connection, server, table, generation)
    log.info("%s: %s, %s rows purged, %s left", task.label, result.outcome, f"{result.tally.purged:,}", f"{result.late:,}")
    return replace(result, seconds=task.monotonic() - started)


def _read_table(task: Task, connection: Connection) -> Table:
    with locked_table(connection, sql.Relation(task.table.schema_name, task.table.name)):
        return read_table(connection, task.table)


def _nothing_to_purge(task: Task, connection: Connection, table: Table, generation: Generation | None) -> Purged:
    left = count_rows(connection, table.days(task.partition))
    if generation is None and left > 0:
        message = f"{task.label}: expected a generation that holds the {left} rows of the table, found none"
        raise NotArchived(message, hint="archive the partition first; nothing was deleted")
    return Purged("already purged" if generation else "empty", generation, None, table, Tally(), left, 0.0)


def _purge_generation(task: Task, connection: Connection, server: Server, table: Table, generation: Generation) -> Purged:
    started_at = task.clock()
    require_same_source(task, server, table, generation)
    with read_back(task.store, generation) as copy:
        copy.verification.require_passed(task.label)
        _require_believable_versions(task, server, generation.manifest, copy)
        _mark_purging(task, generation)
        tally = _delete_all(task, connection, _target(task, table, generation.manifest), copy)
    late = count_rows(connection, table.days(task.partition))
    receipt = _write_receipt(task, generation, tally, late, started_at)
    return Purged("purged", replace(generation, receipt=receipt), copy.verification, table, tally, late, 0.0)


def _require_believable_versions(task: Task, server: Server, manifest: Manifest, copy: LocalCopy) -> None:
    """Raise SourceChanged for rows whose xmin was in progress at the snapshot or given out since: it may name another version today."""
    snapshot = manifest.source.snapshot
    doubtful = sum(doubtful_versions(batch.column(XMIN), snapshot, server.next_xid) for batch in copy.batches([XMIN]))
    if doubtful:
        message = f"{task.label}: {doubtful} row versions carry transaction ids that were given out again since the archive"
        raise SourceChanged(message, hint="this version cannot purge them; nothing was deleted")


def doubtful_versions(xmins: pa.Array, snapshot: str, next_xid: int) -> int:
    """Count the xmins (uint32) that were in progress at the snapshot, or given out between it and `next_xid` (64 bits).

    `snapshot` is `xmin:xmax:xip`, 64 bits wide each; rows store ids modulo 2^32, so they are compared so. A row that the snapshot saw has
    such an xmin only if it was frozen an epoch ago.
    """
    _, xmax, in_progress = snapshot.split(":")
    if next_xid < int(xmax):
        return len(xmins)  # the server went back in time: a crash lost transactions, or an older copy of its disk was put back
    ids = xmins.cast(pa.int64())
    age = pc.bit_wise_and(pc.subtract(ids, int(xmax) % _XID_SPACE), _XID_SPACE - 1)
    running = pa.array([int(xid) % _XID_SPACE for xid in in_progress.split(",") if xid], pa.int64())
    doubtful = pc.or_(pc.less(age, next_xid - int(xmax)), pc.is_in(ids, running))
    return int(pc.sum(doubtful).as_py() or 0)


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
        log.info("%s: an earlier purge had begun; going on with it", task.label)


def _target(task: Task, table: Table, manifest: Manifest) -> Target:
    # Keys and xmins of a leaf that was attached since may be the same by chance, and its rows are in no object.
    archived = {(leaf.oid, leaf.columns) for leaf in manifest.source.leaves}
    leaves = tuple(leaf.oid for leaf in table.leaves if (leaf.oid, leaf.columns) in archived)
    return Target(task.table, table, table.days(task.partition), leaves)


def _delete_all(task: Task, connection: Connection, target: Target, copy: LocalCopy) -> Tally:
    progress = task.progress("purge", copy.verification.rows_in_manifest)
    tally = Tally()
    for versions in _batches(copy, [column.name for column in target.table.key], task.table.batch_size):
        if tally.batches and task.table.sleep_between_batches:
            task.sleep(task.table.sleep_between_batches)
        done = delete_row_versions(connection, target, versions)
        tally = Tally(tally.purged + done.deleted, tally.changed + done.changed, tally.gone + done.gone, tally.batches + 1)
        progress.add(versions.num_rows)
    return tally


def _batches(copy: LocalCopy, key: list[str], batch_size: int) -> Iterator[pa.RecordBatch]:
    for group in copy.batches([*key, XMIN]):
        for start in range(0, group.num_rows, batch_size):
            yield group.slice(start, batch_size)


def _write_receipt(task: Task, generation: Generation, tally: Tally, late: int, started_at: datetime) -> Receipt:
    receipt = Receipt(
        generation=generation.number,
        manifest_sha256=generation.manifest_sha256,
        at=task.clock(),
        run_id=task.run_id,
        started_at=started_at,
        rows_purged_by_version=tally.purged,
        rows_purged_by_content=0,
        rows_gone=tally.gone,
        rows_late=late,
        rows_held_before=0,
        batches=tally.batches,
        wal_bytes=None,
    )
    try:
        task.store.create(task.keys.mark(Mark.PURGED, generation.number), encode(receipt))
    except ObjectExists:
        log.info("%s: the receipt lies there already, by a try whose answer was lost", task.label)
    return receipt
