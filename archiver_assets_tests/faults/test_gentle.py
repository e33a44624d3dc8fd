"""The application whose table is emptied does not notice: replicas keep up, nobody waits for long, nothing is held open.

What belongs here: what the server sees of a run, as other sessions on it see that. What does not: latencies (`benchmarks/latency.py`).
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import psycopg
import pytest
from psycopg import sql

from archiver_assets.config import DatabaseConfig, ReplicaConfig
from archiver_assets.errors import PartitionBusy, SourceStrained, SourceTimeout
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.preflight import preflight
from archiver_assets.lifecycle.purging.pacing import Pace
from archiver_assets.lifecycle.purging.purge import Purged, purge
from archiver_assets.lifecycle.task import Step, Task
from archiver_assets.lifecycle.verifying.verify import verify
from archiver_assets.source import reading
from archiver_assets.source.session import Source
from archiver_assets.source.sql_session import PINNED_SETTINGS
from archiver_assets_tests.clusters import Pair, catch_up, primary_with_standby, wait_for
from archiver_assets_tests.lab import AUDIT_LOGS, Lab, only
from archiver_assets_tests.outcomes import assert_purged
from archiver_assets_tests.servers import PostgresServer

PATIENCE = 10.0
"""Seconds that something is given to come about."""

OURS = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'audit-archiver'"
IN_TRANSACTION = f"SELECT count(*) {OURS} AND xact_start IS NOT NULL"
SESSIONS = f"SELECT count(*) {OURS}"

SLOW_DELETES = """
CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep({seconds}); RETURN NULL; END';
CREATE TRIGGER linger AFTER DELETE ON audit_logs FOR EACH STATEMENT EXECUTE FUNCTION linger()
"""
RISKS = ("after_delete_trigger",)

PARTITIONED = """
CREATE TABLE parted (id bigint NOT NULL, created_at timestamptz NOT NULL, PRIMARY KEY (id, created_at)) PARTITION BY RANGE (created_at);
CREATE TABLE parted_march PARTITION OF parted FOR VALUES FROM ('2024-03-01 00:00+00') TO ('2024-04-01 00:00+00');
CREATE TABLE parted_april PARTITION OF parted FOR VALUES FROM ('2024-04-01 00:00+00') TO ('2024-05-01 00:00+00');
CREATE INDEX ON parted (created_at);
INSERT INTO parted SELECT n, '2024-03-05 10:00+00' FROM generate_series(1, 500) n;
INSERT INTO parted SELECT n, '2024-04-05 10:00+00' FROM generate_series(1, 500) n
"""


@dataclass
class FakeClock:
    """Time that only passes when somebody sleeps; `then` is called at each sleep."""

    then: Callable[[], None] = lambda: None
    now: float = 0.0
    sleeps: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.sleeps.append(seconds)
        self.then()

    def drives(self, task: Task) -> Task:
        return replace(task, sleep=self.sleep, monotonic=self.monotonic)


def eventually(question: Callable[[], bool]) -> bool:
    """Tell whether something comes about: a session that was closed is gone from the server's view a moment later."""
    deadline = time.monotonic() + PATIENCE
    while not question():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def number(lab: Lab, question: str) -> int:
    return int(lab.execute(question)[0][0])


@contextmanager
def in_background(work: Callable[[], object]) -> Iterator[None]:
    """Do some work in a thread during the block, and wait for its end."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def lab_on(lab: Lab, pair: Pair) -> Lab:
    """Return a lab with an audit table on the primary, and the same bucket."""
    made = Lab(PostgresServer(pair.primary.dsn()).database("postgres"), lab.store, lab.bucket, lab.endpoint)
    made.execute(AUDIT_LOGS)
    return made


def lag_behind(pair: Pair, primary: Lab, seconds: float) -> None:
    """Stop the standby's replay, and wait until the primary knows that it lags."""
    catch_up(pair)
    pair.pause_replay()
    primary.execute("CREATE TABLE traffic (n int); INSERT INTO traffic VALUES (1)")
    wait_for(pair.primary, f"SELECT coalesce(max(extract(epoch FROM replay_lag)), 0) > {seconds} FROM pg_stat_replication")


def caught_up(pair: Pair) -> None:
    pair.resume_replay()
    catch_up(pair)
    wait_for(pair.primary, "SELECT bool_and(replay_lsn = pg_current_wal_flush_lsn()) FROM pg_stat_replication")


def lines(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if text in record.getMessage()]


def test_a_purge_pauses_while_a_replica_lags_and_says_when_it_begins_and_ends(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    with primary_with_standby() as pair:
        primary = lab_on(lab, pair)
        primary.fill(rows=30)
        table = primary.table(batch_size=10, max_replication_lag_seconds=1)
        archive(primary.task(table=table))
        lag_behind(pair, primary, 1.0)
        left: list[int] = []

        def look() -> None:
            assert number(primary, IN_TRANSACTION) == 0
            left.append(primary.count())
            if len(left) == 3:
                caught_up(pair)

        with caplog.at_level("INFO", "archiver"):
            purged = purge(FakeClock(then=look).drives(primary.task(table=table)))

        assert (left, purged.outcome, primary.count()) == ([20, 20, 20], "purged", 0)
        assert "'walreceiver' lags by" in only(lines(caplog, "the purge pauses"), lambda line: "max_replication_lag_seconds is 1" in line)
        assert len(lines(caplog, "resumes after a pause of 3 s")) == 1


def test_a_pause_that_lasts_too_long_ends_the_purge_at_a_batch_and_the_next_goes_on(lab: Lab) -> None:
    with primary_with_standby() as pair:
        primary = lab_on(lab, pair)
        primary.fill(rows=30)
        table = primary.table(batch_size=10, max_replication_lag_seconds=1)
        archive(primary.task(table=table))
        lag_behind(pair, primary, 1.0)
        clock = FakeClock(then=lambda: time.sleep(0.001))

        with pytest.raises(SourceStrained, match=r"within 900 s, found that the replica 'walreceiver' lags") as caught:
            purge(clock.drives(primary.task(table=table)))

        assert "the next purge of the day continues" in caught.value.hint
        assert (clock.now, primary.count(), eventually(lambda: number(primary, SESSIONS) == 0)) == (900.0, 20, True)
        assert not [key for key in primary.objects() if "_purged" in key]
        unlimited = primary.table(batch_size=10, max_replication_lag_seconds=None)
        again = purge(primary.task(table=unlimited))
        assert_purged(again, outcome="purged", purged=20, gone=10)


def test_a_role_that_may_not_see_the_lag_is_told_so(lab: Lab) -> None:
    with primary_with_standby() as pair:
        primary = lab_on(lab, pair)
        with weak_role(primary) as weak:
            findings = preflight(weak.task().source, weak.table())

            hidden = only([each.line for each in findings], lambda line: "lag of 1 replicas" in line)
            assert "GRANT pg_read_all_stats" in hidden
            assert {each.stopped for each in findings} == {"nothing"}
            assert not preflight(weak.task().source, weak.table(max_replication_lag_seconds=None))
            primary.execute(f"GRANT pg_read_all_stats TO {weak.database.user}")
            assert not preflight(weak.task().source, weak.table())


def test_a_purge_gives_way_to_sessions_that_waited_for_a_batch(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    lab.fill(rows=20)
    table = lab.table(batch_size=10, accepted_risks=RISKS)
    archive(lab.task(table=table))
    lab.execute(SLOW_DELETES.format(seconds=1))
    clock = FakeClock()

    def update_a_row_that_is_being_deleted() -> None:
        assert eventually(lambda: bool(number(lab, f"SELECT count(*) {OURS} AND wait_event = 'PgSleep'")))
        lab.execute("UPDATE audit_logs SET action = 'changed' WHERE id = 1")

    with in_background(update_a_row_that_is_being_deleted), caplog.at_level("INFO", "archiver"):
        purged = purge(clock.drives(lab.task(table=table)))

    assert_purged(purged, purged=20)
    assert (lab.count(), clock.sleeps) == (0, [1.0])
    assert only(lines(caplog, "the purge pauses"), lambda line: "1 sessions of others wait" in line)


def test_a_purge_does_not_queue_up_behind_a_session_that_waits_for_another_session_of_ours(lab: Lab) -> None:
    lab.fill(rows=20)
    table = lab.table(batch_size=10)
    archive(lab.task(table=table))
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'audit_logs'::regclass"

    with lab.task().source.connect() as reader:
        reader.execute("BEGIN; LOCK TABLE public.audit_logs IN ACCESS SHARE MODE")
        clock = FakeClock(then=reader.rollback)
        altering = threading.Thread(target=partial(lab.execute, "LOCK TABLE audit_logs IN ACCESS EXCLUSIVE MODE"))

        def alter_after_the_first_batch(step: Step) -> None:
            if step is Step.BATCH_DELETED and not altering.ident:
                altering.start()
                assert eventually(lambda: number(lab, waiting) == 1)

        purged = purge(replace(clock.drives(lab.task(table=table)), reached=alter_after_the_first_batch))
        altering.join(PATIENCE)

    assert (purged.tally.purged, clock.sleeps[0]) == (20, 1.0)


def test_a_session_that_begins_to_wait_when_the_purge_has_looked_already_is_seen_at_the_end_of_its_batch(lab: Lab) -> None:
    lab.fill(rows=30)
    table = lab.table(batch_size=10, accepted_risks=RISKS)
    archive(lab.task(table=table))
    lab.execute(SLOW_DELETES.format(seconds=0.4))
    sleeps: list[float] = []

    def update_a_row_of_the_second_batch() -> None:
        assert eventually(lambda: lab.count() == 20)
        lab.execute("UPDATE audit_logs SET action = 'changed' WHERE id = 11")

    with in_background(update_a_row_of_the_second_batch):
        purged = purge(lab.task(table=table, sleep=sleeps.append))

    assert (purged.tally.purged, sleeps) == (30, [1.0])


def test_a_purge_looks_for_strain_at_its_first_batch_and_then_every_quarter_of_a_second(lab: Lab) -> None:
    clock = FakeClock()
    with lab.task().source.connect() as connection:
        pace = Pace(clock.drives(lab.task()), connection)
        looked = [pace.is_time_to_look()]
        for _ in range(6):
            pace.pause_between_batches(0)
            clock.now += 0.125
            looked.append(pace.is_time_to_look())
    assert (looked, clock.sleeps) == ([True, False, True, False, True, False, True], [])


def test_a_purge_stopped_in_a_pause_leaves_nothing_open_and_the_next_goes_on(lab: Lab) -> None:
    lab.fill(rows=20)
    table = lab.table(batch_size=10, accepted_risks=RISKS)
    archive(lab.task(table=table))
    lab.execute(SLOW_DELETES.format(seconds=1))

    def interrupt() -> None:
        raise KeyboardInterrupt

    def touch() -> None:
        assert eventually(lambda: bool(number(lab, f"SELECT count(*) {OURS} AND wait_event = 'PgSleep'")))
        lab.execute("SELECT FROM audit_logs WHERE id = 1 FOR UPDATE")

    with in_background(touch), pytest.raises(KeyboardInterrupt):
        purge(FakeClock(then=interrupt).drives(lab.task(table=table)))

    assert (lab.count(), eventually(lambda: number(lab, SESSIONS) == 0)) == (10, True)
    lab.execute("DROP TRIGGER linger ON audit_logs")
    again = purge(lab.task(table=table))
    assert_purged(again, outcome="purged", purged=10, gone=10)


def with_timeout(task: Task, seconds: int) -> Task:
    """Return the task with a `statement_timeout_seconds` of its own."""
    config: DatabaseConfig = task.source.config.model_copy(update={"statement_timeout_seconds": seconds})
    return replace(task, source=replace(task.source, config=config))


def test_every_session_has_finite_timeouts(lab: Lab) -> None:
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout")
    question = f"SELECT ARRAY[{', '.join(f'current_setting({name!r})' for name in names)}]::text"
    source = with_timeout(lab.task(), 3600).source

    with source.connect() as connection:
        assert (connection.execute(question).fetchone() or {}).popitem()[1] == "{1h,30s,2h,0}"
    with reading._cursor(source, reading.Cancel()) as cursor:
        cursor.execute(question)
        assert cursor.fetchone() == ("{1h,30s,2h,0}",)


def sleep_by_adbc(source: Source) -> None:
    with reading._errors(source), reading._cursor(source, reading.Cancel()) as cursor:
        cursor.execute("SELECT pg_sleep(5)")
        cursor.fetchall()


def test_a_statement_that_takes_too_long_is_ended_and_the_error_names_the_setting(lab: Lab) -> None:
    source = with_timeout(lab.task(), 1).source

    with pytest.raises(SourceTimeout, match="statement timeout") as by_psycopg, source.connect() as connection:
        connection.execute("SELECT pg_sleep(5)")
    with pytest.raises(SourceTimeout, match="statement timeout") as by_adbc:
        sleep_by_adbc(source)

    for caught in (by_psycopg, by_adbc):
        assert "statement_timeout_seconds, 1, raise that for the database" in caught.value.hint


def test_a_batch_that_takes_too_long_deletes_nothing_and_the_error_names_batch_size(lab: Lab) -> None:
    lab.fill(rows=20)
    table = lab.table(batch_size=10, accepted_risks=RISKS)
    archive(lab.task(table=table))
    lab.execute(SLOW_DELETES.format(seconds=3))

    with pytest.raises(SourceTimeout, match="a batch of 10 rows") as caught:
        purge(with_timeout(lab.task(table=table), 1))

    assert "lower batch_size (now 10)" in caught.value.hint
    assert lab.count() == 20
    lab.execute("DROP TRIGGER linger ON audit_logs")
    assert purge(lab.task(table=table)).tally.purged == 20


def test_a_table_that_stays_locked_is_given_up_after_lock_timeout(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.fill(rows=20)
    archive(lab.task())
    monkeypatch.setitem(PINNED_SETTINGS, "lock_timeout", "200ms")

    with psycopg.connect(lab.database.dsn) as application:
        application.execute("LOCK TABLE audit_logs IN ACCESS EXCLUSIVE MODE")
        for verb in (archive, purge):
            with pytest.raises(PartitionBusy, match="lock timeout") as caught:
                verb(lab.task())
            assert "for longer than lock_timeout, 200ms" in caught.value.hint

    assert purge(lab.task()).tally.purged == 20


@dataclass
class Watch:
    """Looks at a server at every step of a run: how many sessions of ours there are at most, and in which steps one has a transaction."""

    lab: Lab
    most: int
    quiet: tuple[Step, ...]
    seen: list[Step] = field(default_factory=list)

    def __call__(self, step: Step) -> None:
        self.seen.append(step)
        assert eventually(lambda: number(self.lab, SESSIONS) <= self.most), step
        if step in self.quiet:
            assert eventually(lambda: number(self.lab, IN_TRANSACTION) == 0), step


ARCHIVED = (Step.LOCKED, Step.OBJECT_ENCODED, Step.OBJECT_UPLOADED, Step.WAL_FLUSHED, Step.MANIFEST_CREATED, Step.UNLOCKED)
PURGED = (Step.LOCKED, Step.READ_BACK, Step.PURGE_MARKED, Step.BATCH_DELETED, Step.RECEIPT_WRITTEN, Step.UNLOCKED)


def test_an_archive_does_not_wait_for_others_to_commit_until_its_wal_is_flushed(lab: Lab) -> None:
    lab.fill(rows=50)
    rests: list[float] = []

    def rest(seconds: float) -> None:
        rests.append(seconds)
        time.sleep(0.05)

    with psycopg.connect(lab.database.dsn) as other:
        other.execute("SELECT FROM audit_logs FOR UPDATE")  # its last page of WAL stays in memory while nobody commits
        assert archive(lab.task(sleep=rest)).rows == 50
    assert len(rests) < 60, "by itself the server takes 15 s"


def test_no_transaction_is_open_beyond_reading_and_deleting_and_connections_are_bounded(lab: Lab) -> None:
    lab.fill(rows=50)
    table = lab.table(batch_size=10, sleep_between_batches=1.0)
    archive(lab.task(table=table))
    lab.fill(rows=50)
    archiving, purging = Watch(lab, 2, ARCHIVED), Watch(lab, 1, PURGED)

    archive(lab.task(table=table, reached=archiving))
    verify(lab.task(table=table, reached=Watch(lab, 0, (Step.READ_BACK,))))
    purged = purge(lab.task(table=table, reached=purging, sleep=lambda _: purging(Step.BATCH_DELETED)))

    assert set(ARCHIVED) <= set(archiving.seen)
    assert set(PURGED) <= set(purging.seen)
    assert purged.tally.purged == 100
    assert eventually(lambda: number(lab, SESSIONS) == 0)


def test_reading_on_a_standby_holds_no_transaction_on_the_primary_and_none_anywhere_while_it_uploads(lab: Lab) -> None:
    with primary_with_standby() as pair:
        primary = lab_on(lab, pair)
        primary.fill(rows=50)
        catch_up(pair)
        standby = Lab(PostgresServer(pair.standby.dsn()).database("postgres"), lab.store, lab.bucket, lab.endpoint)
        on_primary = Watch(primary, 1, tuple(Step))
        on_standby = Watch(standby, 2, tuple(step for step in ARCHIVED if step is not Step.LOCKED))

        def watch(step: Step) -> None:
            on_primary(step)
            on_standby(step)

        task = primary.task(reached=watch)
        replica = ReplicaConfig(host=pair.standby.host, port=pair.standby.port)
        config: DatabaseConfig = task.source.config.model_copy(update={"read_replica": replica})
        assert archive(replace(task, source=replace(task.source, config=config))).rows == 50


def purged_with(lab: Lab, strategy: str, **changes: object) -> Purged:
    """Archive and purge the day."""
    table = lab.table(vacuum_strategy=strategy, **changes)
    archive(lab.task(table=table))
    return purge(lab.task(table=table))


@pytest.mark.parametrize(("strategy", "vacuumed", "analyzed"), [("none", 0, 0), ("analyze", 0, 1), ("standard", 1, 1)])
def test_what_follows_a_purge_is_what_the_strategy_says(lab: Lab, strategy: str, vacuumed: int, analyzed: int) -> None:
    lab.fill(rows=2000)
    size = number(lab, "SELECT pg_table_size('audit_logs')")

    purged = purged_with(lab, strategy)

    counts = "SELECT vacuum_count, analyze_count FROM pg_stat_user_tables WHERE relname = 'audit_logs'"
    assert eventually(lambda: lab.execute(counts) == [(vacuumed, analyzed)])
    assert purged.vacuumed.outcome == strategy
    if strategy == "standard":
        assert 0.8 * size < purged.vacuumed.bytes_reusable <= size
        lab.fill(rows=2000)
        assert number(lab, "SELECT pg_table_size('audit_logs')") <= 1.1 * size, "new rows took the place of the purged ones"
    else:
        assert purged.vacuumed.bytes_reusable == 0


def test_rows_that_an_older_snapshot_still_sees_are_not_counted_as_reusable(lab: Lab) -> None:
    lab.fill(rows=2000)
    with psycopg.connect(lab.database.dsn) as application:
        application.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        application.execute("SELECT count(*) FROM audit_logs")

        purged = purged_with(lab, "standard")

    assert (purged.vacuumed.outcome, purged.vacuumed.bytes_reusable) == ("standard", 0)


def test_only_the_leaf_that_holds_the_day_is_vacuumed(lab: Lab) -> None:
    lab.execute(PARTITIONED)

    purged = purged_with(lab, "standard", name="parted", primary_key=("id", "created_at"))

    assert (purged.tally.purged, purged.vacuumed.outcome) == (500, "standard")
    counts = "SELECT relname, vacuum_count FROM pg_stat_user_tables WHERE relname LIKE 'parted_%' ORDER BY 1"
    assert eventually(lambda: lab.execute(counts) == [("parted_april", 0), ("parted_march", 1)])


@contextmanager
def weak_role(lab: Lab) -> Iterator[Lab]:
    """Give a lab whose role may only read the table and delete from it."""
    name, password = f"weak_{lab.bucket.replace('-', '_')}", "of no use elsewhere"
    with psycopg.connect(lab.database.dsn, autocommit=True) as owner:
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), sql.Literal(password)))
        owner.execute(sql.SQL("GRANT SELECT, DELETE ON audit_logs TO {}").format(sql.Identifier(name)))
        try:
            yield replace(lab, database=replace(lab.database, user=name, password=password))
        finally:
            owner.execute(sql.SQL("DROP OWNED BY {name}; DROP ROLE {name}").format(name=sql.Identifier(name)))


def test_without_the_right_to_vacuum_the_purge_is_complete_and_a_warning_names_the_right(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    lab.fill(rows=20)
    with weak_role(lab) as weak:
        right = "MAINTAIN ON" if number(lab, "SELECT current_setting('server_version_num')::int") >= 170_000 else "members of the owner"

        findings = preflight(weak.task().source, weak.table(vacuum_strategy="analyze"))
        purged = purged_with(weak, "standard")

        assert right in only([each.line for each in findings], lambda line: "vacuum_strategy" in line)
        assert (purged.outcome, lab.count(), purged.vacuumed.outcome.startswith("skipped: ")) == ("purged", 0, True)
        assert right in only(lines(caplog, "not vacuumed"), lambda line: right in line)
        if right == "MAINTAIN ON":
            lab.execute(f"GRANT MAINTAIN ON audit_logs TO {weak.database.user}")
            lab.fill(rows=20)
            assert purged_with(weak, "standard").vacuumed.outcome == "standard"


def test_a_table_on_which_another_vacuum_is_at_work_is_skipped_with_a_warning(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    lab.fill(rows=20)
    with psycopg.connect(lab.database.dsn) as other:
        other.execute("LOCK TABLE audit_logs IN SHARE UPDATE EXCLUSIVE MODE")

        purged = purged_with(lab, "standard")

    assert (purged.outcome, lab.count(), purged.vacuumed.bytes_reusable) == ("purged", 0, 0)
    assert purged.vacuumed.outcome.startswith("skipped: ")
    assert lines(caplog, "not everything was vacuumed")


def test_a_vacuum_that_fails_is_a_warning_and_no_failed_purge(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    lab.fill(rows=20)
    table = lab.table(vacuum_strategy="standard")
    archive(lab.task(table=table))
    task = lab.task(table=table)
    passwords = dict(lab.environ)

    def lose_the_password(step: Step) -> None:
        if step is Step.UNLOCKED:
            passwords.clear()

    purged = purge(replace(task, source=replace(task.source, environ=passwords), reached=lose_the_password))

    assert (purged.outcome, lab.count(), purged.vacuumed.outcome.startswith("failed: ")) == ("purged", 0, True)
    assert lines(caplog, "purged, but not vacuumed")
