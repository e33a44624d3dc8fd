"""Purge: delete from the table exactly the rows that a generation holds, having proven the generation itself.

What belongs here: the order of proof, mark, deletes and receipt, and everything that stops a purge. What does not: how a batch is deleted
(`source/deleting.py`), how a generation is proven (`verifying/readback.py`).

Nothing that ran before is trusted, no check and no earlier verification: whoever asks for a purge alone gets the same proof. A crash
between any two steps leaves a state from which running purge again finishes.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from archiver_assets.config import Hold
from archiver_assets.errors import ArchiverError, ManifestInvalid, NotArchived, NotVerified, ObjectExists, SourceChanged
from archiver_assets.lifecycle.archive_only import require_purge
from archiver_assets.lifecycle.generations import (
    Generation,
    drift,
    own_generations,
    reject,
    was_rejected,
)
from archiver_assets.lifecycle.preflight import require_compliance, require_preflight
from archiver_assets.lifecycle.progress import of_generation
from archiver_assets.lifecycle.purging.deletion import Proven, Session, Tally, delete_all
from archiver_assets.lifecycle.purging.dropping import Dropped, drop_empty_leaves, drop_proven_leaves
from archiver_assets.lifecycle.purging.restorability import require_restorable
from archiver_assets.lifecycle.purging.vacuum import Vacuumed, vacuum
from archiver_assets.lifecycle.retrying import persistently, working
from archiver_assets.lifecycle.task import Step, Task, log
from archiver_assets.lifecycle.verifying.bucket_history import require_manifest_as_written
from archiver_assets.lifecycle.verifying.readback import read_back
from archiver_assets.source import sql
from archiver_assets.source.catalog import Connection, Counted, Table, count_held, count_rows, read_server, read_table
from archiver_assets.source.deleting import Deleted
from archiver_assets.source.hold_rows import held_rows
from archiver_assets.source.session import locked_table, partition_lock
from archiver_assets.store.keys import Mark
from archiver_assets.store.manifest import PurgeSettings, Purging, Receipt, decode, encode
from archiver_assets.store.objects import read_whole

Outcome = Literal["purged", "already purged", "empty", "incomplete", "held"]


@dataclass(frozen=True)
class Purged:
    """What a purge did. `late` is what the table still holds of the partition and no purged generation does; `generation` is the newest.

    `dropped` names the leaves that were dropped, with the rows of `tally` or empty.
    "incomplete" means that rows which should have gone were locked by others; another purge goes on with them. "held" means that nothing is
    left to delete but rows which legal holds keep. `held` is the number of such rows in the table, archived or not, and `holds` are those
    in force on the partition, both at the end; `held_by` says how many rows each of them keeps.
    """

    outcome: Outcome
    generation: Generation | None
    table: Table
    tally: Tally
    late: int
    seconds: float
    dropped: tuple[str, ...] = ()
    vacuumed: Vacuumed = field(default_factory=Vacuumed)
    held: int = 0
    holds: tuple[Hold, ...] = ()
    held_by: tuple[int, ...] = ()


def purge(task: Task) -> Purged:
    """Purge the partition's open generations, oldest first. Without rows and without generation that is a success that deletes nothing.

    A generation that does not prove itself is skipped, and the others are purged all the same. Rows that legal holds keep stay; holds are
    read before anything is deleted, and again for every transaction.

    Raises HoldsUnreadable if that fails, NotArchived for rows without a generation, NotVerified for a generation that failed, SourceChanged
    where the table is not that of the manifest, ConfigError where compliance forbids the purge, and NotExpired, PartitionBusy,
    SourceStrained, TableRefused and the errors of source and store. Rows deleted before an error are those of whole batches, each proven.
    """
    require_purge(task.table)
    with working(task, "purge"):
        purged = persistently(task, "purge", lambda: _purge(task))
        return replace(purged, vacuumed=vacuum(task, purged.table, purged.tally.purged)) if purged.outcome == "purged" else purged


def _purge(task: Task) -> Purged:
    started = task.monotonic()
    require_compliance(task)
    with task.source.connect() as connection, partition_lock(connection, table=task.table.label, partition=task.partition):
        task.reached(Step.LOCKED)
        server = read_server(connection)
        task.partition.require_expired(now=server.now, retention_days=task.table.retention_days, table=task.table.label)
        require_preflight(task, connection, "purge")
        session = Session(task, connection, server, _read_table(task, connection), task.hold_places())
        result = _purge_open(session)
        task.reached(Step.UNLOCKED)
    left = f"{result.late:,} late, {result.held:,} held"
    number = result.generation.number if result.generation else None
    facts = {"outcome": result.outcome, "rows": result.tally.purged, "generation": number}
    log.info("%s: %s, %s rows purged, %s", task.label, result.outcome, f"{result.tally.purged:,}", left, extra=facts)
    return replace(result, seconds=task.monotonic() - started)


def _read_table(task: Task, connection: Connection) -> Table:
    with locked_table(connection, sql.Relation(task.table.schema_name, task.table.name)):
        return read_table(connection, task.table)


def _purge_open(session: Session) -> Purged:
    task = session.task
    generations = own_generations(task, session.server)
    newest = generations.live[-1] if generations.live else None
    if any(hold.holds_all_of(task.partition.day) for hold in session.holds()):
        return _count_left(session).noted_in(Purged("held", newest, session.table, Tally(), 0, 0.0))
    drops = task.table.purge_method == "drop_partition"
    # A leaf can have rows of all generations, so that it is dropped by the proofs of all. Else one copy on disk at a time is enough.
    groups = [generations.open] if drops else [(each,) for each in generations.open]
    results = [_purge_together(session, group) for group in groups]
    tally = sum((result.tally for result in results), Tally())
    dropped = [name for result in results for name in result.dropped] + (drop_empty_leaves(session) if drops else [])
    left = _count_left(session)
    refusals = [refusal for result in results for refusal in result.refusals]
    _require_nothing_wrong(task, refusals, left.rows.all, any_live=any(not each.former for each in generations.live))
    outcome: Outcome = "already purged" if newest else "empty"
    if any(result.purged for result in results):
        outcome = "incomplete" if tally.left else "held" if tally.rows.held else "purged"
    return left.noted_in(Purged(outcome, newest, session.table, tally, 0, 0.0, tuple(dropped)))


@dataclass(frozen=True)
class _Left:
    """The rows that the table still has of the partition, counted once, and the holds of that moment."""

    rows: Counted
    holds: tuple[Hold, ...]

    def noted_in(self, purged: Purged) -> Purged:
        """Say what is left: held, or else late."""
        late = max(self.rows.all - self.rows.held - purged.tally.rows.locked, 0)
        return replace(purged, late=late, held=self.rows.held, holds=self.holds, held_by=self.rows.by_hold)


def _count_left(session: Session) -> _Left:
    holds = session.holds()
    held = held_rows(session.connection, session.task.table, session.table, holds)
    return _Left(count_held(session.connection, session.table.days(session.task.partition), held), holds)


@dataclass
class _Together:
    """What became of generations that were purged together."""

    tally: Tally = field(default_factory=Tally)
    purged: int = 0
    dropped: list[str] = field(default_factory=list)
    refusals: list[ArchiverError] = field(default_factory=list)


def _purge_together(session: Session, generations: Sequence[Generation]) -> _Together:
    task, result, started_at = session.task, _Together(), session.task.clock()
    with ExitStack() as copies:
        proven = []
        for generation in generations:
            with of_generation(generation.number), _skipping(task, generation, result):
                proven.append(copies.enter_context(_proven(session, generation)))
        dropped = drop_proven_leaves(session, proven) if task.table.purge_method == "drop_partition" else Dropped()
        result.dropped = dropped.leaves
        for each in proven:
            with of_generation(each.generation.number), _skipping(task, each.generation, result):
                result.tally += _purge_one(session, each, dropped.rows.get(each.generation.number, 0), started_at)
                result.purged += 1
    return result


@contextmanager
def _skipping(task: Task, generation: Generation, result: _Together) -> Iterator[None]:
    """Note a refusal of one generation and go on with the others."""
    try:
        yield
    except (NotVerified, SourceChanged) as refusal:
        log.warning("%s: generation %s is skipped: %s", task.label, generation.number, refusal.message)
        result.refusals.append(refusal)


def _require_nothing_wrong(task: Task, refusals: Sequence[ArchiverError], left: int, *, any_live: bool) -> None:
    # Rows of another shape that are gone, archived anew by a later generation, are no reason to complain for ever.
    serious = [refusal for refusal in refusals if left or isinstance(refusal, NotVerified)]
    if serious:
        if isinstance(serious[0], NotVerified):
            serious[0].rejected = sum(each.rejected for each in serious if isinstance(each, NotVerified))
        raise serious[0]
    if left and not any_live:
        message = f"{task.label}: expected a generation that holds the {left} rows of the table, found none that counts"
        raise NotArchived(message, hint="archive the partition first; nothing was deleted")


def require_no_drift(task: Task, table: Table, generation: Generation) -> None:
    """Raise SourceChanged if the table has another shape than the generation recorded."""
    if changed := drift(task, table, generation):
        message = f"{task.label}: the table is not as generation {generation.number} recorded it: {'; '.join(changed)}"
        raise SourceChanged(message, hint="archive the partition again, then purge; nothing was deleted by this generation")


@contextmanager
def _proven(session: Session, generation: Generation) -> Iterator[Proven]:
    """Prove a generation, and say in the store that its purge has begun, before the block deletes its first row."""
    task = session.task
    require_no_drift(task, session.table, generation)
    with read_back(task, generation) as copy:
        require_manifest_as_written(task, generation, versioned=copy.verification.versioned)
        if not copy.verification.passed:
            rejected = reject(task, generation, copy.verification.mismatches)
            raise copy.verification.failure(task.label, rejected=rejected)
        task.reached(Step.READ_BACK)
        if task.table.verification == "restore":
            require_restorable(session, generation, copy)
        _mark_purging(task, generation)
        task.reached(Step.PURGE_MARKED)
        _require_not_rejected(task, generation)
        yield Proven(generation, copy)


def _purge_one(session: Session, proven: Proven, dropped: int, started_at: datetime) -> Tally:
    """Delete what is left of a generation after `dropped` rows of it went with their leaves, and write the receipt."""
    task, generation = session.task, proven.generation
    tally = Tally() if dropped == generation.manifest.rows else delete_all(session, proven)
    if dropped and tally.batches:
        tally += Tally(Deleted(gone=-dropped))  # they are no longer there to be deleted
    tally += Tally(Deleted(by_version=dropped))
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


def _write_receipt(session: Session, generation: Generation, tally: Tally, started_at: datetime) -> None:
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
