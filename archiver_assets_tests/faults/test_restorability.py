"""What proves an object before a purge, at each level of `verification`."""

from collections.abc import Generator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from archiver_assets.errors import ConfigError, NotVerified, SourceError, SourceLoginRefused, SourceUnavailable, TableRefused
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.archiving.content import Content
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.task import Task
from archiver_assets.source import reading
from archiver_assets_tests.lab import Lab, with_scratch
from archiver_assets_tests.proxies import Pooler, TcpProxy
from archiver_assets_tests.servers import Database, PostgresServer


def task_of(lab: Lab, verification: str, scratch: Database | None = None, **changes: object) -> Task:
    task = lab.task(table=lab.table(verification=verification, **changes))
    return with_scratch(task, scratch) if scratch else task


@pytest.fixture(params=["on the source", "by a scratch database"])
def place(request: pytest.FixtureRequest) -> Database | None:
    """Where objects are loaded: a scratch database, or None for the source."""
    return request.getfixturevalue("scratch") if request.param == "by a scratch database" else None


def left_in(database: Database) -> int:
    """Count the tables that a proof left behind."""
    with psycopg.connect(database.dsn) as connection:
        return len(connection.execute("SELECT FROM pg_class WHERE relname = 'archiver_proof'").fetchall())


@pytest.mark.parametrize("verification", ["rows", "full", "restore"])
@pytest.mark.parametrize("stamp", ["timestamptz", "timestamp", "date"])
def test_each_level_lets_a_sound_day_be_purged(lab: Lab, verification: str, stamp: str) -> None:
    lab.fill(rows=30)
    lab.execute(f"ALTER TABLE audit_logs ALTER created_at TYPE {stamp} USING created_at AT TIME ZONE 'UTC'")
    task = task_of(lab, verification)
    archive(task)
    assert purge(task).tally.purged == 30
    assert left_in(lab.database) == 0


@pytest.fixture
def lossy_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that changes one value, where no sample and no extreme shows it."""
    real = reading.read_rows_ahead

    def changing(*arguments: Any) -> Generator[pa.RecordBatch, None, None]:  # noqa: ANN401 -- as it is called
        for batch in real(*arguments):
            place = batch.schema.get_field_index("action")
            values = ["changed" if value == "action 7" else value for value in batch.column("action").to_pylist()]
            yield batch.set_column(place, batch.schema.field(place), pa.array(values))

    monkeypatch.setattr("archiver_assets.lifecycle.archiving.archive.read_rows_ahead", changing)
    monkeypatch.setattr(Content, "_compare_sample", lambda *_: None)


@pytest.mark.usefixtures("lossy_driver")
def test_only_a_load_shows_what_the_driver_did_to_a_value(lab: Lab, place: Database | None) -> None:
    lab.fill(rows=30)
    task = task_of(lab, "restore", place)
    archive(task)
    with pytest.raises(NotVerified, match="column action: 1 restored rows differ"):
        purge(task)
    assert lab.count() == 30
    assert not [key for key in lab.objects() if "_purging" in key]
    assert [key for key in lab.objects() if "_rejected-0001" in key]
    assert left_in(lab.database) == 0
    assert place is None or left_in(place) == 0


@pytest.mark.usefixtures("lossy_driver")
@pytest.mark.parametrize("verification", ["rows", "full"])
def test_the_lesser_levels_do_not(lab: Lab, verification: str) -> None:
    """If this fails, the test above proves nothing."""
    lab.fill(rows=30)
    archive(task_of(lab, verification))
    assert purge(task_of(lab, verification)).tally.purged == 30


def test_a_generation_that_was_rejected_so_is_made_again(lab: Lab, request: pytest.FixtureRequest) -> None:
    lab.fill(rows=30)
    with pytest.MonkeyPatch.context() as patch:
        request.getfixturevalue("lossy_driver")
        task = task_of(lab, "restore")
        archive(task)
        with pytest.raises(NotVerified):
            purge(task)
        patch.setattr("archiver_assets.lifecycle.archiving.archive.read_rows_ahead", reading.read_rows_ahead)
        assert archive(task).rows == 30
        assert purge(task).tally.purged == 30


@pytest.mark.parametrize(
    ("since", "left"),
    [
        ("UPDATE audit_logs SET action = 'new' WHERE id <= 3", 3),
        ("DELETE FROM audit_logs WHERE id <= 3", 0),
        ("INSERT INTO audit_logs (created_at, action) VALUES ('2024-03-05 12:00+00', 'late')", 1),
        ("VACUUM FULL audit_logs", 0),
        ("CREATE TABLE copy AS SELECT * FROM audit_logs; DELETE FROM audit_logs; INSERT INTO audit_logs SELECT * FROM copy", 0),
    ],
)
def test_what_happened_to_rows_since_is_no_difference(lab: Lab, since: str, left: int) -> None:
    lab.fill(rows=30)
    archive(task_of(lab, "restore"))
    with psycopg.connect(lab.database.dsn, autocommit=True) as connection:
        connection.execute(since)  # VACUUM takes no transaction
    purge(task_of(lab, "restore"))
    assert lab.count() == left


def test_nor_is_it_by_a_scratch_database(lab: Lab, scratch: Database) -> None:
    lab.fill(rows=30)
    archive(task_of(lab, "restore"))
    lab.execute("UPDATE audit_logs SET action = 'new' WHERE id <= 3; DELETE FROM audit_logs WHERE id BETWEEN 4 AND 9")
    lab.execute("INSERT INTO audit_logs (created_at, action) VALUES ('2024-03-05 12:00+00', 'late')")
    assert purge(task_of(lab, "restore", scratch)).tally.purged == 21
    assert lab.count() == 4


@pytest.fixture
def poor(lab: Lab) -> Iterator[Lab]:
    """The lab as a role that may archive and purge, and make no temporary tables."""
    role = f"poor_{datetime.now(UTC):%H%M%S%f}"
    name = lab.database.name
    lab.execute(f'REVOKE TEMPORARY ON DATABASE "{name}" FROM PUBLIC')
    lab.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT SELECT, DELETE ON audit_logs TO {role}")
    lab.execute(f"GRANT EXECUTE ON FUNCTION pg_control_system() TO {role}")
    yield replace(lab, database=replace(lab.database, user=role, password="x"))  # noqa: S106 - of a role of this fixture
    lab.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_role_that_may_not_make_temporary_tables_is_told(lab: Lab, poor: Lab) -> None:
    lab.fill(rows=5)
    archive(task_of(lab, "restore"))
    with pytest.raises(TableRefused, match=r"temporary tables(?s:.*)grant the missing right"):
        purge(task_of(poor, "restore"))
    assert purge(task_of(poor, "full")).tally.purged == 5


def test_such_a_role_can_prove_by_a_scratch_database(lab: Lab, poor: Lab, scratch: Database) -> None:
    lab.fill(rows=5)
    archive(task_of(lab, "restore"))
    assert purge(task_of(poor, "restore", scratch)).tally.purged == 5
    assert left_in(scratch) == 0


def test_a_dropped_leaf_is_proven_by_a_load_too(lab: Lab) -> None:
    lab.execute(
        "CREATE TABLE parts (id bigint, created_at timestamptz NOT NULL, a numeric, PRIMARY KEY (id, created_at)) "
        "PARTITION BY RANGE (created_at);"
        "CREATE TABLE leaf PARTITION OF parts FOR VALUES FROM ('2024-03-05 00:00+00') TO ('2024-03-06 00:00+00');"
        "INSERT INTO parts SELECT n, '2024-03-05 10:00+00', n FROM generate_series(1, 9) n"
    )
    task = task_of(lab, "restore", name="parts", primary_key=("id", "created_at"), purge_method="drop_partition")
    archive(task)
    assert purge(task).dropped == ("leaf",)


def run(database: Database, statement: str) -> None:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute(statement)


def assert_refused(lab: Lab, task: Task, kind: type[SourceError | ConfigError], text: str) -> str:
    """Assert that the purge ends with that error, and that nothing happened by it; return what it says."""
    with pytest.raises(kind, match=text) as refused:
        purge(task)
    assert type(refused.value) is kind
    assert lab.count() == 30
    assert not [key for key in lab.objects() if "_purging" in key or "_rejected" in key]
    return str(refused.value)


TYPES = """
CREATE SCHEMA elsewhere;
CREATE TYPE elsewhere.mood AS ENUM ('sad', 'ok');
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TYPE swapped AS ENUM ('sad', 'ok');
CREATE DOMAIN amount AS numeric(10,2);
CREATE TYPE inner_one AS (it numeric(9,2));
CREATE TYPE outer_one AS (many inner_one[]);
CREATE TYPE floats AS RANGE (subtype = float8);
"""
OTHER_TYPES = """
CREATE TYPE swapped AS ENUM ('ok', 'sad');
CREATE DOMAIN amount AS numeric(10,1);
CREATE TYPE inner_one AS (it numeric(9,1));
CREATE TYPE outer_one AS (many inner_one[]);
CREATE TYPE floats AS RANGE (subtype = float4);
"""


def test_types_that_the_scratch_database_has_not_or_otherwise_are_refused_by_name(lab: Lab, scratch: Database) -> None:
    lab.execute(TYPES)
    lab.execute(
        "ALTER TABLE audit_logs ADD a mood, ADD b elsewhere.mood[], ADD c swapped, ADD d amount, ADD e outer_one, ADD f floats_multirange"
    )
    lab.execute("ALTER TABLE audit_logs ADD sound numeric(5,1), ADD also interval day to second(3)")
    lab.fill(rows=30)
    run(scratch, OTHER_TYPES)
    task = task_of(lab, "restore", scratch)
    archive(task)

    said = assert_refused(lab, task, TableRefused, "expected the scratch_database of lab to have the types")

    others = {f"a different public.{name}" for name in ("swapped", "amount", "outer_one", "floats_multirange")}
    assert set(said.split("found ")[1].split("\n")[0].split(", ")) == {"no public.mood", "no elsewhere.mood[]", *others}
    assert "HINT: create these types there" in said
    run(scratch, f"DROP SCHEMA public CASCADE; CREATE SCHEMA public; {TYPES}")
    assert purge(task).tally.purged == 30


def test_rows_that_the_scratch_database_does_not_take_are_no_fault_of_the_object(lab: Lab, scratch: Database) -> None:
    lab.fill(rows=30)
    lab.execute("ALTER TABLE audit_logs ADD relation regclass DEFAULT 'audit_logs'")
    task = task_of(lab, "restore", scratch)
    archive(task)
    assert_refused(lab, task, SourceError, 'scratch_database of lab (?s:.*)relation "public.audit_logs" does not exist')
    assert left_in(scratch) == 0


def test_an_encoding_that_holds_less_is_refused(lab: Lab, postgres_server: PostgresServer) -> None:
    name = f"{lab.database.name}_ascii"
    run(lab.database, f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    try:
        lab.fill(rows=30)
        task = task_of(lab, "restore", postgres_server.database(name))
        archive(task)
        assert_refused(lab, task, TableRefused, "expected the scratch_database of lab to have the encoding UTF8, found SQL_ASCII")
    finally:
        run(lab.database, f"DROP DATABASE {name}")


def test_a_pooler_before_it_is_refused(lab: Lab, scratch: Database) -> None:
    lab.fill(rows=30)
    archive(task_of(lab, "restore"))
    with Pooler(scratch.port) as proxy:
        task = task_of(lab, "restore", replace(scratch, host="127.0.0.1", port=proxy.port))
        assert_refused(lab, task, TableRefused, "expected a direct connection to the scratch_database of lab, found a pooler")


def test_an_error_of_the_source_while_it_compares_is_the_sources(lab: Lab, scratch: Database) -> None:
    """The key's check fails there only, and only by now."""
    lab.fill(rows=30)
    fits = "CREATE OR REPLACE FUNCTION fits(text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN {} RETURN true; END $$;"
    made = fits.format("") + "CREATE DOMAIN kept AS text CHECK (public.fits(VALUE));"
    lab.execute(f"{made} ALTER TABLE audit_logs ADD k kept; UPDATE audit_logs SET k = id::text")
    lab.execute("ALTER TABLE audit_logs ALTER k SET NOT NULL, ADD UNIQUE (k)")
    run(scratch, made)
    task = task_of(lab, "restore", scratch, primary_key=("k",))
    archive(task)
    lab.execute(fits.format("RAISE 'not by the source' USING ERRCODE = 'check_violation';"))
    assert_refused(lab, task, SourceError, "^database lab (?s:.*)CheckViolation")


@pytest.mark.parametrize(
    ("wrong", "kind", "text"),
    [
        ({"password": "mistaken-hunter2"}, SourceLoginRefused, "scratch_database of lab (?s:.*)password authentication failed"),
        ({"password": ""}, ConfigError, "LAB_SCRATCH_PASSWORD"),
        ({"port": 1}, SourceUnavailable, "scratch_database of lab (?s:.*)refused"),
    ],
)
def test_a_scratch_database_that_cannot_be_reached_stops_the_purge(
    lab: Lab, scratch: Database, wrong: dict[str, Any], kind: type[SourceError | ConfigError], text: str
) -> None:
    lab.fill(rows=30)
    archive(task_of(lab, "restore"))
    said = assert_refused(lab, task_of(lab, "restore", replace(scratch, **wrong)), kind, text)
    assert "hunter2" not in said
    assert lab.database.password not in said


@pytest.mark.parametrize("times", [1, 100])
def test_a_scratch_database_that_is_lost_while_it_gives_the_rows_back_is_tried_again(lab: Lab, scratch: Database, times: int) -> None:
    lab.fill(rows=30)
    lab.execute("UPDATE audit_logs SET action = repeat('long', 1000)")
    archive(task_of(lab, "restore"))
    with TcpProxy(scratch.port) as proxy:
        proxy.cut_after(30_000, times=times)
        task = task_of(lab, "restore", replace(scratch, host="127.0.0.1", port=proxy.port))
        if times == 1:
            assert purge(task).tally.purged == 30
        else:
            assert_refused(lab, task, SourceUnavailable, "scratch_database of lab")
        assert proxy.cuts == (1 if times == 1 else 4)
    assert left_in(scratch) == 0


@pytest.mark.parametrize(
    ("failure", "kind", "tries"),
    [
        ("RAISE 'no room' USING ERRCODE = 'disk_full'", SourceUnavailable, 4),
        ("PERFORM pg_terminate_backend(pg_backend_pid())", SourceUnavailable, 4),
        ("RAISE 'no such value' USING ERRCODE = 'check_violation'", SourceError, 1),
    ],
)
def test_a_load_that_a_scratch_server_cannot_do_is_tried_again_and_one_that_it_refuses_is_not(
    lab: Lab, scratch: Database, failure: str, kind: type[SourceError], tries: int
) -> None:
    """The check of a domain fails here, as a disk would that is full, or a server that ends."""
    domain = "CREATE SEQUENCE tries; CREATE FUNCTION fits(text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN {} RETURN true; END $$;"
    domain += "CREATE DOMAIN kept AS text CHECK (public.fits(VALUE))"
    lab.execute(domain.format(""))
    run(scratch, domain.format(f"PERFORM nextval('public.tries'); {failure};"))
    lab.fill(rows=30)
    lab.execute("ALTER TABLE audit_logs ADD kept kept; UPDATE audit_logs SET kept = 'x'")
    task = task_of(lab, "restore", scratch)
    archive(task)
    assert_refused(lab, task, kind, "scratch_database of lab")
    with psycopg.connect(scratch.dsn) as connection:
        assert connection.execute("SELECT last_value FROM tries").fetchone() == (tries,)
    assert left_in(scratch) == 0


@pytest.mark.usefixtures("lossy_driver")
def test_every_batch_that_comes_back_is_compared(lab: Lab, scratch: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archiver_assets.source.scratch._BATCH_CHARACTERS", 200)
    lab.fill(rows=30)
    lab.execute("UPDATE audit_logs SET action = 'action 7' WHERE id IN (1, 11, 30)")
    task = task_of(lab, "restore", scratch)
    archive(task)
    with pytest.raises(NotVerified, match="column action: 4 restored rows differ"):
        purge(task)
    assert lab.count() == 30
