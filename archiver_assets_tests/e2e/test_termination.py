"""A run of Dagster in a process of its own is told to end: it ends at a batch boundary, leaves nothing running, and the next run goes on.

What belongs here: runs that Dagster's own launcher or a shell cancels. What does not: runs in pods, and SIGKILL (`test_runs_that_die.py`).
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import psycopg
import pytest
import yaml

from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets_tests.lab import DAY, PASSWORD_VARIABLE, PREFIX, Lab

ROWS, BATCH = 200, 10
PATIENCE = 120.0
"""Seconds that a process is given to start, or to end."""

OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """DAGSTER_HOME of the runs."""
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return tmp_path


@contextmanager
def purging_run(lab: Lab, home: Path, pause: float) -> Iterator["subprocess.Popen[str]"]:
    """Start a run that purges the archived day."""
    database = lab.database
    config = {
        "version": "2.0",
        "s3": {"endpoint": lab.endpoint, "bucket": lab.bucket, "prefix": PREFIX, "region": "us-east-1", "path_style": True},
        "databases": [
            {
                "name": "lab",
                "host": database.host,
                "port": database.port,
                "user": database.user,
                "password_env": PASSWORD_VARIABLE,
                "database": database.name,
                "tables": [
                    {
                        "name": "audit_logs",
                        "timestamp_column": "created_at",
                        "primary_key": "id",
                        "retention_days": 30,
                        "batch_size": BATCH,
                        "sleep_between_batches": pause,
                    }
                ],
            }
        ],
    }
    (home / "config.yaml").write_text(yaml.safe_dump(config))
    variables = {"DAGSTER_HOME": str(home), "ARCHIVER_CONFIG": str(home / "config.yaml"), **lab.environ}
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "archiver_assets.definitions"]
    selected = ["--select", "key:lab/public/audit_logs/purge", "--partition", str(DAY)]
    with (home / "run.log").open("w") as log:
        process = subprocess.Popen([*command, *selected], env=os.environ | variables, stdout=log, stderr=subprocess.STDOUT, text=True)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def wait_until(holds: Callable[[], bool], process: "subprocess.Popen[str]", home: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert process.poll() is None, (home / "run.log").read_text()
        assert time.monotonic() < deadline, "what the run was to do did not come about"
        time.sleep(0.02)


def run_status(home: Path) -> dg.DagsterRunStatus:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        (run,) = instance.get_runs()
        return run.status


# Dagster's own launcher cancels by SIGINT. Kubernetes ends a pod by SIGTERM, also that of a run that is cancelled in the UI.
def test_a_purge_that_is_interrupted_ends_at_a_batch_and_the_next_run_goes_on(lab: Lab, home: Path) -> None:
    lab.fill(rows=ROWS)
    archive(lab.task())

    with purging_run(lab, home, pause=0.2) as process:
        wait_until(lambda: lab.count() < ROWS, process, home)
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)

    left = lab.count()
    assert 0 < left < ROWS
    assert left % BATCH == 0
    assert lab.execute(OTHERS) == [(0,)]
    assert run_status(home) in {dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.FAILURE}
    assert not [key for key in lab.objects() if "_purged" in key]
    assert purge(lab.task()).outcome == "purged"
    assert lab.count() == 0


def test_a_statement_that_waits_is_cancelled_on_the_server(lab: Lab, home: Path) -> None:
    lab.fill(rows=ROWS)
    archive(lab.task())
    waiting = f"{OTHERS} AND query LIKE '%DELETE%' AND wait_event_type = 'Lock'"

    with psycopg.connect(lab.database.dsn) as application, purging_run(lab, home, pause=0) as process:
        application.execute("SELECT FROM audit_logs WHERE id = 101 FOR UPDATE")
        wait_until(lambda: bool(lab.execute(waiting)[0][0]), process, home)
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
        assert lab.execute(waiting) == [(0,)]
        assert lab.execute(OTHERS) == [(1,)], "only the application's session is left"

    assert lab.count() == ROWS - 100
    assert purge(lab.task()).outcome == "purged"
    assert lab.count() == 0
