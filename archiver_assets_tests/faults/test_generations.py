"""Generations add up: late rows, rewritten tables, rejected objects and crashes, each ending with every row archived and none lost."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest

from archiver_assets.demo.postgres import EmbeddedPostgres, find_binaries, icu_data
from archiver_assets.errors import ArchiverError, ManifestInvalid, NotVerified, PartitionBusy, SourceChanged, StoreError
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.task import Step, Task
from archiver_assets.lifecycle.verifying.verify import verify
from archiver_assets.store.keys import Mark
from archiver_assets.store.objects import StoredObject
from archiver_assets_tests.doubles import MemoryObjectStore
from archiver_assets_tests.kills import Killed, kill_at
from archiver_assets_tests.lab import AUDIT_LOGS, COPY_AND_SWAP, DAY, Lab, only
from archiver_assets_tests.outcomes import assert_purged
from archiver_assets_tests.servers import PostgresServer

LATE = "INSERT INTO audit_logs (created_at, action) SELECT '2024-03-05 12:00+00', 'late ' || n FROM generate_series(1, 7) n"


def archived_ids(lab: Lab, number: int) -> list[int]:
    """Return the ids in the object of a generation."""
    key = only(lab.objects(), lambda each: f"rows-{number:04d}-" in each)
    return sorted(pq.read_table(lab.file(key))["id"].to_pylist())


def manifests(lab: Lab) -> list[str]:
    return [key.rpartition("/")[2] for key in lab.objects() if "_manifest" in key]


def test_archiving_a_purged_day_again_writes_nothing_and_loses_nothing(lab: Lab) -> None:
    lab.fill(rows=20)
    archive(lab.task())
    purge(lab.task())
    before = {key: lab.content(key) for key in lab.objects()}

    assert archive(lab.task()).outcome == "already archived"
    assert purge(lab.task()).outcome == "already purged"

    assert {key: lab.content(key) for key in lab.objects()} == before


def test_late_rows_become_generation_2_and_are_purged_by_the_next_run(lab: Lab) -> None:
    lab.fill(rows=20)
    archive(lab.task())
    purge(lab.task())
    lab.execute(LATE)
    lab.execute("UPDATE audit_logs SET action = 'changed' WHERE action = 'late 1'")

    again = archive(lab.task())
    assert (again.outcome, again.rows, again.generation and again.generation.number) == ("archived", 7, 2)
    assert verify(lab.task()).passed
    assert purge(lab.task()).tally.purged == 7

    assert lab.count() == 0
    assert len(archived_ids(lab, 1)) == 20
    assert len(archived_ids(lab, 2)) == 7


def test_the_next_generation_holds_exactly_the_rows_that_no_open_generation_holds(lab: Lab) -> None:
    lab.fill(rows=20)
    archive(lab.task())
    lab.execute("UPDATE audit_logs SET action = 'changed' WHERE id IN (3, 5)")
    lab.execute(LATE)
    late = sorted(row[0] for row in lab.execute("SELECT id FROM audit_logs WHERE action LIKE 'late%' OR action = 'changed'"))

    assert archive(lab.task()).rows == 9
    assert archive(lab.task()).outcome == "already archived"

    assert archived_ids(lab, 2) == late
    purged = purge(lab.task())
    assert_purged(purged, purged=27, late=0)
    assert lab.count() == 0


def test_rows_committed_while_an_archive_runs_are_late_rows(lab: Lab) -> None:
    """A sequence or a timestamp below a watermark says nothing about when a transaction commits."""
    lab.fill(rows=20)

    def commit_late(step: Step) -> None:
        if step is Step.SNAPSHOT_TAKEN:
            lab.execute(LATE)

    assert archive(lab.task(reached=commit_late)).rows == 20
    assert (purge(lab.task()).tally.purged, lab.count()) == (20, 7)
    assert archive(lab.task()).rows == 7
    assert (purge(lab.task()).tally.purged, lab.count()) == (7, 0)


@pytest.mark.parametrize(
    ("statement", "changed", "gone"),
    [
        ("UPDATE audit_logs SET id = 1000 WHERE id = 3", 0, 1),
        ("UPDATE audit_logs SET created_at = created_at + interval '5 days' WHERE id = 3", 0, 1),
        ("UPDATE audit_logs SET action = 'a' WHERE id = 3; UPDATE audit_logs SET action = 'b' WHERE id = 3", 1, 0),
        ("DELETE FROM audit_logs WHERE id = 3; INSERT INTO audit_logs (id, created_at, action) VALUES (3, '2024-03-05', 'b')", 1, 0),
        ("UPDATE audit_logs SET amount = 1.00 WHERE id = 3", 1, 0),
        ("DELETE FROM audit_logs WHERE id = 3", 0, 1),
    ],
)
def test_a_row_that_the_application_changed_stays(lab: Lab, statement: str, changed: int, gone: int) -> None:
    lab.fill(rows=20)
    archive(lab.task())
    lab.execute(statement)
    survivors = lab.execute("SELECT * FROM audit_logs WHERE id IN (3, 1000)")

    purged = purge(lab.task())

    assert_purged(purged, purged=19, changed=changed, gone=gone)
    assert lab.execute("SELECT * FROM audit_logs") == survivors


@pytest.mark.parametrize(
    ("statement", "by_version"),
    [
        ("VACUUM FULL audit_logs", 20),
        ("VACUUM FREEZE audit_logs", 20),
        ("CLUSTER audit_logs USING audit_logs_pkey", 20),
        ("UPDATE audit_logs SET action = action", 0),
        (COPY_AND_SWAP, 0),
        ("CREATE TABLE kept AS TABLE audit_logs; DELETE FROM audit_logs; INSERT INTO audit_logs OVERRIDING SYSTEM VALUE TABLE kept", 0),
    ],
)
def test_a_table_rewritten_with_the_same_values_is_purged(lab: Lab, statement: str, by_version: int) -> None:
    lab.fill(rows=20)
    archive(lab.task())
    with psycopg.connect(lab.database.dsn, autocommit=True) as connection:
        connection.execute(statement)

    purged = purge(lab.task())

    assert_purged(purged, by_version=by_version, by_content=20 - by_version)
    assert lab.count() == 0


def test_rows_written_while_a_long_transaction_runs_are_purged_by_content(lab: Lab) -> None:
    lab.fill(rows=20)
    with psycopg.connect(lab.database.dsn) as running:
        running.execute("SELECT pg_current_xact_id()")
        lab.execute(LATE)
        assert archive(lab.task()).rows == 27
        assert archive(lab.task()).rows == 7  # held a second time: their versions are in doubt

        purged = purge(lab.task())

    assert (purged.tally.rows.by_version, purged.tally.rows.by_content, purged.late, lab.count()) == (20, 7, 0, 0)


def test_a_table_dumped_and_restored_is_purged_by_content(lab: Lab, tmp_path: Path) -> None:
    lab.fill(rows=20)
    archive(lab.task())
    binaries, dump = find_binaries(), tmp_path / "table.dump"
    environment = os.environ | icu_data(binaries)
    options = ["--format=custom", "--table=public.audit_logs", f"--file={dump}", lab.database.dsn]
    subprocess.run([binaries / "pg_dump", *options], env=environment, check=True)
    lab.execute("DROP TABLE audit_logs")
    subprocess.run([binaries / "pg_restore", f"--dbname={lab.database.dsn}", dump], env=environment, check=True)
    assert lab.count() == 20

    purged = purge(lab.task())

    assert_purged(purged, by_version=0, by_content=20)
    assert lab.count() == 0


def test_a_rewrite_that_changed_some_values_leaves_those_rows(lab: Lab) -> None:
    """Equal by value is not enough: 1.0 = 1.00 in jsonb, and an image tells them apart."""
    lab.fill(rows=20)
    archive(lab.task())
    lab.execute(COPY_AND_SWAP)
    lab.execute("""UPDATE audit_logs SET details = '{"n": 2, "x": 1.1}' WHERE id = 3""")
    lab.execute("UPDATE audit_logs SET tags = '{a,NULL,x}' WHERE id = 4")

    purged = purge(lab.task())

    assert_purged(purged, by_content=18, changed=2, late=2)
    assert [row[0] for row in lab.execute("SELECT id FROM audit_logs ORDER BY id")] == [3, 4]
    assert archive(lab.task()).rows == 2
    assert (purge(lab.task()).tally.purged, lab.count()) == (2, 0)


def test_a_column_added_since_makes_another_generation_and_the_first_one_purges_nothing(lab: Lab) -> None:
    lab.fill(rows=20)
    archive(lab.task())
    lab.execute("ALTER TABLE audit_logs ADD extra text DEFAULT 'x'")
    with pytest.raises(SourceChanged, match="columns"):
        purge(lab.task())
    assert lab.count() == 20

    assert archive(lab.task()).rows == 20
    assert (purge(lab.task()).tally.purged, lab.count()) == (20, 0)
    assert purge(lab.task()).outcome == "already purged"


@pytest.mark.parametrize("step", [Step.BATCH_STREAMED, Step.OBJECT_ENCODED, Step.OBJECT_UPLOADED, Step.WAL_FLUSHED])
def test_what_a_crash_leaves_is_removed_by_the_next_archive(lab: Lab, step: Step) -> None:
    lab.fill(rows=20)
    with pytest.raises(Killed):
        archive(lab.task(reached=kill_at(step)))
    lab.store.create(lab.task().keys.new_rows(1), b"half")

    assert archive(lab.task()).rows == 20

    assert len([key for key in lab.objects() if "rows-" in key]) == 1
    assert (verify(lab.task()).passed, purge(lab.task()).tally.purged) == (True, 20)


def test_data_of_a_generation_whose_manifest_is_gone_are_no_leftovers(lab: Lab) -> None:
    lab.fill(rows=20)
    store = MemoryObjectStore()
    archive(lab.task(store=store))
    purge(lab.task(store=store))
    (manifest,) = [key for key in store.contents if "_manifest" in key]
    del store.contents[manifest]
    kept = dict(store.contents)

    for verb in (archive, purge):
        with pytest.raises(ManifestInvalid, match="_manifest-0001"):
            verb(lab.task(store=store))

    assert store.contents == kept


@pytest.mark.parametrize("nth", [1, 2, 5, 6])
def test_a_purge_killed_after_any_batch_is_continued(lab: Lab, nth: int) -> None:
    table = lab.table(batch_size=10)
    lab.fill(rows=60)
    archive(lab.task(table=table))
    with pytest.raises(Killed):
        purge(lab.task(table=table, reached=kill_at(Step.BATCH_DELETED, nth)))
    assert lab.count() == 60 - 10 * nth

    again = purge(lab.task(table=table))

    assert_purged(again, outcome="purged", purged=60 - 10 * nth, gone=10 * nth)
    assert lab.count() == 0


@pytest.mark.parametrize("verbs", [(archive, archive), (purge, purge), (archive, purge)])
def test_two_at_once_are_refused_or_harmless(lab: Lab, verbs: tuple[Callable[[Task], Any], ...]) -> None:
    lab.fill(rows=200)
    table = lab.table(batch_size=10)
    if purge in verbs:
        archive(lab.task(table=table))
        lab.execute(LATE)
    outcomes: list[object] = []

    def run(verb: Callable[[Task], Any]) -> None:
        try:
            outcomes.append(verb(lab.task(table=table)))
        except PartitionBusy as busy:
            outcomes.append(busy)

    threads = [threading.Thread(target=run, args=(verb,)) for verb in verbs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(outcomes) == 2
    archive(lab.task(table=table))
    purge(lab.task(table=table))
    assert lab.count() == 0
    ids = [each for number in range(1, len(manifests(lab)) + 1) for each in archived_ids(lab, number)]
    assert len(set(ids)) == len(ids) == 200 + 7 * (purge in verbs)


def _damage(lab: Lab) -> None:
    key = only(lab.objects(), lambda each: "rows-0001-" in each)
    lab.store.remove(key)
    lab.store.create(key, b"not what it was")


def test_an_object_that_fails_twice_is_rejected_and_its_rows_are_archived_again(lab: Lab) -> None:
    lab.fill(rows=20)
    archive(lab.task())
    _damage(lab)

    assert not verify(lab.task()).passed
    assert only(lab.objects(), lambda key: "_rejected-0001" in key)
    with pytest.raises(ArchiverError, match="found none"):
        purge(lab.task())
    assert lab.count() == 20

    assert archive(lab.task()).rows == 20
    assert verify(lab.task()).passed
    assert (purge(lab.task()).tally.purged, lab.count()) == (20, 0)
    assert manifests(lab) == ["_manifest-0001.json", "_manifest-0002.json"]


def test_a_purge_rejects_what_fails_twice_and_an_archive_does_not_count_on_it(lab: Lab) -> None:
    lab.fill(rows=20)
    archive(lab.task())
    _damage(lab)

    with pytest.raises(NotVerified):
        purge(lab.task())

    assert only(lab.objects(), lambda key: "_rejected-0001" in key)
    assert lab.count() == 20


def test_an_archive_that_rejects_a_damaged_generation_no_longer_counts_its_rows(lab: Lab) -> None:
    lab.fill(rows=20)
    archive(lab.task())
    _damage(lab)

    archived = archive(lab.task())

    assert only(lab.objects(), lambda key: "_rejected-0001" in key)
    assert (archived.rows, archived.rows_in_archive) == (20, 20)


def test_a_generation_whose_purge_has_begun_is_never_rejected(lab: Lab) -> None:
    table = lab.table(batch_size=5)
    lab.fill(rows=20)
    archive(lab.task(table=table))
    with pytest.raises(Killed):
        purge(lab.task(table=table, reached=kill_at(Step.BATCH_DELETED)))
    _damage(lab)

    assert not verify(lab.task()).passed
    with pytest.raises(NotVerified):
        purge(lab.task())
    assert not [key for key in lab.objects() if "_rejected" in key]
    assert lab.count() == 15

    # What is left is archived by another generation, which the purge goes on to; that the first one is damaged stays an error.
    assert archive(lab.task()).rows == 15
    with pytest.raises(NotVerified):
        purge(lab.task())
    assert lab.count() == 0


def test_a_rejection_that_races_with_the_beginning_of_a_purge_stops_the_purge(lab: Lab) -> None:
    lab.fill(rows=20)
    archive(lab.task())
    key = lab.task().keys.mark(Mark.REJECTED, 1)

    def reject(step: Step) -> None:
        if step is Step.PURGE_MARKED:
            lab.store.create(key, b"{}")

    with pytest.raises(NotVerified, match="rejected while"):
        purge(lab.task(reached=reject))
    assert lab.count() == 20

    # Void beside the purging mark: nothing is purged by it, and its rows are archived again.
    assert archive(lab.task()).rows == 20
    assert (purge(lab.task()).tally.purged, lab.count()) == (20, 0)


class CarelessStore(MemoryObjectStore):
    """A store that does not know conditional writes."""

    def create(self, key: str, data: bytes, *, locked: bool = True) -> StoredObject:  # noqa: ARG002 - it locks nothing
        self.contents.pop(key, None)
        return super().create(key, data)


def test_a_store_that_ignores_conditions_is_refused(lab: Lab) -> None:
    lab.fill(rows=20)
    store = CarelessStore()

    with pytest.raises(StoreError, match="ignores If-None-Match"):
        archive(lab.task(store=store))

    assert not [key for key in store.contents if "_manifest" in key]
    assert lab.count() == 20


def test_rows_without_a_day_are_counted_and_never_touched(lab: Lab) -> None:
    lab.execute("ALTER TABLE audit_logs ALTER created_at DROP NOT NULL")
    lab.fill(rows=20)
    lab.execute("INSERT INTO audit_logs (created_at, action) VALUES (NULL, 'a'), ('infinity', 'b'), ('-infinity', 'c')")

    assert archive(lab.task()).rows_without_day == 3

    assert (purge(lab.task()).tally.purged, lab.count()) == (20, 3)


@pytest.fixture
def prepared(lab: Lab) -> Iterator[Lab]:
    """A lab on a server that can prepare transactions."""
    with EmbeddedPostgres(settings={"max_prepared_transactions": "2"}) as server:
        other = Lab(PostgresServer(server.dsn()).database("postgres"), lab.store, lab.bucket, lab.endpoint)
        other.execute(AUDIT_LOGS)
        yield other


@pytest.mark.usefixtures("short_row_locks")
def test_rows_locked_by_a_prepared_transaction_are_left_and_purged_later(prepared: Lab) -> None:
    prepared.fill(rows=20)
    archive(prepared.task())
    with psycopg.connect(prepared.database.dsn) as connection:
        connection.execute("UPDATE audit_logs SET action = 'never committed' WHERE id IN (3, 4)")
        connection.execute("PREPARE TRANSACTION 'waits'")

    purged = purge(prepared.task())
    assert_purged(purged, outcome="incomplete", purged=18, locked=2)
    assert prepared.count() == 2
    assert not [key for key in prepared.objects() if "_purged" in key]

    with psycopg.connect(prepared.database.dsn, autocommit=True) as connection:
        connection.execute("ROLLBACK PREPARED 'waits'")
    assert (purge(prepared.task()).outcome, prepared.count()) == ("purged", 0)


KEYS = {
    "uuid": "('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid",
    'text COLLATE "C"': "'key \"''\\ ' || n",
    "numeric": "n / 3.0",
    "numeric(10,2)": "n + 0.10",
    "float8": "n / 3.0",
    "bytea": "decode(lpad(to_hex(n), 4, '0'), 'hex')",
    "date": "'0044-03-15 BC'::date + n",
    "timestamptz": "'12044-03-15'::timestamptz + n * interval '1 us'",
    "inet": "('10.0.0.' || n)::inet",
    "int[]": "ARRAY[n, NULL, 2]",
    "char(7)": "'k' || n",
    "interval": "n * interval '1 month'",
    "boolean": "n > 1",
    "int4range": "int4range(n, n + 3)",
}


@pytest.mark.parametrize("kind", KEYS)
def test_keys_of_any_type(lab: Lab, kind: str) -> None:
    rows = 2 if kind == "boolean" else 20
    lab.execute(f"CREATE TABLE keyed (k {kind} NOT NULL UNIQUE, at timestamptz NOT NULL, v text)")
    lab.execute(f"INSERT INTO keyed SELECT {KEYS[kind]}, '2024-03-05 10:00+00', 'v' FROM generate_series(1, {rows}) n")
    table = lab.table(name="keyed", timestamp_column="at", primary_key=("k",))
    archive(lab.task(table=table))
    lab.execute("UPDATE keyed SET v = v WHERE ctid = '(0,1)'")

    assert archive(lab.task(table=table)).rows == 1
    assert verify(lab.task(table=table)).passed
    assert (purge(lab.task(table=table)).tally.purged, lab.count("keyed")) == (rows, 0)


def test_composite_keys_and_any_legal_names(lab: Lab) -> None:
    schema, name, key, at = 'Sche"ma %s', "Tä ble.%" + "x" * 54, "select", 'When"ever'
    quoted = [each.replace('"', '""') for each in (schema, name, key, at)]
    lab.execute(f'CREATE SCHEMA "{quoted[0]}"')
    lab.execute(
        f'CREATE TABLE "{quoted[0]}"."{quoted[1]}" ("{quoted[2]}" int, " b " text, "{quoted[3]}" date, PRIMARY KEY ("{quoted[2]}", " b "))'
    )
    lab.execute(f"""INSERT INTO "{quoted[0]}"."{quoted[1]}" SELECT n / 3, 'b' || n, '2024-03-05' FROM generate_series(1, 20) n""")
    table = lab.table(schema_name=schema, name=name, timestamp_column=at, primary_key=(key, " b "))

    assert archive(lab.task(table=table)).rows == 20
    assert verify(lab.task(table=table)).passed
    assert purge(lab.task(table=table)).tally.purged == 20


@pytest.mark.parametrize(("kind", "rows"), [("timestamp", 3), ("date", 3), ("timestamptz", 2)])
def test_days_are_local_for_timestamps_without_zone(lab: Lab, kind: str, rows: int) -> None:
    lab.execute(f"CREATE TABLE local (id int PRIMARY KEY, at {kind} NOT NULL)")
    lab.execute("INSERT INTO local VALUES (1, '2024-03-05 00:00'), (2, '2024-03-05 12:00'), (3, '2024-03-05 23:30')")
    table = lab.table(name="local", timestamp_column="at", timezone="Europe/Berlin")

    assert archive(lab.task(table=table)).rows == rows
    assert purge(lab.task(table=table)).tally.purged == rows


def test_a_purge_of_another_day_is_not_in_the_way(lab: Lab) -> None:
    lab.fill(rows=20)
    lab.fill(date(2024, 3, 6), rows=20)

    def other_day(step: Step) -> None:
        if step is Step.LOCKED:
            archive(lab.task(date(2024, 3, 6)))

    assert archive(lab.task(DAY, reached=other_day)).rows == 20


def test_an_interrupt_in_the_middle_of_a_statement_ends_it_on_the_server_too(lab: Lab) -> None:
    def interrupt(_number: int, _frame: object) -> None:
        raise Killed

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        with suppress(Killed), lab.task().source.connect() as connection:
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            connection.execute("SELECT pg_sleep(60)")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)

    still_running = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' AND state = 'active'"
    assert lab.execute(still_running) == [(0,)]
