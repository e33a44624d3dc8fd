"""Which days of a table with `purge: false` are done, by the names of its objects; and that whatever deletes refuses such a table first."""

import subprocess
import sys
from collections.abc import Callable
from datetime import date
from typing import Any, cast

import pytest

from archiver_assets.config import DatabaseConfig, TableConfig
from archiver_assets.errors import TableRefused
from archiver_assets.lifecycle.archive_only import done_days
from archiver_assets.lifecycle.purging.deletion import Session, delete_all
from archiver_assets.lifecycle.purging.dropping import drop_empty_leaves, drop_proven_leaves
from archiver_assets.lifecycle.purging.dry_purge import dry_purge
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.purging.vacuum import vacuum
from archiver_assets.lifecycle.task import Task
from archiver_assets.partition import Partition
from archiver_assets.source.session import Source
from archiver_assets.store.keys import TableKeys
from archiver_assets.store.objects import ObjectStore
from archiver_assets_tests.doubles import MemoryObjectStore

FOLDER = "archives/app/public/log/"
KEYS = TableKeys(FOLDER)
ROWS, MANIFEST, REJECTED, PURGING, PURGED = (
    "rows-0001-0123abcd.parquet",
    *(f"_{mark}-0001.json" for mark in ("manifest", "rejected", "purging", "purged")),
)


def table(**changes: object) -> TableConfig:
    values = {"database": "app", "name": "log", "timestamp_column": "at", "primary_key": ("id",), "retention_days": 30, "purge": False}
    return TableConfig.model_validate({**values, "vacuum_strategy": "standard", "purge_method": "drop_partition", **changes})


class Untouchable:
    """A store of which nothing may be asked."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - never anything
        raise AssertionError(name)


UNTOUCHABLE = cast("ObjectStore", Untouchable())


@pytest.mark.parametrize(
    ("names", "done"),
    [
        ([ROWS, MANIFEST], True),
        ([ROWS], False),
        ([], False),
        ([ROWS, MANIFEST, REJECTED], False),
        ([ROWS, MANIFEST, REJECTED, PURGING], True),  # a rejection beside a purge that has begun is void
        ([ROWS, MANIFEST, PURGING], True),
        ([ROWS, MANIFEST, PURGING, PURGED], True),
        ([ROWS, MANIFEST, REJECTED, "_manifest-0002.json"], True),
        (["_manifest-1.json", "_manifest-0000.json", "manifest-0001.json", "_manifest-0001.json.bak", "x/_manifest-0001.json"], False),
        ([PURGED, REJECTED], False),
    ],
)
def test_a_day_is_done_if_a_generation_of_it_counts(names: list[str], *, done: bool) -> None:
    store = MemoryObjectStore({f"{FOLDER}dt=2024-03-05/{name}": b"" for name in names})
    assert done_days(store, KEYS, table()) == ({date(2024, 3, 5)} if done else set())


def test_what_lies_in_no_folder_of_a_day_of_the_table_is_no_day() -> None:
    strays = ["dt=2024-13-05/", "dt=2024-03-05", "dt=/", "", "../log2/dt=2024-03-05/"]
    store = MemoryObjectStore({f"{FOLDER}{stray}{MANIFEST}": b"" for stray in strays} | {f"other/dt=2024-03-05/{MANIFEST}": b""})
    assert done_days(store, KEYS, table()) == set()


def test_of_a_table_that_is_purged_nothing_is_asked() -> None:
    assert done_days(UNTOUCHABLE, KEYS, table(purge=True)) == set()
    with pytest.raises(AssertionError):
        done_days(UNTOUCHABLE, KEYS, table())


def session(task: Task) -> Session:
    nothing = cast("Any", None)  # whose use would be an AttributeError
    return Session(task, nothing, nothing, nothing, nothing)


DELETING: dict[str, Callable[[Task], object]] = {
    "purge": purge,
    "dry_purge": dry_purge,
    "drop_proven_leaves": lambda task: drop_proven_leaves(session(task), [], cast("Any", None)),
    "drop_empty_leaves": lambda task: drop_empty_leaves(session(task), cast("Any", None)),
    "delete_all": lambda task: delete_all(session(task), cast("Any", None), cast("Any", None)),
    "vacuum": lambda task: vacuum(task, cast("Any", None), 0),
}


@pytest.mark.parametrize("name", DELETING)
def test_whatever_deletes_refuses_before_it_asks_the_database_or_the_store(name: str) -> None:
    one = table()
    nowhere = DatabaseConfig(name="app", host="/nowhere", user="u", password_env="UNSET_PASSWORD", tables=(one,))  # noqa: S106 - the name of a variable
    task = Task(one, Partition(date(2024, 3, 5), "UTC"), Source(nowhere, {}), UNTOUCHABLE, "run-of-a-test")

    with pytest.raises(TableRefused, match=r"expected purge: true in the config of app/public/log, found purge: false") as refused:
        DELETING[name](task)

    assert "set purge: true" in refused.value.hint


def test_a_tick_imports_no_arrow_to_know_what_is_done() -> None:
    code = "import sys, archiver_assets.lifecycle.archive_only, archiver_assets.lifecycle.idle_check; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
