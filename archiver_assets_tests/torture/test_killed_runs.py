"""Dagster as it is deployed, whose runs are killed at random moments beside writers: no row version is lost, and the last run finishes.

What belongs here: the daemon's own run monitoring and queue in a process, the shipped launcher on processes of this machine. What does not:
jobs without Dagster (`test_torture.py`), and single deaths at known steps (`e2e/test_runs_that_die.py`).
"""

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from archiver_assets_tests.commands import AUDIT_LOGS_TABLE, write_config
from archiver_assets_tests.control_room import Desk
from archiver_assets_tests.dagster_processes import Dagster, open_dagster
from archiver_assets_tests.lab import DAY, PREFIX, Lab
from archiver_assets_tests.pods import pod_instance, pod_variables
from archiver_assets_tests.torture.checker import LOG, Checker
from archiver_assets_tests.torture.writer import Writer, log_all

pytestmark = [pytest.mark.torture, pytest.mark.timeout(1200)]

KILLS = int(os.environ.get("TORTURE_KILLS", "12"))
SEED = int(os.environ.get("TORTURE_SEED", "20240305"))
PATIENCE = 90.0
"""Seconds for a run to start, to end, or to be found dead."""
LONGEST_LIFE = 6.0
"""Seconds after which a run is killed at the latest; some end before."""
START_TIMEOUT = 15
"""Seconds after which a run is found that was killed before it had begun, which nothing else looks for."""
ENDED = {dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS}
STARTED_PROCESS = "Started process for run (pid: "


@pytest.fixture
def dagster(lab: Lab, tmp_path: Path, aws_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Dagster]:
    """A code server, a webserver, and a daemon that looks after its runs each second."""
    table = {**AUDIT_LOGS_TABLE, "batch_size": 7, "sleep_between_batches": 0.05}
    variables = {**pod_variables(), **lab.environ, **aws_environment, "DAGSTER_HOME": str(tmp_path)}
    variables["ARCHIVER_CONFIG"] = write_config(lab, tmp_path, table)
    (tmp_path / "dagster.yaml").write_text(_impatient(pod_instance(tmp_path, poll_interval_seconds=1, start_timeout_seconds=START_TIMEOUT)))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with open_dagster(tmp_path, variables) as opened:
        yield opened


def _impatient(instance_yaml: str) -> str:
    settings = json.loads(instance_yaml)
    settings["run_coordinator"]["config"]["dequeue_interval_seconds"] = 1
    return json.dumps(settings)


@pytest.fixture
def desk(dagster: Dagster, tmp_path: Path) -> Iterator[Desk]:
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield Desk(instance, f"{dagster.url}/graphql")


def test_runs_killed_at_random_moments_beside_writers_lose_nothing_and_finish(
    lab: Lab, desk: Desk, dagster: Dagster, request: pytest.FixtureRequest
) -> None:
    checker = Checker(lab.database.dsn, request.getfixturevalue("s3_server").client(), lab.bucket, PREFIX)
    chance = random.Random(SEED)
    lab.execute(LOG)
    lab.fill(rows=200)
    with psycopg.connect(lab.database.dsn) as connection:
        log_all(connection)

    with _writing(lab):
        for _ in range(KILLS):
            run = _launch(desk)
            pid = _wait(partial(_pid, desk, run), dagster)
            time.sleep(chance.uniform(0, LONGEST_LIFE))
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            before = lab.count()
            _wait(partial(_ended, desk, run), dagster)
            if desk.run(run).status is dg.DagsterRunStatus.FAILURE:
                assert "exit code 137: OOMKilled" in desk.end_of(run), f"seed {SEED}: {desk.end_of(run)}"
            assert checker.violations() == [], f"seed {SEED}"
            marks = Counter(kind for folder in checker.folders().values() for kind, numbers in folder.marks.items() for _ in numbers)
            print(f"{desk.run(run).status.value}: {before} rows in the table, {dict(marks)}")  # noqa: T201 - for who wants to know

    run = _launch(desk)
    _wait(partial(_ended, desk, run), dagster)
    assert desk.run(run).status is dg.DagsterRunStatus.SUCCESS, f"seed {SEED}: {desk.end_of(run)}"
    assert checker.violations() == [], f"seed {SEED}"
    assert lab.execute("SELECT count(*) FROM audit_logs WHERE created_at >= %s AND created_at < %s::date + 1", [DAY, DAY]) == [(0,)]
    assert checker.unnamed() == set()
    assert len(desk.runs(dg.DagsterRunStatus.FAILURE)) >= KILLS // 2


def _launch(desk: Desk) -> str:
    return desk.launch(*(dg.AssetKey(["lab", "public", "audit_logs", step]) for step in ("archive", "purge")), day=str(DAY))


def _ended(desk: Desk, run_id: str) -> bool:
    return desk.run(run_id).status in ENDED


def _pid(desk: Desk, run_id: str) -> int | None:
    for record in desk.instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT).records:
        event = record.event_log_entry.dagster_event
        if event and (event.message or "").startswith(STARTED_PROCESS):
            return int((event.message or "").removeprefix(STARTED_PROCESS).partition(")")[0])
    return None


def _wait(look: Callable[[], int | None], dagster: Dagster) -> int:
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline, dagster.logs()
        time.sleep(0.05)
    return found


@contextmanager
def _writing(lab: Lab) -> Iterator[None]:
    writer = Writer(lab.database.dsn, [str(DAY)], str(SEED))
    writer.start()
    try:
        yield
    finally:
        writer.stop()
