"""Sessions: connecting with pinned settings, one snapshot for many readers, the advisory lock, and translating driver errors.

What belongs here: the life of a connection. What does not: statements (`sql.py`) and their meaning.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Protocol

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import DictRow, dict_row

from archiver_assets.config import DatabaseConfig
from archiver_assets.errors import (
    PartitionBusy,
    SourceConflict,
    SourceError,
    SourceLoginRefused,
    SourceTimeout,
    SourceUnavailable,
    TableRefused,
)
from archiver_assets.partition import Partition
from archiver_assets.source import sql, sql_session
from archiver_assets.source.error_text import hush, said
from archiver_assets.source.findings import ALL_RIGHTS
from archiver_assets.source.tokens import sign_token
from archiver_assets.source.transport import connection_parameters, failure_of, is_login_refused

Connection = psycopg.Connection[DictRow]
"""A session whose rows are dicts, by column name."""

_CANCEL_SECONDS = 5


class Connects(Protocol):
    """Opens or lends a session for the duration of a block."""

    def connect(self) -> AbstractContextManager[Connection]:
        """Yield a session in autocommit mode with the pinned settings. Raises as `Source.connect`."""


@dataclass(frozen=True)
class Source:
    """A configured database. It holds no connection and no secret; the password is read from `environ` for each connection.

    `title` precedes the database's label in messages.
    """

    config: DatabaseConfig
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    title: str = "database"

    def conninfo(self) -> str:
        """Return libpq's connection string for one connection, including the password or token. Never log or store it.

        Raises ConfigError if the password's variable is not set, no credentials for signing a token are found, or the file in `sslrootcert`
        cannot be read; SourceUnavailable if credentials could not be fetched.
        """
        lasting = self.lasting_conninfo()
        if self.config.auth == "aws_iam":
            return make_conninfo(lasting, password=sign_token(self.config, self.environ).get_secret_value())
        return lasting

    def lasting_conninfo(self) -> str:
        """Return `conninfo()` without a token, which differs for each connection. Equal strings mean the same connection settings."""
        with_password = self.config.auth == "password"
        secret = {"password": self.config.password(self.environ).get_secret_value()} if with_password else {}
        return make_conninfo(**connection_parameters(self.config), **secret)

    @property
    def settings(self) -> dict[str, str]:
        """The settings that every session pins.

        The session that holds the archive's snapshot idles in its transaction while other sessions read from it, statement by statement.
        """
        seconds = self.config.statement_timeout_seconds
        return sql_session.PINNED_SETTINGS | {"statement_timeout": f"{seconds}s", "idle_in_transaction_session_timeout": f"{2 * seconds}s"}

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Open a session in autocommit mode with the pinned settings, and close it at the end of the block.

        PostgreSQL's errors inside the block are raised as SourceUnavailable (the connection failed or was lost), SourceLoginRefused (the
        server refused the login), TableRefused (a right is missing), PartitionBusy (a lock was not granted in time), SourceConflict (a
        conflict with other transactions or a standby's recovery), SourceTimeout (a statement timed out or was cancelled) or SourceError.
        """
        with self.open(self.conninfo(), self.settings) as connection, self.using(connection):
            yield connection

    def open(self, conninfo: str, settings: Mapping[str, str]) -> Connection:
        """Return a session in autocommit mode with these settings. The caller closes it. Raises as `connect`."""
        with self.errors():
            connection = psycopg.connect(conninfo, autocommit=True, row_factory=dict_row)
            try:
                connection.cursor_factory = psycopg.RawCursor
                connection.execute(sql_session.PIN, [list(settings), list(settings.values())])
            except BaseException:
                connection.close()
                raise
            return connection

    @contextmanager
    def using(self, connection: Connection) -> Iterator[None]:
        """Raise PostgreSQL's errors inside the block as `connect` does, and cancel a statement that an interrupt leaves running."""
        with self.errors(), _cancelled_if_abandoned(connection):
            yield

    @property
    def replica(self) -> "Source | None":
        """The configured standby for reading rows, or None."""
        standby = self.config.read_replica
        if standby is None:
            return None
        return replace(self, config=self.config.model_copy(update={"host": standby.host, "port": standby.port, "read_replica": None}))

    @property
    def scratch(self) -> "Source | None":
        """The configured database where objects are loaded to prove them, or None to use this database."""
        scratch = self.config.scratch_database
        if scratch is None:
            return None
        given = {name: value for name, value in scratch if value is not None}
        own = {"database": self.config.dbname, "read_replica": None, "scratch_database": None, "password_env": None}
        return replace(self, config=self.config.model_copy(update=own | given), title="scratch_database of")

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Translate psycopg's errors into the project's. Neither these nor their causes quote a row."""
        try:
            yield
        except psycopg.Error as error:
            hush(error)
            raise self.error_for(error.sqlstate, said(error)) from error
        except Exception as error:
            hush(error)
            raise

    def error_for(self, sqlstate: str | None, text: str) -> SourceError | PartitionBusy:
        """Return the project's error for an SQLSTATE (None if the connection itself failed) and the driver's text."""
        config = self.config
        message = f"{self.title} {config.name} ({config.dbname} at {config.host}:{config.port}): {' '.join(text.split())}"
        if sqlstate is None and re.search(
            r"\bCONNECT\b", text
        ):  # libpq keeps no SQLSTATE for a failed connection; every translation has this word
            grant = f"GRANT CONNECT ON DATABASE {sql.quoted(config.dbname)} TO {sql.quoted(config.user)}"
            return TableRefused(message, hint=f"{grant}; {ALL_RIGHTS}")
        if sqlstate in self._named_errors:
            kind, hint = self._named_errors[sqlstate]
            return kind(message, hint=hint)
        if sqlstate is None or sqlstate[:2] in {"08", "28", "3D", "53", "57"}:
            failure = failure_of(config, text)
            if is_login_refused(sqlstate, text):
                return SourceLoginRefused(message + failure.expected, hint=failure.hint)
            return SourceUnavailable(message + failure.expected, hint=failure.hint)
        return SourceError(message, hint="nothing was deleted that is not archived; fix the cause and run again")

    @property
    def _named_errors(self) -> dict[str, tuple[type[SourceError | PartitionBusy], str]]:
        referred = "rows of another table refer to these; archive and purge that table first"
        conflict = "run again; if it persists on a standby, raise its max_standby_streaming_delay"
        locked = f"another session holds a lock on the table or its rows, for longer than lock_timeout, {self.settings['lock_timeout']}; "
        slow = (
            f"if it took statement_timeout_seconds, {self.config.statement_timeout_seconds}, raise that for the database, or see that an "
        )
        idle = "find out what kept a transaction idle between two statements, such as a slow store of legal holds; run again"
        return {
            "25P03": (SourceUnavailable, idle),
            "55P03": (PartitionBusy, locked + "find the session in pg_locks, and run again when it has released the lock"),
            "57014": (SourceTimeout, slow + "index begins with the timestamp; else ask who cancelled it; then run again"),
            "23001": (SourceError, referred),
            "23503": (SourceError, referred),
            "42501": (TableRefused, f"grant the missing right to the role {self.config.user}; {ALL_RIGHTS}"),
            "40001": (SourceConflict, conflict),
            "40P01": (SourceConflict, conflict),
        }


@contextmanager
def _cancelled_if_abandoned(connection: Connection) -> Iterator[None]:
    """If an interrupt, such as Dagster's on SIGTERM, arrives during a statement, cancel the statement on the server too."""
    try:
        yield
    except BaseException:
        if connection.info.transaction_status == psycopg.pq.TransactionStatus.ACTIVE:
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=_CANCEL_SECONDS)
        raise


@dataclass(frozen=True)
class Snapshot:
    """One REPEATABLE READ snapshot: `id` is for importing it, `snapshot` is `xmin:xmax:xip`, `lsn` is the insert position after it.

    On a standby, `lsn` is the replay position and `xip` is empty: some transactions from xmin on were still running, but which is unknown.
    """

    id: str
    snapshot: str
    lsn: str


@contextmanager
def open_snapshot(connection: Connection, relation: sql.Relation) -> Iterator[Snapshot]:
    """Lock the table in ACCESS SHARE mode, then take a snapshot that lasts for the block.

    The order matters: if the snapshot were older than the lock, a statement that rewrites the table in between would hide all its rows.
    """
    connection.execute(sql_session.BEGIN_SNAPSHOT)
    try:
        connection.execute(sql.lock_table(relation))
        row = connection.execute(sql_session.EXPORT_SNAPSHOT).fetchone()
        if row is None:
            message = "expected a snapshot, found none"
            raise SourceError(message, hint="report this: the statement always gives a row")
        yield Snapshot(**row)
    finally:
        if _idle(connection):
            connection.rollback()


def _idle(connection: Connection) -> bool:
    """Return whether the session can run a statement: it is open, and no interrupt left a statement running."""
    return not connection.closed and connection.info.transaction_status != psycopg.pq.TransactionStatus.ACTIVE


def is_pooled(connection: Connection) -> bool:
    """Return whether the connection goes through a pooler, which invents the process id that its client uses for cancelling."""
    row = connection.execute(sql_session.BACKEND_PID).fetchone()
    return bool(row and row["pid"] != connection.info.backend_pid)


def flushed(connection: Connection, snapshot: Snapshot) -> bool:
    """Return whether the server has flushed its WAL beyond everything that the snapshot sees."""
    row = connection.execute(sql_session.WAL_FLUSHED, [snapshot.lsn]).fetchone()
    return bool(row and row["flushed"])


def prompt_flush(connection: Connection) -> None:
    """Make the server flush its WAL soon, even if no one else commits, by a commit that changes nothing. Not within a transaction."""
    connection.execute(sql_session.COMMIT_WITH_ID)


@contextmanager
def committed(connection: Connection) -> Iterator[None]:
    """Commit, at the end of the block, the transaction that the block itself begins; roll it back if the block raises.

    Unlike `connection.transaction()`, this needs no round trip to begin the transaction.
    """
    try:
        yield
    except BaseException:
        if _idle(connection):
            with suppress(psycopg.Error):  # the error that ended the block is more informative than a connection lost with it
                connection.rollback()
        raise
    connection.commit()


@contextmanager
def locked_table(connection: Connection, relation: sql.Relation) -> Iterator[None]:
    """Hold ACCESS SHARE on the table for the block, so that its catalog entries stay valid."""
    with connection.transaction():
        connection.execute(sql.lock_table(relation))
        yield


def require_primary(connection: Connection, table: str) -> None:
    """Raise SourceError on a standby; the message names `table`."""
    row = connection.execute(sql_session.IN_RECOVERY).fetchone()
    if row is None or row["in_recovery"]:
        message = f"expected a primary server for {table}, found one in recovery"
        raise SourceError(message, hint="point host and port at the primary")


@contextmanager
def partition_lock(connection: Connection, *, table: str, partition: Partition) -> Iterator[None]:
    """Hold a session-level advisory lock on a partition of `table` (`D/S/T`) for the block; the end of the session also releases it.

    Raises PartitionBusy if another session holds the lock, and SourceError on a standby, which would grant the lock a second time.
    """
    require_primary(connection, table)
    number = _lock_number(table, partition)
    row = connection.execute(sql_session.LOCK, [number]).fetchone()
    if row is None or not row["locked"]:
        message = f"partition {partition.key} of {table} is being worked on by another session"
        raise PartitionBusy(message, hint="let the other run finish, or end it; then run again")
    try:
        yield
    finally:
        if _idle(connection):
            connection.execute(sql_session.UNLOCK, [number])


def is_locked(connection: Connection, *, table: str, partition: Partition) -> bool:
    """Return whether a session currently holds the lock of `partition_lock`, without blocking other sessions."""
    return _holds_anyone(connection, _lock_number(table, partition))


def mark_alive(connection: Connection, run_id: str) -> None:
    """Mark a run's process as alive for `is_alive`, until the session ends, however it ends."""
    connection.execute(sql_session.LOCK, [_run_number(run_id)])


def is_alive(connection: Connection, run_id: str) -> bool:
    """Return whether a run's process, or at least its session, is alive."""
    return _holds_anyone(connection, _run_number(run_id))


def _holds_anyone(connection: Connection, number: int) -> bool:
    row = connection.execute(sql_session.LOCKED, [number]).fetchone()
    return bool(row and row["locked"])


def _lock_number(table: str, partition: Partition) -> int:
    # The label D is omitted on purpose: two labels of one database must share a lock.
    schema_and_table = table.split("/", 1)[1]
    return _number(f"audit-archiver {schema_and_table} {partition.key}")


def _run_number(run_id: str) -> int:
    return _number(f"audit-archiver run {run_id}")


def _number(text: str) -> int:
    # An advisory lock is a signed 64-bit number, per database.
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)
