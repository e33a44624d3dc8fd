"""The session that ticks of a database share: one at a time, never one that is dead or doubtful, and none that stays open for long."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic, sleep

import pytest

from archiver_assets.errors import SourceLoginRefused, SourceUnavailable, TableRefused
from archiver_assets.lifecycle.idle_check import has_no_expired_rows
from archiver_assets.orchestration.day_selection import Choice
from archiver_assets.orchestration.schedules import choose_days
from archiver_assets.source.session import Connection, Source
from archiver_assets.source.sharing import Bounds, SharedSession, SharedSessions
from archiver_assets_tests.lab import PASSWORD_VARIABLE, Lab

OPEN = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'audit-archiver'"
PATIENCE_SECONDS = 10.0


@pytest.fixture
def sessions() -> Iterator[SharedSessions]:
    made = SharedSessions()
    yield made
    made.close()


@pytest.fixture
def shared(lab: Lab, sessions: SharedSessions) -> SharedSession:
    return sessions.of(lab.task().source)


def pid(session: SharedSession) -> int:
    with session.connect() as connection:
        return connection.info.backend_pid


def opened(lab: Lab) -> int:
    return int(lab.execute(OPEN)[0][0])


def becomes(expected: int, found: Callable[[], int]) -> bool:
    until = monotonic() + PATIENCE_SECONDS
    while found() != expected and monotonic() < until:
        sleep(0.02)
    return found() == expected


def test_ticks_one_after_the_other_use_one_session_that_idles_in_no_transaction_between_them(lab: Lab) -> None:
    services = lab.services(lab.table())
    lab.execute("CREATE TABLE other (LIKE audit_logs INCLUDING ALL)")

    def tick(name: str) -> Choice:
        return choose_days(pytest.fail, services, lab.table(name=name))

    assert tick("audit_logs") == tick("other") == Choice()

    facts = "state, backend_xmin IS NULL, (SELECT count(*) FROM pg_locks l WHERE l.pid = a.pid)::int"
    found = lab.execute(
        f"SELECT {facts} FROM pg_stat_activity a WHERE a.application_name = 'audit-archiver' AND datname = current_database()"
    )
    services.sessions.close()
    assert found == [("idle", True, 0)]
    assert becomes(0, lambda: opened(lab))


def test_a_session_that_died_between_ticks_is_opened_anew(lab: Lab, shared: SharedSession) -> None:
    first = pid(shared)
    lab.execute("SELECT pg_terminate_backend(%s, 5000)", [first])

    assert has_no_expired_rows(shared, lab.table())
    assert pid(shared) != first


def test_ticks_at_the_same_time_wait_for_each_other_and_are_one_connection(shared: SharedSession) -> None:
    def look(_number: int) -> tuple[int, int]:
        with shared.connect() as connection:
            connection.execute("SELECT pg_sleep(0.02)")
            return connection.info.backend_pid, next(row["count"] for row in connection.execute(OPEN))

    with ThreadPoolExecutor(8) as threads:
        seen = list(threads.map(look, range(16)))

    assert len(set(seen)) == 1
    assert seen[0][1] == 1


@pytest.mark.parametrize("statement", ["BEGIN", "BEGIN; LOCK TABLE audit_logs", "BEGIN; SELECT 1 / 0"])
def test_a_session_that_was_left_in_a_transaction_is_closed(lab: Lab, shared: SharedSession, statement: str) -> None:
    with suppress(Exception), shared.connect() as connection:
        first = connection.info.backend_pid
        connection.execute("SET search_path = public")
        for part in statement.split("; "):
            connection.execute(part.encode())

    assert becomes(0, lambda: opened(lab))
    assert pid(shared) != first


def test_a_session_whose_statement_was_interrupted_is_closed_and_the_statement_ended(lab: Lab, shared: SharedSession) -> None:
    def interrupted() -> None:
        with shared.connect() as connection:
            connection.pgconn.send_query(b"SELECT pg_sleep(60)")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert becomes(0, lambda: opened(lab))
    assert has_no_expired_rows(shared, lab.table())


def test_an_error_of_a_statement_is_one_of_ours_and_leaves_a_session_that_works(shared: SharedSession) -> None:
    first = pid(shared)
    with shared.connect() as connection:
        connection.execute("SET ROLE pg_monitor")
    with pytest.raises(TableRefused, match="grant the missing right"), shared.connect() as connection:
        connection.execute("SELECT * FROM public.audit_logs")

    assert pid(shared) == first


def test_a_session_that_nobody_uses_is_closed_after_a_while(lab: Lab) -> None:
    others = set(threading.enumerate())
    sessions = SharedSessions(Bounds(unused=0.2))
    for _ in range(2):
        began = monotonic()
        assert pid(sessions.of(lab.task().source))
        assert opened(lab) == 1
        assert becomes(0, lambda: opened(lab))
        assert monotonic() - began >= 0.2
        assert becomes(0, lambda: sum("closer" in each.name for each in set(threading.enumerate()) - others))


def test_the_server_ends_the_session_of_a_process_that_hangs(shared: SharedSession) -> None:
    with shared.connect() as connection:
        assert [row["idle_session_timeout"] for row in connection.execute("SHOW idle_session_timeout")] == ["1min"]


def test_no_session_is_used_for_ever(lab: Lab) -> None:
    now = [0.0]
    sessions = SharedSessions(Bounds(ever=300), clock=lambda: now[0])
    session = sessions.of(lab.task().source)
    first = pid(session)
    now[0] = 299
    assert pid(session) == first
    now[0] = 301
    assert pid(session) != first
    sessions.close()


def test_a_password_that_was_changed_is_used_at_once(lab: Lab, sessions: SharedSessions) -> None:
    config, environ = lab.database_config(), dict(lab.environ)
    session = sessions.of(Source(config, environ))
    first = pid(session)

    environ[PASSWORD_VARIABLE] = "no longer this"
    with pytest.raises(SourceLoginRefused, match="password authentication failed"):
        pid(session)
    environ.update(lab.environ)

    assert pid(session) != first


@dataclass(frozen=True)
class Unreachable(Source):
    """A database that lets each attempt to connect wait until it is told to fail, by `kind`."""

    fail: threading.Event = field(default_factory=threading.Event)
    attempts: list[str] = field(default_factory=list)
    kind: type[SourceUnavailable | SourceLoginRefused] = SourceUnavailable

    def open(self, conninfo: str, settings: object) -> Connection:  # noqa: ARG002 - the signature of Source
        """Wait, and fail."""
        self.attempts.append(conninfo)
        assert self.fail.wait(PATIENCE_SECONDS)
        message = "no answer"
        raise self.kind(message, hint="wait")


@pytest.mark.parametrize("kind", [SourceUnavailable, SourceLoginRefused])
def test_ticks_that_waited_while_one_found_no_server_are_told_so_without_another_attempt(
    lab: Lab, sessions: SharedSessions, kind: type[SourceUnavailable | SourceLoginRefused]
) -> None:
    source = Unreachable(lab.database_config(), lab.environ, kind=kind)
    session = sessions.of(source)
    with ThreadPoolExecutor(5) as threads:
        ticks = [threads.submit(pid, session) for _ in range(5)]
        sleep(0.1)
        source.fail.set()
        errors = [tick.exception() for tick in ticks]

    assert [str(each) for each in errors] == ["no answer\nHINT: wait"] * 5
    assert {type(each) for each in errors} == {kind}
    assert len(source.attempts) == 1
    with pytest.raises(kind):
        pid(session)
    assert len(source.attempts) == 2


def test_a_tick_waits_for_its_turn_no_longer_than_dagster_waits_for_the_tick(lab: Lab) -> None:
    sessions = SharedSessions(Bounds(turn=0.1))
    session = sessions.of(lab.task().source)
    with session.connect(), ThreadPoolExecutor(1) as threads, pytest.raises(SourceUnavailable, match="expected the shared session"):
        threads.submit(pid, session).result()
    assert pid(session)
    sessions.close()


# What a tick sees at a glance.


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date"])
def test_a_glance_sees_the_last_row_that_is_expired_and_not_the_first_that_is_not(lab: Lab, shared: SharedSession, kind: str) -> None:
    zone = "Europe/Berlin"
    table = lab.table(timezone=zone, retention_days=30)
    lab.execute(f"ALTER TABLE audit_logs ALTER created_at TYPE {kind}")
    midnight = f"(now() AT TIME ZONE '{zone}')::date - 30"
    local = f"({midnight})::timestamp" + (f" AT TIME ZONE '{zone}'" if kind == "timestamptz" else "")
    step = "'1 day'" if kind == "date" else "'1 microsecond'"

    lab.execute(f"INSERT INTO audit_logs (created_at, action) VALUES ({local}, 'protected')")
    assert has_no_expired_rows(shared, table)
    lab.execute(f"INSERT INTO audit_logs (created_at, action) VALUES ({local} - interval {step}, 'expired')")
    assert not has_no_expired_rows(shared, table)


@pytest.mark.parametrize(
    "unusual",
    [
        "ALTER TABLE audit_logs RENAME TO gone",
        "ALTER TABLE audit_logs RENAME created_at TO at",
        "ALTER TABLE audit_logs ALTER created_at TYPE text",
        "DROP INDEX audit_logs_created_at_idx",
        "CREATE TABLE child () INHERITS (audit_logs)",
        "ALTER TABLE audit_logs RENAME TO rows; CREATE VIEW audit_logs AS SELECT * FROM rows",
        "ALTER TABLE audit_logs ENABLE ROW LEVEL SECURITY; CREATE ROLE {role}; GRANT SELECT ON audit_logs TO {role}",
    ],
)
def test_of_a_table_of_which_a_glance_could_be_wrong_it_says_nothing(lab: Lab, shared: SharedSession, unusual: str) -> None:
    role = f"role_of_{lab.database.name}"
    lab.execute(unusual.format(role=role))
    try:
        with shared.connect() as connection:
            if role in unusual.format(role=role):
                connection.execute(f"SET ROLE {role}")
        assert not has_no_expired_rows(shared, lab.table())
    finally:
        lab.execute(f"DROP OWNED BY {role}; DROP ROLE {role}" if "ROLE {role}" in unusual else "SELECT 1")
