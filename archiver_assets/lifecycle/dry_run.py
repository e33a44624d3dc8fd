"""Dry runs: report what an archive or a purge would find and do now, without doing it.

What belongs here: a session and a store that cannot write, collecting every problem instead of stopping at the first, and the dry run of an
archive. What does not: the dry run of a purge (`purging/dry_purge.py`), and the protocol.

Read-only access is enforced, not assumed: the server makes the session read-only, and the store refuses every write. A dry run checks the
partition's lock without taking it, so it never blocks a real run. It still counts rows in one snapshot.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from archiver_assets.errors import ArchiverError, PartitionBusy, SourceConflict, SourceLoginRefused, SourceUnavailable
from archiver_assets.lifecycle.archiving.archive import count_uncovered, open_reader
from archiver_assets.lifecycle.coverage import read_coverage
from archiver_assets.lifecycle.generations import Generation, Generations, own_generations
from archiver_assets.lifecycle.preflight import require_compliance
from archiver_assets.lifecycle.retrying import persistently
from archiver_assets.lifecycle.task import Task, log
from archiver_assets.lifecycle.verifying.readback import Verification, read_back
from archiver_assets.source import sql, sql_session
from archiver_assets.source.catalog import Connection, Server, Table, count_rows, count_without_day, describe_table, read_server
from archiver_assets.source.findings import EVERYTHING, NOTHING, PURGE, Finding, Work
from archiver_assets.source.preflight import read_preflight
from archiver_assets.source.session import is_locked, locked_table, open_snapshot, require_primary
from archiver_assets.store.readonly import ReadOnlyStore


@dataclass
class Findings:
    """Every problem that would affect a run, in the order in which it was found."""

    task: Task
    met: list[Finding] = field(default_factory=list)

    @contextmanager
    def noting(self, stops: frozenset[Work] = EVERYTHING) -> Iterator[None]:
        """Record the error that would end a real run here, and continue after the block.

        SourceUnavailable, SourceLoginRefused and SourceConflict are raised instead, because nothing more can be found out after them.
        """
        try:
            with self.task.source.errors():
                yield
        except (SourceUnavailable, SourceLoginRefused, SourceConflict):
            raise
        except ArchiverError as error:
            self.met.append(finding_of(error, stops))

    def stopping(self, work: Work) -> bool:
        """Return whether a finding would stop the given work in a real run."""
        return any(work in each.stops for each in self.met)


def finding_of(error: ArchiverError, stops: frozenset[Work]) -> Finding:
    """Return an error of a real run as a finding, named after the class in snake case: NotExpired becomes `not_expired`."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__).lower()
    return Finding(name, error.message, error.hint, stops)


@dataclass(frozen=True)
class Look:
    """The common start of both dry runs. `table` or `generations` is None if it could not be read; `findings` then gives the reason."""

    task: Task
    connection: Connection
    server: Server
    findings: Findings
    table: Table | None
    generations: Generations | None


@contextmanager
def look_at(task: Task) -> Iterator[Look]:
    """Open a read-only session and store, and run every check that comes before the rows are read."""
    task = replace(task, store=ReadOnlyStore(task.store))
    findings = Findings(task)
    with findings.noting():
        require_compliance(task)
    with task.source.connect() as connection:
        connection.execute(sql_session.READ_ONLY)
        require_primary(connection, task.table.label)
        server = read_server(connection)
        with findings.noting():
            _require_idle(task, connection)
        with findings.noting():
            task.partition.require_expired(now=server.now, retention_days=task.table.retention_days, table=task.table.label)
        findings.met += read_preflight(connection, task.table)
        table, generations = None, None
        with findings.noting(), locked_table(connection, relation(task)):
            table = describe_table(connection, task.table)
        with findings.noting():
            generations = own_generations(task, server)
        yield Look(task, connection, server, findings, table, generations)


def _require_idle(task: Task, connection: Connection) -> None:
    if is_locked(connection, table=task.table.label, partition=task.partition):
        message = f"partition {task.partition.key} of {task.table.label} is currently locked by another session"
        raise PartitionBusy(message, hint="let the other run finish, then repeat the dry run; its counts may change")


def relation(task: Task) -> sql.Relation:
    """Return the schema and name of the task's table."""
    return sql.Relation(task.table.schema_name, task.table.name)


@dataclass(frozen=True)
class DryArchive:
    """What an archive would do. `rows` is the number of rows that it would archive; the other counts are as in `Archived`.

    A number that could not be determined is None. `verifications` are those of the live generations, as the check `row_counts` would report
    them before the archive.
    """

    outcome: Literal["would archive", "already archived", "empty", "would be refused"]
    findings: tuple[Finding, ...]
    verifications: tuple[Verification, ...]
    generation: Generation | None
    table: Table | None
    rows: int | None
    rows_in_table: int | None
    rows_without_day: int | None
    seconds: float


@dataclass(frozen=True)
class _Rows:
    new: int | None = None
    in_table: int | None = None
    without_day: int | None = None


def dry_archive(task: Task) -> DryArchive:
    """Return what an archive of the partition would do, and everything that would stop it.

    Reads the live generations back, and the open ones a second time. Raises SourceUnavailable, SourceConflict and other errors that leave
    nothing to report. Every other error of a real run becomes a finding.
    """
    return persistently(task, "dry run of archive", lambda: _dry_archive(task))


def _dry_archive(task: Task) -> DryArchive:
    started = task.monotonic()
    with look_at(task) as look:
        live = look.generations.live if look.generations else ()
        verifications: list[Verification] = []
        for generation in live:
            with look.findings.noting(PURGE):
                verifications.append(_verification(look, generation))
        rows = _count(look)
    newest = live[-1] if live else None
    refused = look.findings.stopping("archive")
    outcome: Literal["would archive", "already archived", "empty", "would be refused"] = (
        "would be refused" if refused else "would archive" if rows.new else "already archived" if newest else "empty"
    )
    log.info("dry run of archive %s: %s, %s rows", task.label, outcome, "?" if rows.new is None else f"{rows.new:,}")
    seconds = task.monotonic() - started
    found = tuple(look.findings.met)
    return DryArchive(outcome, found, tuple(verifications), newest, look.table, rows.new, rows.in_table, rows.without_day, seconds)


def _verification(look: Look, generation: Generation) -> Verification:
    with read_back(look.task, generation) as copy:
        found = copy.verification
    if not found.passed:
        # If the archive does not reject the generation, its check fails and stops the purge.
        replaced = generation.open and not generation.purging
        look.findings.met.append(damage_of(look.task, generation, found, replaced=replaced))
    return found


def damage_of(task: Task, generation: Generation, verification: Verification, *, replaced: bool) -> Finding:
    """Return the finding for a damaged generation. `replaced`: an archive in the same run rejects it and archives its rows again."""
    error = verification.failure(f"{task.label}, generation {generation.number}")
    if replaced:
        return replace(finding_of(error, NOTHING), hint="nothing to do: the archive rejects it and archives its rows again")
    return finding_of(error, PURGE)


def _count(look: Look) -> _Rows:
    """Count the partition's rows in the table and, unless the archive would be refused, those that no generation covers."""
    rows, table, generations = _Rows(), look.table, look.generations
    with look.findings.noting():
        if table is not None and (generations is None or look.findings.stopping("archive")):
            with open_snapshot(look.connection, relation(look.task)):
                rows = _count_in_table(look, look.connection, table)
        elif table is not None and generations is not None:
            covered = read_coverage(look.task, look.server, table, generations, _ignore)
            with open_reader(look.task, look.connection, look.server, table) as reader:
                rows = _count_in_table(look, reader.connection, reader.table)
                rows = replace(rows, new=count_uncovered(look.task, reader, covered) if covered else rows.in_table)
    return rows


def _ignore(_task: Task, _generation: Generation, _mismatches: tuple[str, ...]) -> None:
    """Do not reject a damaged generation: `_verification` has recorded it."""


def _count_in_table(look: Look, connection: Connection, table: Table) -> _Rows:
    return _Rows(None, count_rows(connection, table.days(look.task.partition)), count_without_day(connection, table))
