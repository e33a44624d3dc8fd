"""Table plus archive has each row version exactly once, at every step of the protocol and after every interruption."""

from collections import Counter
from dataclasses import replace
from datetime import date
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from archiver_assets.config import Config
from archiver_assets.errors import ConfigError, NotVerified, SourceChanged, StoreError
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.generations import Generations, read_generations, reject
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.restoring import datasets
from archiver_assets.lifecycle.restoring.request import RestoreRequest
from archiver_assets.lifecycle.restoring.restore import restore
from archiver_assets.lifecycle.task import Step, Task
from archiver_assets.lifecycle.verifying.verify import verify
from archiver_assets.reader import archived, archived_and_current
from archiver_assets.source.reading import read_rows
from archiver_assets_tests.kills import Killed, kill_at
from archiver_assets_tests.lab import DAY, PASSWORD_VARIABLE, PREFIX, Lab

NEXT = date(2024, 3, 6)


@pytest.fixture(autouse=True)
def password(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader has no environment of its own."""
    monkeypatch.setenv(PASSWORD_VARIABLE, lab.database.password)


def config(lab: Lab) -> Config:
    return lab.services().config


def both(lab: Lab, first: date = DAY, last: date = NEXT) -> pa.Table:
    with archived_and_current(config(lab), "lab", "audit_logs", first, last) as rows:
        return rows.to_table()


def stored(lab: Lab, first: date = DAY, last: date = NEXT) -> pa.Table:
    with archived(config(lab), "lab", "audit_logs", first, last) as rows:
        return rows.to_table()


def versions(rows: pa.Table) -> Counter[tuple[int, int, str]]:
    return Counter(zip(*(rows.column(name).to_pylist() for name in ("id", "_xmin", "action")), strict=True))


def in_table(lab: Lab) -> Counter[tuple[int, int, str]]:
    return Counter(lab.execute("SELECT id, xmin::text::bigint, action FROM audit_logs"))


def once(rows: pa.Table) -> bool:
    return set(versions(rows).values()) <= {1}


def test_every_step_of_the_protocol_shows_each_row_version_once(lab: Lab) -> None:
    lab.fill(DAY, rows=20)
    lab.fill(NEXT, rows=5)
    expected = in_table(lab)
    seen: list[Step] = []

    def look(step: Step) -> None:
        seen.append(step)
        assert versions(both(lab)) == expected, step

    task = lab.task(table=lab.table(batch_size=7), reached=look)
    archive(task)
    verify(task)
    purge(task)
    assert {Step.SNAPSHOT_TAKEN, Step.OBJECT_UPLOADED, Step.MANIFEST_CREATED, Step.PURGE_MARKED, Step.BATCH_DELETED} <= set(seen)
    assert {Step.READ_BACK, Step.RECEIPT_WRITTEN, Step.UNLOCKED} <= set(seen)
    assert lab.count() == 5


@pytest.mark.parametrize(
    ("verb", "step"),
    [
        (archive, Step.OBJECT_UPLOADED),
        (archive, Step.MANIFEST_CREATED),
        (purge, Step.PURGE_MARKED),
        (purge, Step.BATCH_DELETED),
        (purge, Step.RECEIPT_WRITTEN),
    ],
)
def test_so_it_is_after_every_death(lab: Lab, verb: Any, step: Step) -> None:  # noqa: ANN401 -- either verb
    lab.fill(DAY, rows=20)
    expected = in_table(lab)

    task = lab.task(table=lab.table(batch_size=7))
    if verb is purge:
        archive(task)
    with pytest.raises(Killed):
        verb(replace(task, reached=kill_at(step)))
    assert versions(both(lab)) == expected


def test_what_is_purged_while_it_reads_is_in_either(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.fill(DAY, rows=20)
    expected = in_table(lab)
    real = datasets._days_with_manifests

    def later(reading: datasets.Reading) -> list[date]:
        archive(lab.task())
        purge(lab.task())
        return real(reading)

    monkeypatch.setattr(datasets, "_days_with_manifests", later)
    assert versions(both(lab)) == expected
    assert lab.count() == 0


@pytest.mark.parametrize("listing", [1, 2])
def test_what_is_archived_while_it_lists_is_in_either(lab: Lab, monkeypatch: pytest.MonkeyPatch, listing: int) -> None:
    lab.fill(DAY, rows=5)
    archive(lab.task())
    lab.execute("INSERT INTO audit_logs (created_at, action) VALUES ('2024-03-05 12:00+00', 'late')")
    expected = in_table(lab)
    calls: list[Task] = []

    def later(task: Task) -> Generations:
        calls.append(task)
        if len(calls) == listing:
            archive(lab.task())
        return read_generations(task)

    monkeypatch.setattr(datasets, "read_generations", later)
    assert versions(both(lab)) == expected


def test_late_and_changed_rows_are_versions_of_their_own(lab: Lab) -> None:
    lab.fill(DAY, rows=5)
    first = in_table(lab)
    archive(lab.task())
    lab.execute("UPDATE audit_logs SET action = 'changed' WHERE id = 3")
    lab.execute("INSERT INTO audit_logs (created_at, action) VALUES ('2024-03-05 12:00+00', 'late')")
    expected = first | in_table(lab)
    assert versions(both(lab)) == expected
    archive(lab.task())
    assert versions(both(lab)) == expected == versions(stored(lab))
    purge(lab.task())
    assert versions(both(lab)) == expected == versions(stored(lab))


def test_restored_rows_are_one_with_what_they_were_restored_from(lab: Lab) -> None:
    lab.fill(DAY, rows=5)
    expected = in_table(lab)
    archive(lab.task())
    purge(lab.task())
    restore(lab.task(), RestoreRequest(table_name="audit_logs"))
    lab.execute("UPDATE audit_logs SET action = 'changed' WHERE id = 3")
    changed = in_table(lab) - Counter({each: 1 for each in in_table(lab) if each[2] != "changed"})
    assert versions(both(lab)) == expected + changed


def test_a_version_is_there_once_after_another_key_was_configured(lab: Lab) -> None:
    lab.fill(DAY, rows=5)
    expected = in_table(lab)
    archive(lab.task())
    archive(lab.task(table=lab.table(primary_key=("id", "created_at"))))
    assert len(read_generations(lab.task()).live) == 2
    assert versions(stored(lab)) == expected


def test_a_long_range_costs_only_the_days_that_have_rows(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.fill(DAY, rows=2)
    lab.fill(date(1999, 12, 31), rows=2)
    expected = in_table(lab)
    read: list[Any] = []

    def counting(*arguments: Any) -> Any:  # noqa: ANN401 -- as it is called
        read.append(arguments)
        return read_rows(*arguments)

    monkeypatch.setattr(datasets, "read_rows", counting)
    assert versions(both(lab, date.min, date.max)) == expected
    assert len(read) == 2


@pytest.mark.parametrize("purged", [False, True])
def test_rows_that_were_written_anew_unchanged_are_there_once(lab: Lab, purged: bool) -> None:  # noqa: FBT001 -- a parameter of a test
    lab.fill(DAY, rows=5)
    archive(lab.task())
    if purged:
        purge(lab.task())
        restore(lab.task(), RestoreRequest(table_name="audit_logs"))
    lab.execute("CREATE TABLE anew (LIKE audit_logs INCLUDING ALL); INSERT INTO anew SELECT * FROM audit_logs ORDER BY id DESC")
    lab.execute("DROP TABLE audit_logs; ALTER TABLE anew RENAME TO audit_logs")
    rows = both(lab)
    assert rows.num_rows == 5
    assert sorted(rows.column("id").to_pylist()) == [1, 2, 3, 4, 5]


def test_a_version_that_two_generations_hold_is_read_once_with_the_newer_columns(lab: Lab) -> None:
    lab.fill(DAY, rows=5)
    archive(lab.task())
    lab.execute("ALTER TABLE audit_logs ADD COLUMN more int DEFAULT 7")
    archive(lab.task())
    assert len(read_generations(lab.task()).live) == 2
    for rows in (stored(lab), both(lab)):
        assert once(rows)
        assert rows.column("more").to_pylist() == [7] * 5


def test_a_column_that_a_day_did_not_have_is_null(lab: Lab) -> None:
    lab.fill(DAY, rows=2)
    archive(lab.task())
    purge(lab.task())
    lab.execute("ALTER TABLE audit_logs ADD COLUMN more int DEFAULT 7; ALTER TABLE audit_logs DROP COLUMN address")
    lab.execute("INSERT INTO audit_logs (created_at, action) VALUES ('2024-03-06 12:00+00', 'later')")
    archive(lab.task(NEXT))
    rows = stored(lab)
    assert rows.schema.names[-3:] == ["more", "address", "_xmin"]
    assert sorted(rows.column("more").to_pylist(), key=str) == [7, None, None]
    assert rows.column("address").null_count == 1


def test_a_column_of_two_types_is_refused_with_the_days(lab: Lab) -> None:
    lab.fill(DAY, rows=2)
    archive(lab.task())
    purge(lab.task())
    lab.execute("ALTER TABLE audit_logs ALTER amount TYPE double precision")
    lab.fill(NEXT, rows=2)
    archive(lab.task(NEXT))
    with pytest.raises(SourceChanged, match=r"amount.*2024-03-06.*2024-03-05(?s:.*)apart"):
        stored(lab)
    assert stored(lab, DAY, DAY).num_rows == stored(lab, NEXT, NEXT).num_rows == 2


def test_rejected_and_uncommitted_objects_are_left_out(lab: Lab) -> None:
    lab.fill(DAY, rows=5)
    expected = in_table(lab)
    archive(lab.task())
    (generation,) = read_generations(lab.task()).live
    reject(lab.task(), generation, ("for a test",))
    with pytest.raises(Killed):
        archive(lab.task(reached=kill_at(Step.OBJECT_UPLOADED)))
    assert len([key for key in lab.objects() if key.endswith(".parquet")]) == 2
    assert stored(lab).num_rows == 0
    assert versions(both(lab)) == expected


@pytest.mark.parametrize(("byte", "error"), [(100, NotVerified), (-1, StoreError)])
def test_a_damaged_object_that_has_to_be_compared_is_refused(lab: Lab, byte: int, error: type[Exception]) -> None:
    lab.fill(DAY, rows=5)
    archive(lab.task())
    (key,) = [key for key in lab.objects() if key.endswith(".parquet")]
    data = bytearray(lab.content(key))
    data[byte] ^= 1
    lab.overwrite(key, bytes(data))
    with pytest.raises(error):
        both(lab)
    assert lab.count() == 5
    assert not [each for each in lab.objects() if "_rejected" in each]


def test_days_without_anything_are_an_empty_dataset(lab: Lab) -> None:
    assert stored(lab).num_rows == 0
    assert both(lab).schema.names[-1] == "_xmin"
    assert both(lab).num_rows == 0


def test_a_folder_that_is_no_day_is_not_of_the_archive(lab: Lab) -> None:
    lab.fill(DAY, rows=5)
    archive(lab.task())
    lab.store.create(f"{PREFIX}lab/public/audit_logs/dt=2024-13-45/_manifest-0001.json", b"{}")
    assert stored(lab).num_rows == 5


def test_only_the_days_asked_for_are_read(lab: Lab) -> None:
    for day in (DAY, NEXT):
        lab.fill(day, rows=3)
        archive(lab.task(day))
    assert (stored(lab, NEXT, NEXT).num_rows, both(lab, DAY, DAY).num_rows, both(lab).num_rows) == (3, 3, 6)
    with pytest.raises(ConfigError, match="not to be before"):
        stored(lab, NEXT, DAY)
    with (
        pytest.raises(ConfigError, match="found lab/public/nonsense"),
        archived(config(lab), "lab", "nonsense", DAY, DAY),
    ):
        pass


def test_duckdb_queries_the_dataset(lab: Lab) -> None:
    lab.fill(DAY, rows=5)
    archive(lab.task())
    with archived(config(lab), "lab", "audit_logs", DAY, DAY) as rows:
        assert isinstance(rows, ds.Dataset)
        connection = duckdb.connect()
        connection.register("archive", rows)
        found = connection.execute("SELECT count(*), min(amount)::text FROM archive WHERE action <> 'action 0'").fetchall()
        assert found == [(4, "0.1429")]
