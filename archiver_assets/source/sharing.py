"""Sessions that ticks share: one for each database, used by one tick at a time, and closed soon after the last use.

What belongs here: whose turn it is, and when a session is too old, unused for too long or too doubtful to be used again. What does not:
opening a session (`session.py`), and the queries.

Dagster evaluates schedules in threads of the code server, mostly for all tables of a database in the same minute. Opening a session takes
longer than querying it for the expired days of a table.
"""

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg.conninfo import make_conninfo

from archiver_assets.errors import SourceLoginRefused, SourceUnavailable
from archiver_assets.source.session import Connection, Source


@dataclass(frozen=True)
class Bounds:
    """Limits in seconds. A session is kept `unused` seconds after its last use, and `ever` seconds after it was opened.

    A new session resolves the server's address again. `by_server` is when the server itself ends an idle session, in case the code server
    hangs or its machine is gone. A tick waits `turn` for the ticks before it; Dagster's daemon gives up on a tick after 60, without knowing
    why. A connection that does not answer is dropped after `answer`.
    """

    unused: float = 20
    ever: float = 300
    by_server: int = 60
    turn: float = 40
    answer: int = 10


@dataclass
class _Desk:
    """The session of one database, for the holder of `turn`: when it was opened and last used, and how often opening it failed."""

    turn: threading.Lock = field(default_factory=threading.Lock)
    connection: Connection | None = None
    conninfo: str = field(default="", repr=False)
    opened: float = 0
    used: float = 0
    failures: int = 0
    failure: SourceUnavailable | SourceLoginRefused | None = None

    def close(self) -> None:
        """Close the session, if there is one."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()


class SharedSessions:
    """The sessions of a process. Thread-safe; sessions that are still open are closed at the end of the process."""

    def __init__(self, bounds: Bounds = Bounds(), clock: Callable[[], float] = time.monotonic) -> None:
        """Start without sessions. `clock` returns seconds."""
        self._bounds, self._clock = bounds, clock
        self._desks: dict[str, _Desk] = {}
        self._lock = threading.Lock()
        self._closer: threading.Thread | None = None
        weakref.finalize(self, _close_all, self._desks)

    def of(self, source: Source) -> "SharedSession":
        """Return the shared session of a database."""
        with self._lock:
            return SharedSession(self, source, self._desks.setdefault(source.config.name, _Desk()))

    @contextmanager
    def lend(self, source: Source, desk: _Desk) -> Iterator[Connection]:
        """Lend the session of a desk to one caller at a time; open a new one if it cannot be used again."""
        with self._turn(source, desk):
            connection = self._usable(source, desk)
            try:
                with source.using(connection):
                    yield connection
            finally:
                self._take_back(desk, connection)

    @contextmanager
    def _turn(self, source: Source, desk: _Desk) -> Iterator[None]:
        failures = desk.failures
        if not desk.turn.acquire(timeout=self._bounds.turn):
            name, waited = source.config.name, self._bounds.turn
            message = f"expected the shared session of database {name} to become free, found other ticks using it for {waited} s"
            raise SourceUnavailable(
                message, hint="check pg_locks for sessions that keep the tables of that database locked, and wait for the next tick"
            )
        try:
            if desk.failures != failures and desk.failure is not None:
                # The tick before waited for the server in vain; the others would only do the same, one after the other.
                raise type(desk.failure)(desk.failure.message, hint=desk.failure.hint)
            yield
        finally:
            desk.turn.release()

    def _usable(self, source: Source, desk: _Desk) -> Connection:
        lasting = source.lasting_conninfo()
        too_old = self._clock() - desk.opened > self._bounds.ever
        if desk.connection is not None and not (lasting == desk.conninfo and not too_old and _answers(desk.connection)):
            desk.close()
        if desk.connection is None:
            settings = source.settings | {"idle_session_timeout": f"{self._bounds.by_server}s"}
            conninfo = make_conninfo(source.conninfo(), tcp_user_timeout=self._bounds.answer * 1000)
            try:
                desk.connection = source.open(conninfo, settings)
            except (SourceUnavailable, SourceLoginRefused) as error:
                desk.failures, desk.failure = desk.failures + 1, error
                raise
            desk.conninfo, desk.opened = lasting, self._clock()
        return desk.connection

    def _take_back(self, desk: _Desk, connection: Connection) -> None:
        desk.used = self._clock()
        if not _is_idle(connection):
            desk.close()
            return
        with self._lock:
            if self._closer is None:
                self._closer = threading.Thread(target=self._close_by_and_by, name="closer of shared sessions", daemon=True)
                self._closer.start()

    def _close_by_and_by(self) -> None:
        while True:
            time.sleep(self._bounds.unused / 4)
            self.close_unused()
            with self._lock:
                if all(desk.connection is None for desk in self._desks.values()):
                    self._closer = None
                    return

    def close_unused(self) -> None:
        """Close the sessions that nobody has used for `unused` seconds."""
        for desk in list(self._desks.values()):
            if desk.turn.acquire(blocking=False):
                try:
                    if self._clock() - desk.used >= self._bounds.unused:
                        desk.close()
                finally:
                    desk.turn.release()

    def close(self) -> None:
        """Close the sessions that are not in use."""
        _close_all(self._desks)


@dataclass(frozen=True)
class SharedSession:
    """The shared session of one database."""

    sessions: SharedSessions = field(repr=False)
    source: Source
    desk: _Desk = field(repr=False)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Lend the session as `Source.connect` opens one, and wait while another thread uses it.

        Also raises SourceUnavailable if the wait takes too long, or if the other thread has just found the server unreachable.
        """
        with self.sessions.lend(self.source, self.desk) as connection:
            yield connection


def _close_all(desks: dict[str, _Desk]) -> None:
    for desk in list(desks.values()):
        if desk.turn.acquire(blocking=False):
            try:
                desk.close()
            finally:
                desk.turn.release()


def _answers(connection: Connection) -> bool:
    if not _is_idle(connection):
        return False
    try:
        connection.execute("")
    except psycopg.Error:
        return False
    return True


def _is_idle(connection: Connection) -> bool:
    return not connection.closed and connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
