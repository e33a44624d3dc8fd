"""The limits of the queue: from the config file, as it is now, to those that Dagster counts by."""

import os
from collections.abc import Iterable
from pathlib import Path

import dagster as dg
import pytest
from dagster._utils.tags import TagConcurrencyLimitsCounter

from archiver_assets.config import Config, load_config
from archiver_assets.orchestration.queue_limits import ConfiguredLimits, TagLimit, limits_of
from archiver_assets_tests.unit.config_files import SEED

MANY = 20


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The config file that ARCHIVER_CONFIG names."""
    monkeypatch.setenv("ARCHIVER_CONFIG", str(tmp_path / "config.yaml"))
    return tmp_path / "config.yaml"


def with_limit(limit: int | None) -> str:
    return (
        SEED if limit is None else SEED.replace("    host: db.example.com", f"    host: db.example.com\n    max_concurrent_runs: {limit}")
    )


def config(limit: int | None, path: Path) -> Config:
    path.write_text(with_limit(limit))
    return load_config(path)


def started(limits: Iterable[TagLimit], *, database: str = "production_db", tables: int = MANY) -> int:
    """Return how many runs of different tables of a database Dagster starts at once."""
    counter = TagConcurrencyLimitsCounter([dict(limit) for limit in limits], [])
    count = 0
    for number in range(MANY):
        run = dg.DagsterRun(job_name="any", tags={"archiver/database": database, "archiver/table": f"{database}/public/t{number % tables}"})
        if not counter.is_blocked(run):
            counter.update_counters_with_launched_item(run)
            count += 1
    return count


@pytest.mark.parametrize(("limit", "expected"), [(None, 2), (1, 1), (2, 2), (7, 7)])
def test_a_database_has_as_many_runs_as_its_config_says_and_a_table_one(limit: int | None, expected: int, path: Path) -> None:
    limits = limits_of(config(limit, path))

    assert started(limits) == expected
    assert started(limits, tables=1) == 1


@pytest.mark.parametrize(("limit", "expected"), [(1, 2), (7, 7)])
def test_a_database_that_the_file_does_not_name_is_limited_too(limit: int, expected: int, path: Path) -> None:
    assert started(limits_of(config(limit, path)), database="of another code location") == expected


def test_a_file_that_changes_is_read_again_and_only_then(path: Path) -> None:
    limits = ConfiguredLimits()
    path.write_text(with_limit(3))
    first = limits.now()
    assert started(first) == 3
    assert limits.now() is first

    replaced = path.with_suffix(".new")
    replaced.write_text(with_limit(4))
    os.utime(replaced, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    replaced.rename(path)

    assert started(limits.now()) == 4


@pytest.mark.parametrize("text", [None, "version: 2.0\ndatabases: nonsense\n"], ids=["missing", "invalid"])
def test_without_a_readable_file_one_run_of_a_database_starts_and_the_log_says_why(
    text: str | None, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limits = ConfiguredLimits()
    path.write_text(with_limit(5))
    assert started(limits.now()) == 5
    path.unlink()
    if text:
        path.write_text(text)

    assert started(limits.now()) == started(limits.now()) == 1

    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "at most 1 run of each database at a time" in record.getMessage()
    assert str(path) in record.getMessage()
    path.write_text(with_limit(5))
    assert started(limits.now()) == 5
