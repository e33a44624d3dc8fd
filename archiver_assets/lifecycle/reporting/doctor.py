"""Examining what the archiver works with, before it works: the bucket, the databases, the tables, the legal holds.

What belongs here: what is looked at, in which order, and what each answer means. What does not: the calls (`store/probing.py`,
`source/preflight.py`), Dagster's instance (`orchestration/instance_checks.py`), and how lines are shown.

Everything is looked at whatever becomes of the rest; what cannot be, because something before it failed, is skipped and says so.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from urllib.parse import urlsplit

from archiver_assets.config import DatabaseConfig, Hold, ObjectLock, TableConfig
from archiver_assets.errors import ArchiverError, StoreError
from archiver_assets.lifecycle.holding.holds import HoldPlaces
from archiver_assets.source import sql_overview
from archiver_assets.source.catalog import Connection, Server, describe_table, read_server, require_standby_of
from archiver_assets.source.findings import ALL_RIGHTS, OF_RIGHTS, Finding
from archiver_assets.source.hold_rows import held_rows, read_clock
from archiver_assets.source.preflight import read_preflight
from archiver_assets.source.scratch import open_scratch
from archiver_assets.source.session import Source, require_primary
from archiver_assets.source.sql import quoted
from archiver_assets.source.transport import Way, is_local
from archiver_assets.store.encryption import Encryption
from archiver_assets.store.objects import StoredObject
from archiver_assets.store.probing import Probe

TOLERATED_SKEW = timedelta(seconds=5)
"""S3 refuses requests at 15 minutes; names of days go by the database's clock alone. Beyond this, somebody's time is not kept."""


class Verdict(StrEnum):
    """What became of one look."""

    PASSED = "passed"
    WARNED = "warned"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Line:
    """One look: at what, the verdict, what was found, and the next step unless it passed."""

    verdict: Verdict
    subject: str
    found: str
    hint: str = ""


Lines = Iterator[Line]


def passed(subject: str, found: str) -> Line:
    """Return a look that found things as they should be."""
    return Line(Verdict.PASSED, subject, found)


def failed(subject: str, error: ArchiverError) -> Line:
    """Return a look that ended in an error."""
    return Line(Verdict.FAILED, subject, error.message, error.hint)


def skipped(subjects: Iterable[str], why: str) -> Lines:
    """Yield looks that could not be taken, because of what failed before."""
    return (Line(Verdict.SKIPPED, subject, why, "mend that first, and look again") for subject in subjects)


def clock_line(subject: str, theirs: datetime, ours: datetime) -> Line:
    """Compare another clock with this machine's."""
    skew = abs(theirs - ours)
    seconds = f"{skew.total_seconds():.0f} s {'ahead of' if theirs > ours else 'behind'} this machine's"
    if skew <= TOLERATED_SKEW:
        return passed(subject, f"within {TOLERATED_SKEW.seconds} s of this machine's")
    hint = "set the clock of the one that is wrong, by NTP: days expire by the database's, and S3 refuses requests that are 15 minutes off"
    return Line(Verdict.WARNED, subject, seconds, hint)


def way_line(subject: str, way: Way) -> Line:
    """Judge how a session reaches its server."""
    if way.weakness is None:
        return passed(subject, "encrypted, and the server has proven its name")
    if way.local:
        return passed(subject, f"{way.weakness}; but the way does not leave this machine")
    return Line(
        Verdict.WARNED, subject, way.weakness, "set sslmode: verify-full, and sslrootcert to the certificate of the server's authority"
    )


def examine_endpoint(endpoint: str) -> Lines:
    """Warn of a store that is spoken to in plain text over a network; https always proves the store's name."""
    url = urlsplit(endpoint)
    if url.scheme == "http" and not is_local(url.hostname or ""):
        found = f"the way to {url.netloc} is not encrypted: who listens on it has the rows, and the answers could be others"
        yield Line(
            Verdict.WARNED, "bucket: TLS", found, "set https in s3.endpoint; AWS_CA_BUNDLE names the file of an authority of your own"
        )


def examine_bucket(probe: Probe, clock: Callable[[], datetime]) -> Lines:
    """Try every right and promise that the archiver relies on, with an object of its own, which is removed again."""
    looks = ("write", "conditional writes", "read back", "encryption", "object lock", "multipart upload", "remove")
    try:
        theirs = probe.list()
    except ArchiverError as error:
        yield failed("bucket: list", error)
        yield from skipped((f"bucket: {each}" for each in looks), "the bucket could not be listed")
        return
    yield passed("bucket: list", f"{probe.store.uri(probe.prefix)} can be listed")
    if theirs is not None:
        yield clock_line("bucket: clock", theirs, clock())
    try:
        made = probe.put()
    except ArchiverError as error:
        yield failed("bucket: write", error)
        yield from skipped((f"bucket: {each}" for each in looks[1:]), "nothing could be written")
        return
    yield passed("bucket: write", f"wrote {probe.store.uri(probe.key)}")
    yield from _examine_object(probe, made)


def _examine_object(probe: Probe, made: StoredObject) -> Lines:
    looks: dict[str, Callable[[], Line]] = {
        "bucket: conditional writes": lambda: _conditions(probe),
        "bucket: read back": lambda: _read_back(probe, made),
        "bucket: encryption": lambda: _encryption(probe.store.encryption, probe.encryption()),
        "bucket: object lock": lambda: _lock(probe, made),
        "bucket: multipart upload": lambda: _parts(probe),
        "bucket: remove": lambda: _removal(probe, made),
    }
    for subject, look in looks.items():
        try:
            yield look()
        except ArchiverError as error:
            yield failed(subject, error)


def _conditions(probe: Probe) -> Line:
    subject = "bucket: conditional writes"
    if probe.conditions_are_kept():
        return passed(subject, "a key that is taken is refused")
    found = "a key that is taken was written again: the store ignores If-None-Match, by which a manifest is the only one of its name"
    return Line(Verdict.FAILED, subject, found, "use a store that knows conditional writes; archives are refused on this one")


def _read_back(probe: Probe, made: StoredObject) -> Line:
    subject = "bucket: read back"
    if probe.reads_back(made):
        versions = f"by its version, {made.version_id}" if made.version_id else "whole; the bucket keeps no versions"
        return passed(subject, f"as it was written, {versions}")
    return Line(
        Verdict.FAILED, subject, "other bytes than were written", "look at what stands between: a proxy, a gateway, the store itself"
    )


def _encryption(wanted: Encryption, reported: str) -> Line:
    if not wanted.wanted:
        return passed("bucket: encryption", f"none is asked for; the store reports {reported}")
    return passed("bucket: encryption", f"{wanted.kind} was asked for, and the store reports {reported}")


def _lock(probe: Probe, made: StoredObject) -> Line:
    subject = "bucket: object lock"
    if probe.store.lock is None:
        return passed(subject, "none is asked for")
    found = f"this object is locked: {probe.retention(made)}"
    if not probe.lock_holds(made):
        hint = "use a store that enforces Object Lock, or take s3.object_lock out of the config: it would promise what nothing keeps"
        return Line(Verdict.FAILED, subject, f"{found}, and yet the store removed its version", hint)
    try:
        default = probe.default_lock()
    except StoreError as error:
        return Line(Verdict.WARNED, subject, f"{found}, and its version could not be removed; {error.message}", error.hint)
    return passed(subject, f"{found}, and its version could not be removed; the bucket's own default is {default or 'no lock'}")


def lock_length_line(lock: ObjectLock, tables: Iterable[TableConfig]) -> Line:
    """Compare how long objects are locked with how long `verify` demands that no rule of the bucket removes them."""
    subject, longest = "config: object lock", max(tables, key=lambda table: table.retention_days)
    if lock.days >= longest.retention_days:
        return passed(subject, f"{lock.mode}, {lock.days} days from each write on")
    found = f"{lock.days} days are fewer than the retention_days of {longest.label}, {longest.retention_days}: "
    hint = "set s3.object_lock.days to as long as the law wants the archive kept; what is locked already stays as it is"
    return Line(Verdict.WARNED, subject, f"{found}the archive can be removed before the rows would have been", hint)


def _parts(probe: Probe) -> Line:
    subject = "bucket: multipart upload"
    if probe.upload_and_abort():
        return passed(subject, "parts can be uploaded, unfinished uploads listed and ended")
    hint = "set a rule of the bucket that aborts incomplete multipart uploads after a few days"
    return Line(Verdict.WARNED, subject, "the store does not list unfinished uploads: those of crashes stay, and are paid for", hint)


def _removal(probe: Probe, made: StoredObject) -> Line:
    subject = "bucket: remove"
    try:
        gone = probe.remove(made)
    except ArchiverError as error:
        hint = f"remove {probe.key} by hand, or leave it; {error.hint}"
        return Line(Verdict.WARNED, subject, f"{error.message}; archives work, and what crashes leave stays too", hint)
    if probe.is_there():
        return Line(Verdict.WARNED, subject, f"{probe.store.uri(probe.key)} is still there", "remove it by hand, or leave it")
    if gone:
        return passed(subject, "the object of this look was removed")
    found = "a delete marker hides the object of this look, whose version stays: Object Lock, or no right to s3:DeleteObjectVersion"
    return passed(subject, f"{found}; the archiver needs none")


def examine_database(source: Source, places: HoldPlaces, clock: Callable[[], datetime]) -> Lines:
    """Look at a database by one connection, at its replica and scratch database by one each, and at each of its tables."""
    config, subject = source.config, f"database {source.config.name}"
    others = [f"{subject}: {what}" for what, there in (("replica", source.replica), ("scratch", source.scratch)) if there]
    try:
        with source.connect() as connection:
            require_primary(connection, subject)
            server = read_server(connection)
            yield passed(subject, f"{config.dbname} at {config.host}:{config.port} as {config.user}, PostgreSQL {server.server_version}")
            yield way_line(f"{subject}: TLS", Way.of(connection))
            yield clock_line(f"{subject}: clock", read_clock(connection), clock())
            yield from _examine_tables(source, connection, places)
    except ArchiverError as error:
        yield failed(subject, error)
        tables = [f"table {table.label}" for table in config.tables]
        yield from skipped([*others, *tables], f"{subject} could not be looked at")
        return
    yield from _examine_replica(source, server)
    yield from _examine_scratch(source)


def _examine_replica(source: Source, server: Server) -> Lines:
    if source.replica is None:
        return
    subject = f"database {source.config.name}: replica"
    try:
        with source.replica.connect() as connection:
            require_standby_of(connection, server, source.config.name)
            way = Way.of(connection)
        yield way_line(f"{subject}: TLS", way)
        yield passed(subject, f"{source.replica.config.host}:{source.replica.config.port} is a standby of it, on the same timeline")
    except ArchiverError as error:
        yield failed(subject, error)


def _examine_scratch(source: Source) -> Lines:
    if source.scratch is None:
        return
    subject, config = f"database {source.config.name}: scratch", source.scratch.config
    try:
        with open_scratch(source.scratch) as connection:
            yield way_line(f"{subject}: TLS", Way.of(connection))
            yield _temporary(subject, connection, f"{config.dbname} at {config.host}:{config.port} as {config.user}")
    except ArchiverError as error:
        yield failed(subject, error)


def _temporary(subject: str, connection: Connection, where: str) -> Line:
    row = connection.execute(sql_overview.TEMPORARY).fetchone()
    if row and row["allowed"]:
        return passed(subject, f"{where}: temporary tables can be made")
    hint = f"GRANT TEMPORARY ON DATABASE {quoted(connection.info.dbname)} TO {quoted(connection.info.user)}; {ALL_RIGHTS}"
    return Line(Verdict.FAILED, subject, f"{where}: no temporary table can be made, which verification: restore needs", hint)


def _examine_tables(source: Source, connection: Connection, places: HoldPlaces) -> Lines:
    config = source.config
    if source.scratch is None and any(table.purge and table.verification == "restore" for table in config.tables):
        yield _temporary(f"database {config.name}: scratch", connection, "the database itself")
    for table in config.tables:
        try:
            with source.errors():
                yield from _examine_table(connection, table, places)
        except ArchiverError as error:
            yield failed(f"table {table.label}", error)


def _examine_table(connection: Connection, table: TableConfig, places: HoldPlaces) -> Lines:
    subject, findings = f"table {table.label}", read_preflight(connection, table)
    yield from (_of_finding(subject, each) for each in findings)
    if all(each.is_warning for each in findings):
        looked_at = f"rights, key, index on {table.timestamp_column}"
        purged = f"can be archived and purged: {looked_at}, nothing that a DELETE sets off"
        yield passed(subject, purged if table.purge else f"can be archived: {looked_at}; purge is false, so that no row is ever deleted")
    shape = describe_table(connection, table)
    try:
        holds = places.in_force(table, read_clock(connection)) if shape else ()
    except ArchiverError:
        return  # said once, for all tables
    if shape and holds:
        held_rows(connection, table, shape, holds)
        yield passed(f"{subject}: holds", f"in force, and understood: {', '.join(hold.id for hold in holds)}")


def _of_finding(subject: str, finding: Finding) -> Line:
    verdict = Verdict.WARNED if finding.is_warning else Verdict.FAILED
    effect = "" if finding.is_warning else f"{finding.stopped} would be refused: "
    hint = f"{finding.hint}; {ALL_RIGHTS}" if finding.name in OF_RIGHTS else finding.hint
    return Line(verdict, subject, f"{effect}{finding.what}", hint)


def examine_holds(places: HoldPlaces, databases: Iterable[DatabaseConfig]) -> Lines:
    """Read all legal holds, as every purge does."""
    try:
        holds = [placed.hold for placed in places.everywhere()]
    except ArchiverError as error:
        yield failed("legal holds", error)
        return
    names = [(table.schema_name, table.name) for database in databases for table in database.tables]
    idle = [hold for hold in holds if not any(hold.names(*name) for name in names)]
    yield passed("legal holds", f"{len(holds)} can be read, in the config, in the bucket{' and in a table' if places.config.table else ''}")
    yield from (_of_idle(hold) for hold in idle)


def _of_idle(hold: Hold) -> Line:
    found = f"{hold.id} names the table {hold.table_name}, which is not configured: it holds nothing here"
    return Line(Verdict.WARNED, "legal holds", found, "correct its table_name or schema_name, unless it is meant for another archiver")


def utc_now() -> datetime:
    """Return this machine's clock."""
    return datetime.now(UTC)
