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
from archiver_assets.errors import ArchiverError, NotArchived, NotVerified, SourceChanged
from archiver_assets.lifecycle.archive_only import require_purge
from archiver_assets.lifecycle.generations import (
    Generation,
    drift,
    own_generations,
    reject,
)
from archiver_assets.lifecycle.preflight import require_compliance, require_preflight
from archiver_assets.lifecycle.progress import of_generation
from archiver_assets.lifecycle.purging.deletion import Proven, Session, Tally, delete_all
from archiver_assets.lifecycle.purging.dropping import Dropped, drop_empty_leaves, drop_proven_leaves
from archiver_assets.lifecycle.purging.marks import mark_purging, require_not_rejected, write_receipt
from archiver_assets.lifecycle.purging.remaining import Left, Remaining, count_left
from archiver_assets.lifecycle.purging.restorability import require_restorable
from archiver_assets.lifecycle.purging.vacuum import Vacuumed, vacuum
from archiver_assets.lifecycle.retrying import persistently, working
from archiver_assets.lifecycle.task import Step, Task, log
from archiver_assets.lifecycle.verifying.bucket_history import require_manifest_as_written
from archiver_assets.lifecycle.verifying.readback import read_back
from archiver_assets.source import sql
from archiver_assets.source.catalog import Connection, Counted, Table, read_server, read_table
from archiver_assets.source.deleting import Deleted
from archiver_assets.source.session import locked_table, partition_lock

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


Done = dict[int, Tally]
"""What this call has deleted of each generation, in all its tries: a lost connection loses no count of what went before it."""


@dataclass
class _Work:
    """One try of a purge, so far: the `tally` of the generations of `numbers`, and what spoke against the others."""

    session: Session
    remaining: Remaining
    deleted: Done
    tried_before: bool
    tally: Tally = field(default_factory=Tally)
    numbers: list[int] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    refusals: list[ArchiverError] = field(default_factory=list)

    def note(self, number: int, rows: Deleted, batches: int) -> None:
        """Note what was deleted of a generation."""
        gone = Deleted(by_version=rows.by_version, by_content=rows.by_content)
        self.deleted[number] = self.deleted.get(number, Tally()) + Tally(gone, batches)

    def left(self, tally: Tally) -> Left:
        """Return what is left of the partition after `tally`; counted where an earlier try, or a refused generation, deleted more."""
        return count_left(self.session) if self.tried_before or self.refusals else self.remaining.after(tally.rows)


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
        deleted: Done = {}
        purged = persistently(task, "purge", lambda: _purge(task, deleted))
        return replace(purged, vacuumed=vacuum(task, purged.table, purged.tally.purged)) if purged.outcome == "purged" else purged


def _purge(task: Task, deleted: Done) -> Purged:
    started = task.monotonic()
    require_compliance(task)
    with task.source.connect() as connection, partition_lock(connection, table=task.table.label, partition=task.partition):
        task.reached(Step.LOCKED)
        server = read_server(connection)
        task.partition.require_expired(now=server.now, retention_days=task.table.retention_days, table=task.table.label)
        require_preflight(task, connection, "purge")
        session = Session(task, connection, server, _read_table(task, connection), task.hold_places())
        result = _purge_open(session, deleted)
        task.reached(Step.UNLOCKED)
    left = f"{result.late:,} late, {result.held:,} held"
    number = result.generation.number if result.generation else None
    facts = {"outcome": result.outcome, "rows": result.tally.purged, "generation": number}
    log.info("%s: %s, %s rows purged, %s", task.label, result.outcome, f"{result.tally.purged:,}", left, extra=facts)
    return replace(result, seconds=task.monotonic() - started)


def _read_table(task: Task, connection: Connection) -> Table:
    with locked_table(connection, sql.Relation(task.table.schema_name, task.table.name)):
        return read_table(connection, task.table)


def _purge_open(session: Session, deleted: Done) -> Purged:
    task = session.task
    generations = own_generations(task, session.server)
    newest = generations.live[-1] if generations.live else None
    if any(hold.holds_all_of(task.partition.day) for hold in session.holds()):
        return _noted(Purged("held", newest, session.table, sum(deleted.values(), Tally()), 0, 0.0), count_left(session))
    drops = task.table.purge_method == "drop_partition"
    # A leaf can have rows of all generations, so that it is dropped by the proofs of all. Else one copy on disk at a time is enough.
    groups = [generations.open] if drops else [(each,) for each in generations.open]
    work = _Work(session, Remaining(session), deleted, tried_before=bool(deleted))
    for group in groups:
        _purge_together(work, group)
    if drops:
        work.dropped += drop_empty_leaves(session)
    left = work.left(work.tally)
    _require_nothing_wrong(task, work.refusals, left.rows, any_live=any(not each.former for each in generations.live))
    tally = sum((each for number, each in deleted.items() if number not in work.numbers), work.tally)
    outcome: Outcome = "already purged" if newest else "empty"
    if work.numbers or deleted:
        outcome = "incomplete" if tally.left else "held" if tally.rows.held else "purged"
    return _noted(Purged(outcome, newest, session.table, tally, 0, 0.0, tuple(work.dropped)), left)


def _noted(purged: Purged, left: Left) -> Purged:
    """Say what is left: held, or else late."""
    late = max(left.rows.all - left.rows.held - purged.tally.rows.locked, 0)
    return replace(purged, late=late, held=left.rows.held, holds=left.holds, held_by=left.rows.by_hold)


def _purge_together(work: _Work, generations: Sequence[Generation]) -> None:
    session, started_at = work.session, work.session.task.clock()
    task = session.task
    with ExitStack() as copies:
        proven = []
        for generation in generations:
            with of_generation(generation.number), _skipping(work, generation):
                proven.append(copies.enter_context(_proven(session, generation)))
        if proven:
            work.remaining.count_before()
        dropped = drop_proven_leaves(session, proven) if task.table.purge_method == "drop_partition" else Dropped()
        work.dropped += dropped.leaves
        for each in proven:
            number = each.generation.number
            with of_generation(number), _skipping(work, each.generation):
                work.tally += _purge_one(work, each, dropped.rows.get(number, 0), started_at)
                work.numbers.append(number)


@contextmanager
def _skipping(work: _Work, generation: Generation) -> Iterator[None]:
    """Note a refusal of one generation and go on with the others."""
    try:
        yield
    except (NotVerified, SourceChanged) as refusal:
        log.warning("%s: generation %s is skipped: %s", work.session.task.label, generation.number, refusal.message)
        work.refusals.append(refusal)


def _require_nothing_wrong(task: Task, refusals: Sequence[ArchiverError], left: Counted, *, any_live: bool) -> None:
    # A generation of another shape is no reason to fail for ever, once its rows are gone, or held in a later generation too.
    serious = [refusal for refusal in refusals if left.all > left.held or isinstance(refusal, NotVerified)]
    if serious:
        if isinstance(serious[0], NotVerified):
            serious[0].rejected = sum(each.rejected for each in serious if isinstance(each, NotVerified))
        raise serious[0]
    if left.all and not any_live:
        message = f"{task.label}: expected a generation that holds the {left.all} rows of the table, found none that counts"
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
        mark_purging(task, generation)
        task.reached(Step.PURGE_MARKED)
        require_not_rejected(task, generation)
        yield Proven(generation, copy)


def _purge_one(work: _Work, proven: Proven, dropped: int, started_at: datetime) -> Tally:
    """Delete what is left of a generation after `dropped` rows of it went with their leaves, and write the receipt."""
    session, generation = work.session, proven.generation
    task, number = session.task, generation.number
    before = work.deleted.get(number, Tally())  # by an earlier try of this call
    work.note(number, Deleted(by_version=dropped), 0)
    tally = Tally() if dropped == generation.manifest.rows else delete_all(session, proven, lambda rows: work.note(number, rows, 1))
    # What went with a leaf or in an earlier try is no longer there to be deleted, unless it was inserted again meanwhile.
    gone = min(dropped + before.purged, tally.rows.gone)
    tally += before + Tally(Deleted(by_version=dropped, gone=-gone))
    if tally.left:
        log.warning("%s: %s rows are locked by others or of another day by now; they stay", task.label, f"{tally.left:,}")
    if tally.rows.held:
        log.warning("%s: %s rows of generation %s are held; they stay", task.label, f"{tally.rows.held:,}", number)
    if tally.left or tally.rows.held:
        return tally
    left = work.left(work.tally + tally)
    write_receipt(task, generation, tally, started_at=started_at, late=left.rows.all, held_before=work.remaining.held_before)
    task.reached(Step.RECEIPT_WRITTEN)
    return tally
