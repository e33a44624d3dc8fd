"""What the verbs say of how far they have got, while they work on real servers."""

import logging
import threading
import time
from collections.abc import Callable

import psycopg
import pytest

from archiver_assets.lifecycle import progress
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.restoring.request import RestoreRequest
from archiver_assets.lifecycle.restoring.restore import restore
from archiver_assets.lifecycle.verifying.verify import verify
from archiver_assets_tests.lab import Lab

WAITS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="archiver")


def numbers(caplog: pytest.LogCaptureFixture) -> list[tuple[str, int, int, int]]:
    """Return of each step that counted its name, its rows, their total, and its bytes."""
    found = [(record.getMessage().partition(" lab/")[0], vars(record)) for record in caplog.records if hasattr(record, "rows_total")]
    caplog.clear()
    return [(step, each["rows"], each["rows_total"], each["bytes"]) for step, each in found]


def test_each_verb_says_at_its_end_how_many_rows_and_bytes_it_was(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    lab.fill(rows=100)
    archived = archive(lab.task())
    assert archived.generation
    size = archived.generation.manifest.object.bytes
    assert numbers(caplog) == [("archive", 100, 100, size)]
    verify(lab.task())
    assert numbers(caplog) == [("read back", 100, 100, size), ("decode", 100, 100, size)]
    purge(lab.task())
    assert numbers(caplog) == [("read back", 100, 100, size), ("decode", 100, 100, size), ("purge", 100, 100, size)]
    restore(lab.task(), RestoreRequest())
    assert numbers(caplog)[-1] == ("restore", 100, 100, size)


def lines_while_locked(lab: Lab, statement: str, verb: Callable[[], object], caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what a verb said while it waited for a lock that another session has, and let it end."""
    working = threading.Thread(target=verb)
    with psycopg.connect(lab.database.dsn) as other:
        other.execute(statement)
        working.start()
        deadline = time.monotonic() + 10
        while not lab.execute(WAITS)[0][0] and time.monotonic() < deadline:
            time.sleep(0.02)
        caplog.clear()
        time.sleep(0.3)
        said = list(caplog.messages)
    working.join()
    return said


def test_a_statement_that_takes_long_does_not_keep_a_verb_from_saying_how_far_it_is(
    lab: Lab, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.05)
    lab.fill(rows=100)
    task = lab.task()
    said = lines_while_locked(lab, "LOCK TABLE audit_logs IN ACCESS EXCLUSIVE MODE", lambda: archive(task), caplog)
    assert len(said) > 2
    assert all(line.startswith(f"archive {task.label}: at work for ") and line.endswith("last reached: locked") for line in said)

    task = lab.task(table=lab.table(batch_size=50))
    said = lines_while_locked(lab, "SELECT FROM audit_logs WHERE id = 100 FOR UPDATE", lambda: purge(task), caplog)
    assert len(said) > 2
    assert all(line.startswith(f"purge {task.label}: 50 of 100 rows, ") and line.endswith("last reached: batch deleted") for line in said)
