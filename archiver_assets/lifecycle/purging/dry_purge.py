"""The dry run of a purge: what it would delete, what it would leave and why, and everything that would stop it, in one report.

What belongs here: determining, for each row of each open generation, what a purge would do with it now. What does not: deleting, marking
and rejecting.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from archiver_assets.config import Hold
from archiver_assets.errors import NotArchived, SourceChanged
from archiver_assets.lifecycle.archive_only import require_purge
from archiver_assets.lifecycle.coverage import Coverage
from archiver_assets.lifecycle.dry_run import Look, damage_of, finding_of, look_at, relation
from archiver_assets.lifecycle.generations import Generation
from archiver_assets.lifecycle.purging.deletion import Proven, Session, batches_of, target_of
from archiver_assets.lifecycle.purging.purge import require_no_drift
from archiver_assets.lifecycle.retrying import persistently
from archiver_assets.lifecycle.task import Task, log
from archiver_assets.lifecycle.verifying.bucket_history import require_manifest_as_written
from archiver_assets.lifecycle.verifying.readback import Verification, read_back
from archiver_assets.source import sql
from archiver_assets.source.catalog import XMIN, Table, count_held
from archiver_assets.source.deleting import Deleted, Foreseen, foresee
from archiver_assets.source.findings import NOTHING, PURGE, Finding
from archiver_assets.source.hold_rows import held_rows
from archiver_assets.source.session import open_snapshot

Outcome = Literal["would purge", "already purged", "empty", "held", "would be refused"]


@dataclass(frozen=True)
class Kept:
    """The partition's rows in the table: `all` of them, and the number `held`, in total and by each hold."""

    all: int
    held: int
    holds: tuple[Hold, ...] = ()
    held_by: tuple[int, ...] = ()


@dataclass(frozen=True)
class DryPurge:
    """What a purge would do. `rows` and `kept` are None if they could not be determined.

    `rows` has no locked rows, because only a DELETE meets row locks. `late` counts the rows left besides held ones: rows that no generation
    holds, or only in another version. `findings` are the reasons that would stop the purge, and warnings for the table's owner.
    """

    outcome: Outcome
    findings: tuple[Finding, ...]
    verifications: tuple[Verification, ...]
    generation: Generation | None
    table: Table | None
    rows: Deleted | None
    kept: Kept | None
    seconds: float

    @property
    def purged(self) -> int:
        """The rows that would be deleted."""
        return self.rows.by_version + self.rows.by_content if self.rows else 0

    @property
    def late(self) -> int | None:
        """The rows that would be left besides held ones."""
        return None if self.kept is None else max(self.kept.all - self.kept.held - self.purged, 0)


def dry_purge(task: Task, *, archived_first: bool = False) -> DryPurge:
    """Return what a purge of the partition would do. Reads the open generations back, and needs disk space for all of them at once.

    `archived_first` means that the same run would archive first. Rows that no generation holds are then no reason to refuse: they are
    `late` here, and the generation still to be archived would purge them.

    Raises TableRefused for a table that is only archived, and SourceUnavailable, SourceConflict and other errors that leave nothing to
    report. Every other error of a real run becomes a finding.
    """
    require_purge(task.table)
    return persistently(task, "dry run of purge", lambda: _dry_purge(task, archived_first=archived_first))


def _dry_purge(task: Task, *, archived_first: bool) -> DryPurge:
    started = task.monotonic()
    with look_at(task) as look, ExitStack() as copies:
        proven, verifications, drifted = _prove(look, copies, archived_first=archived_first)
        rows, kept = _count(look, proven)
        live = look.generations.live if look.generations else ()
        left = 0 if kept is None or archived_first else kept.all - (rows.by_version + rows.by_content if rows else 0)
        free = left - kept.held if kept and left else 0
        # As in a purge, a changed shape of the table matters only while there are rows that no hold keeps.
        look.findings.met += [*(finding_of(error, PURGE if free else NOTHING) for error in drifted), *_not_tried(task)]
        if left and look.generations and not any(not each.former for each in live):
            look.findings.met.append(finding_of(_not_archived(task, left), PURGE))
    result = DryPurge(
        _outcome(look, live, rows, kept, archived_first=archived_first),
        tuple(look.findings.met),
        verifications,
        live[-1] if live else None,
        look.table,
        rows,
        kept,
        task.monotonic() - started,
    )
    log.info("dry run of purge %s: %s, %s rows", task.label, result.outcome, f"{result.purged:,}")
    return result


def _not_tried(task: Task) -> Iterator[Finding]:
    if task.table.verification == "restore":
        what = "verification is restore: only a purge tests whether the objects can be restored, because the test needs a temporary table"
        yield Finding("restore_not_tried", what, "nothing to do", NOTHING)


def _not_archived(task: Task, left: int) -> NotArchived:
    message = f"{task.label}: expected a generation that holds the {left} rows of the table, found none that counts"
    return NotArchived(message, hint="archive the partition first")


def _outcome(look: Look, live: Sequence[Generation], rows: Deleted | None, kept: Kept | None, *, archived_first: bool) -> Outcome:
    if look.findings.stopping("purge") or rows is None or kept is None:
        return "would be refused"
    if rows.by_version + rows.by_content or (archived_first and kept.all > kept.held):
        return "would purge"
    if kept.held:
        return "held"
    return "already purged" if live else "empty"


def _prove(look: Look, copies: ExitStack, *, archived_first: bool) -> tuple[list[Proven], tuple[Verification, ...], list[SourceChanged]]:
    """Read the open generations back as a purge would. Return the proven ones, all verifications, and the errors of those that drifted."""
    proven: list[Proven] = []
    verifications: list[Verification] = []
    drifted: list[SourceChanged] = []
    for generation in look.generations.open if look.generations else ():
        with look.findings.noting(PURGE):
            try:
                if look.table is not None:
                    require_no_drift(look.task, look.table, generation)
            except SourceChanged as error:
                drifted.append(error)
                continue
            copy = copies.enter_context(read_back(look.task, generation))
            require_manifest_as_written(look.task, generation, versioned=copy.verification.versioned)
            verifications.append(copy.verification)
            if copy.verification.passed:
                proven.append(Proven(generation, copy))
            else:
                replaced = archived_first and not generation.purging
                look.findings.met.append(damage_of(look.task, generation, copy.verification, replaced=replaced))
    return proven, tuple(verifications), drifted


def _count(look: Look, proven: Sequence[Proven]) -> tuple[Deleted | None, Kept | None]:
    """Count, in one snapshot, what a purge would do with the rows of the proven generations, and the partition's rows in the table."""
    table, rows, kept = look.table, None, None
    if table is None:
        return rows, kept
    session = Session(look.task, look.connection, look.server, table, look.task.hold_places())
    with look.findings.noting(PURGE):
        # Before the snapshot, because testing a hold's condition on the server may end the transaction.
        holds = session.holds()
        held = held_rows(look.connection, look.task.table, table, holds)
        with open_snapshot(look.connection, relation(look.task)):
            counted = count_held(look.connection, table.days(look.task.partition), held)
            kept = Kept(counted.all, counted.held, holds, counted.by_hold)
            whole = any(hold.holds_all_of(look.task.partition.day) for hold in holds)
            rows = Deleted() if whole else _foresee_all(session, proven, held)
    return rows, kept


def _foresee_all(session: Session, proven: Sequence[Proven], held: Sequence[sql.HeldRows]) -> Deleted:
    rows = Deleted()
    going: list[pa.RecordBatch] = []
    for each in proven:
        # A row that an earlier generation deletes is already gone when this generation is purged.
        earlier, target = Coverage(going), target_of(session, each.generation)
        for batch in batches_of(session, each):
            found = foresee(session.connection, target, batch, held)
            keys = batch.versions.drop_columns([XMIN])
            rows += found.rows + _gone_by_then(found, earlier.uncovered(keys) if earlier else None)
            if each is not proven[-1]:
                going.append(keys.take(pa.array(sorted(found.by_version | found.by_content), pa.int64())))
    return rows


def _gone_by_then(found: Foreseen, still_there: pa.BooleanArray | None) -> Deleted:
    if still_there is None:
        return Deleted()
    there = still_there.to_pylist()
    by_version, by_content = (sum(not there[position] for position in which) for which in (found.by_version, found.by_content))
    return Deleted(by_version=-by_version, by_content=-by_content, gone=by_version + by_content)
