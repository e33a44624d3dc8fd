"""Checks of everything that the archiver works with: the bucket, the databases, the tables, the legal holds.

What belongs here: which checks there are, their order, and what each answer means. What does not: the calls (`store/probing.py`,
`source/preflight.py`), Dagster's instance (`orchestration/instance_checks.py`), and how lines are printed.

A failed check does not stop the others; checks that depend on it are skipped, and their lines give the reason.
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
"""S3 refuses requests at 15 minutes; days expire by the database's clock. A larger skew means that a clock is not synchronized."""


class Verdict(StrEnum):
    """The result of one check."""

    PASSED = "passed"
    WARNED = "warned"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Line:
    """One check: its subject, the verdict, what was found, and the next step unless it passed."""

    verdict: Verdict
    subject: str
    found: str
    hint: str = ""


Lines = Iterator[Line]


def passed(subject: str, found: str) -> Line:
    """Return a check that found nothing wrong."""
    return Line(Verdict.PASSED, subject, found)


def failed(subject: str, error: ArchiverError) -> Line:
    """Return a check that ended in an error."""
    return Line(Verdict.FAILED, subject, error.message, error.hint)


def skipped(subjects: Iterable[str], why: str) -> Lines:
    """Yield checks that could not be made, because an earlier one failed."""
    return (Line(Verdict.SKIPPED, subject, why, "fix that first, then run doctor again") for subject in subjects)


def clock_line(subject: str, theirs: datetime, ours: datetime) -> Line:
    """Compare another clock with this machine's."""
    skew = abs(theirs - ours)
    seconds = f"{skew.total_seconds():.0f} s {'ahead of' if theirs > ours else 'behind'} this machine's"
    if skew <= TOLERATED_SKEW:
        return passed(subject, f"within {TOLERATED_SKEW.seconds} s of this machine's")
    hint = "synchronize the wrong clock by NTP: days expire by the database's clock, and S3 refuses requests that are 15 minutes off"
    return Line(Verdict.WARNED, subject, seconds, hint)


def way_line(subject: str, way: Way) -> Line:
    """Judge the connection of a session."""
    if way.weakness is None:
        return passed(subject, "encrypted, and the server's name is verified")
    if way.local:
        return passed(subject, f"{way.weakness}; but the connection does not leave this machine")
    return Line(
        Verdict.WARNED, subject, way.weakness, "set sslmode: verify-full, and sslrootcert to the CA bundle of the server's certificate"
    )


def examine_endpoint(endpoint: str) -> Lines:
    """Warn of a store that is reached in plain text over a network; https always verifies the store's name."""
    url = urlsplit(endpoint)
    if url.scheme == "http" and not is_local(url.hostname or ""):
        found = f"the connection to {url.netloc} is not encrypted: anyone on the network path can read the rows and change answers"
        yield Line(Verdict.WARNED, "bucket: TLS", found, "use https in s3.endpoint; for a private CA, set AWS_CA_BUNDLE to its file")


def examine_bucket(probe: Probe, clock: Callable[[], datetime]) -> Lines:
    """Try every permission and guarantee that the archiver relies on, with a test object, which is removed again."""
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
        return passed(subject, "an existing key is refused")
    found = "an existing key was overwritten: the store ignores If-None-Match, which keeps manifests from being replaced"
    return Line(Verdict.FAILED, subject, found, "use a store that supports conditional writes; archives to this one are refused")


def _read_back(probe: Probe, made: StoredObject) -> Line:
    subject = "bucket: read back"
    if probe.reads_back(made):
        versions = f"by its version, {made.version_id}" if made.version_id else "whole; the bucket keeps no versions"
        return passed(subject, f"as it was written, {versions}")
    return Line(
        Verdict.FAILED, subject, "read other bytes than were written", "check what is in between: a proxy, a gateway, the store itself"
    )


def _encryption(wanted: Encryption, reported: str) -> Line:
    if not wanted.wanted:
        return passed("bucket: encryption", f"none is requested; the store reports {reported}")
    return passed("bucket: encryption", f"{wanted.kind} was requested, and the store reports {reported}")


def _lock(probe: Probe, made: StoredObject) -> Line:
    subject = "bucket: object lock"
    if probe.store.lock is None:
        return passed(subject, "none is requested")
    found = f"this object is locked: {probe.retention(made)}"
    if not probe.lock_holds(made):
        hint = "use a store that enforces Object Lock, or remove s3.object_lock from the config: the lock would protect nothing"
        return Line(Verdict.FAILED, subject, f"{found}, but the store removed its version", hint)
    try:
        default = probe.default_lock()
    except StoreError as error:
        return Line(Verdict.WARNED, subject, f"{found}, and its version could not be removed; {error.message}", error.hint)
    return passed(subject, f"{found}, and its version could not be removed; the bucket's own default is {default or 'no lock'}")


def lock_length_line(lock: ObjectLock, tables: Iterable[TableConfig]) -> Line:
    """Compare how long objects are locked with how long `verify` requires that no rule of the bucket removes them."""
    subject, longest = "config: object lock", max(tables, key=lambda table: table.retention_days)
    if lock.days >= longest.retention_days:
        return passed(subject, f"{lock.mode}, {lock.days} days from each write")
    found = f"{lock.days} days are fewer than the {longest.retention_days} retention_days of {longest.label}: "
    hint = "set s3.object_lock.days to as long as the archive must be kept by law; locks of existing objects do not change"
    return Line(Verdict.WARNED, subject, f"{found}the archive can be removed before the rows would have been", hint)


def _parts(probe: Probe) -> Line:
    subject = "bucket: multipart upload"
    if probe.upload_and_abort():
        return passed(subject, "parts can be uploaded, and unfinished uploads listed and aborted")
    hint = "add a lifecycle rule to the bucket that aborts incomplete multipart uploads after a few days"
    return Line(Verdict.WARNED, subject, "the store does not list unfinished uploads: crashed uploads remain and are billed", hint)


def _removal(probe: Probe, made: StoredObject) -> Line:
    subject = "bucket: remove"
    try:
        gone = probe.remove(made)
    except ArchiverError as error:
        hint = f"remove {probe.key} manually, or leave it; {error.hint}"
        return Line(Verdict.WARNED, subject, f"{error.message}; archives work, but leftovers of crashes remain", hint)
    if probe.is_there():
        return Line(Verdict.WARNED, subject, f"{probe.store.uri(probe.key)} is still there", "remove it manually, or leave it")
    if gone:
        return passed(subject, "the test object was removed")
    found = "a delete marker hides the test object, whose version remains: Object Lock, or no permission for s3:DeleteObjectVersion"
    return passed(subject, f"{found}, which the archiver does not need")


def examine_database(source: Source, places: HoldPlaces, clock: Callable[[], datetime]) -> Lines:
    """Check a database over one connection, its replica and scratch database over one each, and each of its tables."""
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
        yield from skipped([*others, *tables], f"{subject} could not be checked")
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
        yield passed(
            subject, f"{source.replica.config.host}:{source.replica.config.port} is a standby of the database, on the same timeline"
        )
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
        return passed(subject, f"{where}: temporary tables can be created")
    hint = f"GRANT TEMPORARY ON DATABASE {quoted(connection.info.dbname)} TO {quoted(connection.info.user)}; {ALL_RIGHTS}"
    return Line(Verdict.FAILED, subject, f"{where}: no temporary table can be created, which verification: restore needs", hint)


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
        checked = f"permissions, key, index on {table.timestamp_column}"
        purged = f"can be archived and purged: {checked}, no side effects of DELETE"
        yield passed(subject, purged if table.purge else f"can be archived: {checked}; purge is false, so no row is ever deleted")
    shape = describe_table(connection, table)
    try:
        holds = places.in_force(table, read_clock(connection)) if shape else ()
    except ArchiverError:
        return  # reported once, for all tables
    if shape and holds:
        held_rows(connection, table, shape, holds)
        yield passed(f"{subject}: holds", f"in force and valid: {', '.join(hold.id for hold in holds)}")


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
    yield passed("legal holds", f"read {len(holds)} from the config, the bucket{' and a table' if places.config.table else ''}")
    yield from (_of_idle(hold) for hold in idle)


def _of_idle(hold: Hold) -> Line:
    found = f"{hold.id} names the table {hold.table_name}, which is not configured: the hold keeps nothing here"
    return Line(
        Verdict.WARNED, "legal holds", found, "correct the hold's table_name or schema_name, unless the hold is meant for another archiver"
    )


def utc_now() -> datetime:
    """Return this machine's clock."""
    return datetime.now(UTC)
