"""A batch deletes versions and nothing else, whatever the key, however the server finds them, and whoever changes them meanwhile."""

import threading
import time

import psycopg
import pytest

from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import Purged, purge
from archiver_assets_tests.lab import Lab
from archiver_assets_tests.outcomes import assert_purged

# Numbers side by side, with gaps, too thin to be bound by place, at both ends of the type; and keys that are no numbers.
KEYS = {
    "dense": ("bigint", "n"),
    "gaps": ("int", "n * 3 - 30"),
    "thin": ("bigint", "n * 1000"),
    "far": ("bigint", "CASE n WHEN 1 THEN -9223372036854775808 WHEN 20 THEN 9223372036854775807 ELSE n END"),
    "short": ("smallint", "(n - 10)::smallint"),
    "text": ("text", "'row ' || n"),
}
PLANS = ("nestloop", "hashjoin", "mergejoin")


@pytest.fixture(params=KEYS)
def made(lab: Lab, request: pytest.FixtureRequest) -> Lab:
    """Rows 1 to 20 of the day under keys of a kind, archived."""
    return make(lab, request.param)


def make(lab: Lab, key: str) -> Lab:
    kind, value = KEYS[key]
    lab.overrides = {"name": "ev", "primary_key": ("id",), "timestamp_column": "at"}
    lab.execute(f"CREATE TABLE ev (id {kind} PRIMARY KEY, at timestamptz NOT NULL, n int, note text)")
    lab.execute("CREATE INDEX ON ev (at)")
    lab.execute(f"INSERT INTO ev SELECT {value}, '2024-03-05 10:00+00'::timestamptz + n * interval '1 s', n FROM generate_series(1, 20) n")
    lab.execute("ANALYZE ev")
    archive(lab.task())
    return lab


def left(lab: Lab) -> list[object]:
    return [tuple(row) for row in lab.execute("SELECT n, note FROM ev ORDER BY n")]


def test_only_the_archived_versions_go(made: Lab) -> None:
    made.execute("UPDATE ev SET note = 'changed' WHERE n IN (1, 7, 20)")
    made.execute("WITH gone AS (DELETE FROM ev WHERE n = 9 RETURNING *) INSERT INTO ev SELECT id, at, n, 'again' FROM gone")
    made.execute("DELETE FROM ev WHERE n = 10")
    purged = purge(made.task())
    assert_purged(purged, by_version=15, gone=1, late=4)
    assert left(made) == [(1, "changed"), (7, "changed"), (9, "again"), (20, "changed")]


def test_a_row_between_the_archived_numbers_stays(lab: Lab) -> None:
    make(lab, "gaps")
    lab.execute("INSERT INTO ev SELECT n * 3 - 29, '2024-03-05 10:00+00', n + 100, 'late' FROM generate_series(1, 19) n")
    assert (purge(lab.task()).tally.purged, left(lab)) == (20, [(n + 100, "late") for n in range(1, 20)])


@pytest.mark.parametrize(("key", "plan"), [("dense", ""), *(("thin", plan) for plan in PLANS)])
def test_a_row_that_changes_while_its_batch_waits_stays(lab: Lab, key: str, plan: str) -> None:
    make(lab, key)
    for other in PLANS if plan else ():
        lab.execute(f"ALTER DATABASE {lab.database.name} SET enable_{other} = {'on' if other == plan else 'off'}")
    purged: list[Purged] = []
    with psycopg.connect(lab.database.dsn) as writer:
        writer.execute("UPDATE ev SET note = 'changed' WHERE n = 7")
        writer.execute("UPDATE ev SET at = at + interval '1 day' WHERE n = 8")
        thread = threading.Thread(target=lambda: purged.append(purge(lab.task())))
        thread.start()
        _wait_for_a_lock(lab)
        writer.commit()
        thread.join()
    (result,) = purged
    assert_purged(result, by_version=18, changed=1, gone=1)
    assert left(lab) == [(7, "changed"), (8, None)]


def _wait_for_a_lock(lab: Lab) -> None:
    deadline = time.monotonic() + 4  # less than a batch waits
    while not any(lab.execute("SELECT pid FROM pg_locks WHERE NOT granted")):
        assert time.monotonic() < deadline, "expected the purge to wait for the row, found that it does not"
        time.sleep(0.02)
