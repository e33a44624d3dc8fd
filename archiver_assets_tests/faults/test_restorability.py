"""What proves an object before a purge, at each level of `verification`."""

from collections.abc import Generator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from archiver_assets.errors import NotVerified, TableRefused
from archiver_assets.lifecycle.archive import archive
from archiver_assets.lifecycle.content import Content
from archiver_assets.lifecycle.purge import purge
from archiver_assets.lifecycle.task import Task
from archiver_assets.source import reading
from archiver_assets_tests.lab import Lab

TEMPORARY = "SELECT count(*) FROM pg_class WHERE relname = 'archiver_proof'"


def task_of(lab: Lab, verification: str, **changes: object) -> Task:
    return lab.task(table=lab.table(verification=verification, **changes))


@pytest.mark.parametrize("verification", ["rows", "full", "restore"])
@pytest.mark.parametrize("stamp", ["timestamptz", "timestamp", "date"])
def test_each_level_lets_a_sound_day_be_purged(lab: Lab, verification: str, stamp: str) -> None:
    lab.fill(rows=30)
    lab.execute(f"ALTER TABLE audit_logs ALTER created_at TYPE {stamp} USING created_at AT TIME ZONE 'UTC'")
    task = task_of(lab, verification)
    archive(task)
    assert purge(task).tally.purged == 30
    assert lab.execute(TEMPORARY) == [(0,)]


@pytest.fixture
def lossy_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that changes one value, where no sample and no extreme shows it."""
    real = reading.read_rows

    def changing(*arguments: Any) -> Generator[pa.RecordBatch, None, None]:  # noqa: ANN401 -- as it is called
        for batch in real(*arguments):
            place = batch.schema.get_field_index("action")
            values = ["changed" if value == "action 7" else value for value in batch.column("action").to_pylist()]
            yield batch.set_column(place, batch.schema.field(place), pa.array(values))

    monkeypatch.setattr("archiver_assets.lifecycle.archive.read_rows", changing)
    monkeypatch.setattr(Content, "_compare_sample", lambda *_: None)


@pytest.mark.usefixtures("lossy_driver")
def test_only_a_load_shows_what_the_driver_did_to_a_value(lab: Lab) -> None:
    lab.fill(rows=30)
    task = task_of(lab, "restore")
    archive(task)
    with pytest.raises(NotVerified, match="column action: 1 rows are restored otherwise"):
        purge(task)
    assert lab.count() == 30
    assert not [key for key in lab.objects() if "_purging" in key]
    assert [key for key in lab.objects() if "_rejected-0001" in key]
    assert lab.execute(TEMPORARY) == [(0,)]


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
        patch.setattr("archiver_assets.lifecycle.archive.read_rows", reading.read_rows)
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
    import psycopg  # noqa: PLC0415 -- for a statement outside of any transaction

    lab.fill(rows=30)
    archive(task_of(lab, "restore"))
    with psycopg.connect(lab.database.dsn, autocommit=True) as connection:
        connection.execute(since)
    purge(task_of(lab, "restore"))
    assert lab.count() == left


def test_a_role_that_may_not_make_temporary_tables_is_told(lab: Lab) -> None:
    lab.fill(rows=5)
    archive(task_of(lab, "restore"))
    role = f"poor_{datetime.now(UTC):%H%M%S%f}"
    name = lab.database.name
    lab.execute(f'REVOKE TEMPORARY ON DATABASE "{name}" FROM PUBLIC')
    lab.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT SELECT, DELETE ON audit_logs TO {role}")
    lab.execute(f"GRANT EXECUTE ON FUNCTION pg_control_system() TO {role}")
    try:
        poor = replace(lab, database=replace(lab.database, user=role, password="x"))  # noqa: S106 - of a role of this test
        with pytest.raises(TableRefused, match=r"temporary tables(?s:.*)grant the missing right"):
            purge(task_of(poor, "restore"))
        assert purge(task_of(poor, "full")).tally.purged == 5
    finally:
        lab.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


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
