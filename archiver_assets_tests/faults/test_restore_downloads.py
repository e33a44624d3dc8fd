"""Of a day of many generations each object is downloaded once, however many older ones are compared with it."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.restoring.datasets import Reading, archived
from archiver_assets.lifecycle.restoring.request import Conflict, RestoreRequest, Versions
from archiver_assets.lifecycle.restoring.restore import restore
from archiver_assets.store.objects import ObjectStore
from archiver_assets_tests.lab import DAY, Lab

GENERATIONS = 5
EACH_ONCE = dict.fromkeys(range(1, GENERATIONS + 1), 1)


@dataclass
class Counted:
    """A store that counts how often the object of each generation is read."""

    store: ObjectStore
    reads: Counter[int] = field(default_factory=Counter)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- of whatever the store has
        return getattr(self.store, name)

    def read(self, key: str, *, version_id: str | None = None) -> Iterator[bytes]:
        if found := re.search(r"/rows-([0-9]{4})-", key):
            self.reads[int(found[1])] += 1
        return self.store.read(key, version_id=version_id)


@pytest.fixture(name="many")
def many_generations(lab: Lab) -> Lab:
    """A day of 10 rows, two of which change before each further archive; the last two differ in all but the newest generation."""
    lab.fill(rows=10)
    archive(lab.task())
    for number in range(2, GENERATIONS + 1):
        lab.execute("UPDATE audit_logs SET action = 'of ' || %s WHERE id IN (%s, 10)", [number, number])
        archive(lab.task())
    lab.execute("CREATE TABLE after AS SELECT * FROM audit_logs")
    return lab


def differing(lab: Lab, table: str) -> int:
    return int(
        lab.execute(f"SELECT count(*) FROM ((TABLE {table} EXCEPT TABLE after) UNION ALL (TABLE after EXCEPT TABLE {table})) AS d")[0][0]
    )


def test_a_restore_downloads_each_object_once(many: Lab) -> None:
    store = Counted(many.store)
    tally = restore(many.task(store=store), RestoreRequest()).tally
    assert (tally.loaded, tally.superseded) == (10, 8)
    assert differing(many, "audit_logs_restored") == 0
    assert store.reads == EACH_ONCE


def test_so_does_a_dry_run(many: Lab) -> None:
    store = Counted(many.store)
    tally = restore(many.task(store=store), RestoreRequest(dry_run=True)).tally
    assert (tally.loaded, tally.superseded) == (10, 8)
    assert store.reads == EACH_ONCE


def test_so_does_a_restore_of_all_versions(many: Lab) -> None:
    store = Counted(many.store)
    assert restore(many.task(store=store), RestoreRequest(versions=Versions.all)).tally.loaded == 18
    assert store.reads == EACH_ONCE


def test_rows_that_give_way_are_looked_for_from_the_newest_generation_on_until_all_are_found(
    many: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches of two rows, for which nothing is downloaded again."""
    monkeypatch.setattr("archiver_assets.lifecycle.restoring.loading._BATCH_ROWS", 2)
    many.execute("CREATE TABLE target (LIKE audit_logs INCLUDING ALL); INSERT INTO target TABLE audit_logs")
    store = Counted(many.store)
    request = RestoreRequest("target", generations=(1,), conflict=Conflict.overwrite)
    tally = restore(many.task(store=store), request).tally
    assert (tally.loaded, tally.overwritten, tally.present) == (5, 5, 5)
    assert store.reads == EACH_ONCE
    assert many.execute("SELECT count(*) FROM target WHERE action LIKE 'of %'") == [(0,)]
    store.reads.clear()
    many.execute("UPDATE target t SET action = a.action FROM after a WHERE a.id = t.id AND t.id = 10")
    assert restore(many.task(store=store), request).tally.overwritten == 1
    assert store.reads == {1: 1, GENERATIONS: 1}


def test_a_dataset_downloads_each_object_once(many: Lab, tmp_path: Path) -> None:
    store = Counted(many.store)
    rows = archived(Reading(lambda day: many.task(day, store=store), many.services().objects(), tmp_path, DAY, DAY))
    assert rows.count_rows() == 18
    assert store.reads == EACH_ONCE


def test_the_only_generation_of_a_day_is_left_where_it_is(lab: Lab, tmp_path: Path) -> None:
    lab.fill(rows=10)
    archive(lab.task())
    store = Counted(lab.store)
    rows = archived(Reading(lambda day: lab.task(day, store=store), lab.services().objects(), tmp_path, DAY, DAY))
    assert rows.count_rows() == 10
    assert not store.reads


def test_the_same_key_and_version_of_another_source_is_another_row(lab: Lab, tmp_path: Path) -> None:
    """A column that is added leaves the versions as they are, and all rows are archived again."""
    lab.fill(rows=10)
    archive(lab.task())
    lab.execute("ALTER TABLE audit_logs ADD added int")
    archive(lab.task())
    reading = Reading(lab.task, lab.services().objects(), tmp_path, DAY, DAY)
    assert archived(reading).count_rows() == 10
    key = lab.task().keys.folder + "_manifest-0001.json"
    manifest = json.loads(lab.content(key))
    manifest["source"]["system_identifier"] = "7"
    lab.overwrite(key, json.dumps(manifest).encode())
    assert archived(reading).count_rows() == 20
