"""Purge: prove each generation, then delete exactly the rows that it holds from the table.

What belongs here: the order of proof, mark, deletes and receipt, and everything that stops a purge. What does not: how a batch is deleted
(`source/deleting.py`), and how a generation is proven (`verifying/readback.py`).

A purge trusts no earlier check or verification, so a purge that is run alone makes the same proof. After a crash between any two steps,
running the purge again completes it.
"""

from collections.abc import Iterator, Mapping, Sequence
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
from archiver_assets.lifecycle.purging.dropping import drop_empty_leaves, drop_proven_leaves
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
    """What a purge did. `generation` is the newest live generation. `late` counts the rows left besides held and locked ones.

    `dropped` names the leaves that were dropped, with rows that `tally` includes or empty. The outcome "incomplete" means that rows which
    should have been deleted were locked by others; the next purge continues with them. The outcome "held" means that only rows under legal
    hold are left to delete. `held` is the number of held rows in the table, archived or not; `holds` are the holds in force on the
    partition, and `held_by` is the number of rows that each keeps. All three are as of the end of the purge.
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


@dataclass
class _Done:
    """What this call committed, over all attempts: the rows deleted by generation number, and the leaves. A lost connection loses none."""

    tallies: dict[int, Tally] = field(default_factory=dict)
    leaves: list[str] = field(default_factory=list)


@dataclass
class _Work:
    """One attempt of a purge so far: the `tally` of the generations in `numbers`, and the `refusals` of the others.

    `earlier` has the tallies of the attempts before it, and `dropped` the rows that this one dropped with leaves, by generation number.
    """

    session: Session
    remaining: Remaining
    done: _Done
    earlier: Mapping[int, Tally]
    tally: Tally = field(default_factory=Tally)
    numbers: list[int] = field(default_factory=list)
    dropped: dict[int, int] = field(default_factory=dict)
    refusals: list[ArchiverError] = field(default_factory=list)

    def note(self, number: int, rows: Deleted, batches: int) -> None:
        """Record rows and batches deleted for a generation."""
        gone = Deleted(by_version=rows.by_version, by_content=rows.by_content)
        self.done.tallies[number] = self.done.tallies.get(number, Tally()) + Tally(gone, batches)

    def note_leaf(self, name: str, rows: Mapping[int, int]) -> None:
        """Record a dropped leaf, and the rows of each generation that went with it."""
        self.done.leaves.append(name)
        for number, count in rows.items():
            self.dropped[number] = self.dropped.get(number, 0) + count
            self.note(number, Deleted(by_version=count), 0)

    def left(self, tally: Tally) -> Left:
        """Return what is left after `tally`. Count it if an earlier attempt or a refused generation may have deleted more."""
        return count_left(self.session) if self.earlier or self.refusals else self.remaining.after(tally.rows)


def purge(task: Task) -> Purged:
    """Purge the partition's open generations, oldest first. If there are neither rows nor generations, succeed without deleting anything.

    A generation whose proof fails is skipped, and the others are still purged. Rows under legal hold stay; the holds are read before
    anything is deleted, and again in every transaction.

    Raises HoldsUnreadable if the holds cannot be read, NotArchived for rows without a generation, NotVerified for a generation that failed
    verification, SourceChanged if the table is not that of the manifest, ConfigError if compliance forbids the purge, and NotExpired,
    PartitionBusy, SourceStrained, TableRefused and the errors of source and store. Rows deleted before an error belong to complete batches
    of proven generations.
    """
    require_purge(task.table)
    with working(task, "purge"):
        done = _Done()
        purged = persistently(task, "purge", lambda: _purge(task, done))
        return replace(purged, vacuumed=vacuum(task, purged.table, purged.tally.purged)) if purged.outcome == "purged" else purged


def _purge(task: Task, done: _Done) -> Purged:
    started = task.monotonic()
    require_compliance(task)
    with task.source.connect() as connection, partition_lock(connection, table=task.table.label, partition=task.partition):
        task.reached(Step.LOCKED)
        server = read_server(connection)
        task.partition.require_expired(now=server.now, retention_days=task.table.retention_days, table=task.table.label)
        require_preflight(task, connection, "purge")
        session = Session(task, connection, server, _read_table(task, connection), task.hold_places())
        result = _purge_open(session, done)
        task.reached(Step.UNLOCKED)
    left = f"{result.late:,} late, {result.held:,} held"
    number = result.generation.number if result.generation else None
    facts = {"outcome": result.outcome, "rows": result.tally.purged, "generation": number}
    log.info("%s: %s, %s rows purged, %s", task.label, result.outcome, f"{result.tally.purged:,}", left, extra=facts)
    return replace(result, seconds=task.monotonic() - started)


def _read_table(task: Task, connection: Connection) -> Table:
    with locked_table(connection, sql.Relation(task.table.schema_name, task.table.name)):
        return read_table(connection, task.table)


def _purge_open(session: Session, done: _Done) -> Purged:
    task = session.task
    generations = own_generations(task, session.server)
    newest = generations.live[-1] if generations.live else None
    if any(hold.holds_all_of(task.partition.day) for hold in session.holds()):
        return _noted(Purged("held", newest, session.table, sum(done.tallies.values(), Tally()), 0, 0.0), count_left(session))
    drops = task.table.purge_method == "drop_partition"
    # A leaf can have rows of all generations, so dropping it needs the proofs of all. Deletes need only one copy on disk at a time.
    groups = [generations.open] if drops else [(each,) for each in generations.open]
    work = _Work(session, Remaining(session), done, earlier=dict(done.tallies))
    for group in groups:
        _purge_together(work, group)
    if drops:
        drop_empty_leaves(session, work.note_leaf)
    left = work.left(work.tally)
    _require_nothing_wrong(task, work.refusals, left.rows, any_live=any(not each.former for each in generations.live))
    tally = sum((each for number, each in done.tallies.items() if number not in work.numbers), work.tally)
    outcome: Outcome = "already purged" if newest else "empty"
    if work.numbers or done.tallies:
        outcome = "incomplete" if tally.left else "held" if tally.rows.held else "purged"
    return _noted(Purged(outcome, newest, session.table, tally, 0, 0.0, tuple(done.leaves)), left)


def _noted(purged: Purged, left: Left) -> Purged:
    """Return `purged` with the numbers of rows left: held or late."""
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
        if task.table.purge_method == "drop_partition":
            drop_proven_leaves(session, proven, work.note_leaf)
        for each in proven:
            number = each.generation.number
            with of_generation(number), _skipping(work, each.generation):
                work.tally += _purge_one(work, each, started_at)
                work.numbers.append(number)


@contextmanager
def _skipping(work: _Work, generation: Generation) -> Iterator[None]:
    """Record the refusal of one generation, and continue with the others."""
    try:
        yield
    except (NotVerified, SourceChanged) as refusal:
        log.warning("%s: generation %s is skipped: %s", work.session.task.label, generation.number, refusal.message)
        work.refusals.append(refusal)


def _require_nothing_wrong(task: Task, refusals: Sequence[ArchiverError], left: Counted, *, any_live: bool) -> None:
    # A generation of another shape must not fail every purge forever once no rows are left, or only held ones.
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
        message = f"{task.label}: the table has changed since generation {generation.number} recorded it: {'; '.join(changed)}"
        raise SourceChanged(message, hint="archive the partition again, then purge; nothing was deleted by this generation")


@contextmanager
def _proven(session: Session, generation: Generation) -> Iterator[Proven]:
    """Prove a generation and write its purging mark, before the block deletes its first row."""
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


def _purge_one(work: _Work, proven: Proven, started_at: datetime) -> Tally:
    """Delete the rows of a generation that did not go with their leaves, and write the receipt."""
    session, generation = work.session, proven.generation
    task, number = session.task, generation.number
    earlier, dropped = work.earlier.get(number, Tally()), work.dropped.get(number, 0)
    work.note(number, Deleted(), 0)  # also if all its rows are gone, this call purged it
    tally = Tally() if dropped == generation.manifest.rows else delete_all(session, proven, lambda rows: work.note(number, rows, 1))
    # Rows dropped with a leaf or deleted by an earlier attempt now count as gone, unless they were inserted again meanwhile.
    gone = min(dropped + earlier.purged, tally.rows.gone)
    tally += earlier + Tally(Deleted(by_version=dropped, gone=-gone))
    if tally.left:
        log.warning("%s: %s rows stay: others have locked them, or they now belong to another day", task.label, f"{tally.left:,}")
    if tally.rows.held:
        log.warning("%s: %s rows of generation %s stay: legal holds keep them", task.label, f"{tally.rows.held:,}", number)
    if tally.left or tally.rows.held:
        return tally
    left = work.left(work.tally + tally)
    write_receipt(task, generation, tally, started_at=started_at, late=left.rows.all, held_before=work.remaining.held_before)
    task.reached(Step.RECEIPT_WRITTEN)
    return tally
