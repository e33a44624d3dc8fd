"""Runs that are killed, evicted, over their time: each ends as a failed run with the reason, holds nothing, and the next one goes on.

What belongs here: the real launcher, queue and run monitoring with the settings of dagster.yaml, on processes of this machine, and what is
left in the table and in the bucket. What does not: pods that never were, and the words for each cause (`test_ends_of_runs.py`).
"""

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest

from archiver_assets.cli.app import Status, main
from archiver_assets.config import config_path, load_config
from archiver_assets.demo.seaweed import EmbeddedS3
from archiver_assets.lifecycle.progress import Progress
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.task import Step
from archiver_assets.orchestration.in_process_runs import PROCESS_GONE, Runner
from archiver_assets.source.session import is_locked
from archiver_assets.telemetry.events import EventLog
from archiver_assets_tests.commands import write_config
from archiver_assets_tests.control_room import ControlRoom, open_control_room
from archiver_assets_tests.e2e.conftest import Said
from archiver_assets_tests.forking import fork_server
from archiver_assets_tests.lab import DAY, LARGE_ROWS, PASSWORD_VARIABLE, Lab, only
from archiver_assets_tests.local_cluster import CLUSTER, POD_IMPORTS
from archiver_assets_tests.pods import pod_instance, pod_variables
from archiver_assets_tests.torture.death import Death

# Dagster's own: partitioned checks are a preview.
pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.PreviewWarning"),
    pytest.mark.filterwarnings("ignore:Property `ScheduleDefinition.environment_vars`:DeprecationWarning"),
]

ROWS, BATCH = 200, 10
TABLE = {"name": "audit_logs", "timestamp_column": "created_at", "primary_key": "id", "retention_days": 30, "batch_size": BATCH}
LEAVES = """
CREATE TABLE ev (id int NOT NULL, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE ev_am PARTITION OF ev FOR VALUES FROM ('2024-03-05 00:00Z') TO ('2024-03-05 12:00Z');
CREATE TABLE ev_pm PARTITION OF ev FOR VALUES FROM ('2024-03-05 12:00Z') TO ('2024-03-06 00:00Z');
CREATE TABLE ev_rest PARTITION OF ev DEFAULT;
CREATE INDEX ON ev (at);
INSERT INTO ev SELECT n, '2024-03-05 00:00Z'::timestamptz + n * interval '1 hour' FROM generate_series(1, 22) n;
"""
LEFT = dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING
OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
PATIENCE = 60.0


@pytest.fixture(scope="module", autouse=True)
def _pods() -> Iterator[None]:
    with fork_server(POD_IMPORTS):
        yield


@pytest.fixture
def open_room(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ControlRoom]]:
    """Open a room in which the runs of a table are processes."""
    for name, value in {**pod_variables(), **lab.environ, "DAGSTER_HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    assert PASSWORD_VARIABLE in lab.environ
    rooms = []

    def open_it(**table: object) -> ControlRoom:
        monkeypatch.setenv("ARCHIVER_CONFIG", write_config(lab, tmp_path, {**TABLE, **table}))
        rooms.append(open_control_room(tmp_path, pod_instance(tmp_path)))
        return rooms[0].__enter__()

    yield open_it
    CLUSTER.clear()
    for room in rooms:
        room.__exit__(None, None, None)


def launch(room: ControlRoom, table: str = "audit_logs", **tags: str) -> str:
    return room.launch(*(dg.AssetKey(["lab", "public", table, step]) for step in ("archive", "purge")), day=str(DAY), tags=tags)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, [pod.log.read_text() for pod in CLUSTER.pods.values()]
        time.sleep(0.01)


def wait_for_the_end_of_its_sessions(lab: Lab) -> None:
    """The server ends a session when it sees that its client is gone, and its locks with it."""
    wait_until(lambda: lab.execute(OTHERS) == [(0,)])
    task = lab.task()
    with task.source.connect() as connection:
        assert not is_locked(connection, table=task.table.label, partition=task.partition)


def ended_by_monitoring(room: ControlRoom, run: str) -> bool:
    room.monitor()
    return room.run(run).is_finished


def uploads(lab: Lab, server: EmbeddedS3) -> int:
    return len(server.client().list_multipart_uploads(Bucket=lab.bucket).get("Uploads", []))


def archived(lab: Lab) -> list[int]:
    """Return the ids in all generations."""
    return sorted(row for key in lab.objects() if "/rows-" in key for row in pq.read_table(lab.file(key))["id"].to_pylist())


def test_a_run_killed_in_each_of_its_steps_fails_with_the_reason_and_the_next_goes_on(
    lab: Lab, open_room: Callable[..., ControlRoom], s3_server: EmbeddedS3
) -> None:
    """The kernel kills it for its memory: in the midst of an upload, between archive and purge, and between two batches."""
    lab.fill(rows=ROWS)
    room = open_room()
    CLUSTER.deaths = [
        Death(Step.OBJECT_ENCODED, signal.SIGKILL),
        Death(Step.MANIFEST_CREATED, signal.SIGKILL),
        Death(Step.BATCH_DELETED, signal.SIGKILL, 2),
        None,
    ]
    left = []
    run = launch(room)
    room.dequeue()
    while CLUSTER.deaths:
        CLUSTER.pod_of(run).join()
        following = launch(room)
        room.dequeue()
        assert room.run(following).status is dg.DagsterRunStatus.QUEUED, "Dagster does not know yet that the other one is dead"

        room.monitor()
        assert room.run(run).status is dg.DagsterRunStatus.FAILURE
        assert "Container 'dagster' status: Terminated with exit code 137: OOMKilled" in room.end_of(run)
        wait_for_the_end_of_its_sessions(lab)
        left.append((lab.count(), len(archived(lab))))
        room.dequeue()
        run = following

    CLUSTER.pod_of(run).join()
    assert room.run(run).status is dg.DagsterRunStatus.SUCCESS, CLUSTER.pod_of(run).log.read_text()
    assert left == [(ROWS, 0), (ROWS, ROWS), (ROWS - 2 * BATCH, ROWS)]
    assert (lab.count(), archived(lab)) == (0, list(range(1, ROWS + 1)))
    assert only(lab.objects(), lambda key: "_purged" in key)
    assert uploads(lab, s3_server) == 0
    assert room.runs(*LEFT) == []


@pytest.mark.torture
def test_what_a_run_killed_in_the_midst_of_a_large_upload_leaves_is_ended_by_the_next(
    lab: Lab, open_room: Callable[..., ControlRoom], s3_server: EmbeddedS3
) -> None:
    lab.execute(LARGE_ROWS)
    room = open_room(batch_size=5000)
    CLUSTER.deaths = [Death(Step.OBJECT_ENCODED, signal.SIGKILL), None]
    for status, left in ((dg.DagsterRunStatus.FAILURE, 1), (dg.DagsterRunStatus.SUCCESS, 0)):
        run = launch(room)
        room.dequeue()
        CLUSTER.pod_of(run).join()
        room.monitor()
        assert (room.run(run).status, uploads(lab, s3_server)) == (status, left)

    assert lab.count() == 0


@pytest.mark.torture
def test_a_run_killed_between_two_leaves_is_finished_by_the_next(lab: Lab, open_room: Callable[..., ControlRoom]) -> None:
    lab.execute(LEAVES)
    room = open_room(name="ev", timestamp_column="at", primary_key=["id", "at"], purge_method="drop_partition")
    CLUSTER.deaths = [Death(Step.LEAF_DROPPED, signal.SIGKILL), None]
    killed = launch(room, "ev")
    room.dequeue()
    CLUSTER.pod_of(killed).join()
    room.monitor()
    wait_for_the_end_of_its_sessions(lab)
    assert (room.run(killed).status, lab.count("ev")) == (dg.DagsterRunStatus.FAILURE, 11)

    run = launch(room, "ev")
    room.dequeue()
    CLUSTER.pod_of(run).join()

    assert room.run(run).status is dg.DagsterRunStatus.SUCCESS
    assert lab.execute("SELECT count(*) FROM pg_inherits WHERE inhparent = 'ev'::regclass") == [(1,)]
    assert (lab.count("ev"), archived(lab)) == (0, list(range(1, 23)))


def test_a_run_over_its_time_is_ended_at_a_batch(lab: Lab, open_room: Callable[..., ControlRoom]) -> None:
    lab.fill(rows=ROWS)
    room = open_room(sleep_between_batches=0.2)
    run = launch(room, **{"dagster/max_runtime": "1"})
    room.dequeue()
    wait_until(lambda: lab.count() < ROWS)
    wait_until(lambda: ended_by_monitoring(room, run))
    assert room.run(run).status is dg.DagsterRunStatus.FAILURE
    assert room.end_of(run) == "Exceeded maximum runtime of 1 seconds."

    CLUSTER.pod_of(run).join()

    assert room.run(run).status is dg.DagsterRunStatus.FAILURE, "what the process said at its end does not undo it"
    left = lab.count()
    assert 0 < left < ROWS
    assert left % BATCH == 0
    wait_for_the_end_of_its_sessions(lab)
    assert (purge(lab.task()).outcome, lab.count()) == ("purged", 0)


def test_a_run_that_is_cancelled_in_the_ui_ends_at_a_batch_and_is_no_failure(lab: Lab, open_room: Callable[..., ControlRoom]) -> None:
    lab.fill(rows=ROWS)
    room = open_room(sleep_between_batches=5.0)
    run = launch(room)
    room.dequeue()
    wait_until(lambda: lab.count() < ROWS)

    room.terminate(run)
    CLUSTER.pod_of(run).join()

    assert (room.run(run).status, lab.count()) == (dg.DagsterRunStatus.CANCELED, ROWS - BATCH)
    wait_for_the_end_of_its_sessions(lab)
    room.monitor()
    failed = [
        each for each in EventLog(room.instance, load_config(config_path())).after(0, time.time() + 60).events if hasattr(each, "kind")
    ]
    assert failed == []


def test_an_evicted_run_says_that_it_was_interrupted_and_another_pod_of_it_does_nothing(
    lab: Lab, open_room: Callable[..., ControlRoom]
) -> None:
    """The kubelet gives the pod time to end itself: Dagster hears of it from the run. The other pod is one that starts too late."""
    lab.fill(rows=ROWS)
    room = open_room()
    CLUSTER.deaths = [Death(Step.BATCH_DELETED, signal.SIGTERM, 2)]
    run = launch(room)
    room.dequeue()
    CLUSTER.pod_of(run).join()

    assert room.run(run).status is dg.DagsterRunStatus.FAILURE
    assert "Execution was interrupted unexpectedly" in room.end_of(run)
    (failed,) = EventLog(room.instance, load_config(config_path())).after(0, time.time() + 60).events[-1:]
    assert (getattr(failed, "kind", None), failed.item.partition) == ("run failure INTERRUPTED", str(DAY))
    wait_for_the_end_of_its_sessions(lab)

    CLUSTER.create_namespaced_job(CLUSTER.pod_of(run).job, "audit-archiver", 1)
    CLUSTER.pod_of(run).join()

    (*_, ignored, _exited) = room.engine_events(run)
    assert "Ignoring a run worker that started after the run had already finished." in ignored
    assert (room.run(run).status, lab.count()) == (dg.DagsterRunStatus.FAILURE, ROWS - 2 * BATCH)
    assert not [key for key in lab.objects() if "_purged" in key]
    assert (purge(lab.task()).outcome, lab.count()) == ("purged", 0)


def test_a_command_is_shown_as_failed_where_kubernetes_is_asked_for_it_and_corrects_that_at_its_end(
    lab: Lab, open_room: Callable[..., ControlRoom]
) -> None:
    lab.fill(rows=ROWS)
    room = open_room()
    seen = set[dg.DagsterRunStatus]()

    def watch(progress: Progress) -> None:
        if progress.what.startswith("purge") and not seen:
            room.monitor()
            seen.update(run.status for run in room.runs())

    run = Runner(replace(lab.services(lab.table()), watch=watch), room.instance, lab.table()).run(str(DAY))

    assert seen == {dg.DagsterRunStatus.FAILURE}
    assert "could not be found" in room.end_of(run.run_id)
    assert (run.failed, room.run(run.run_id).status, lab.count()) == (None, dg.DagsterRunStatus.SUCCESS, 0)


def test_a_command_that_is_killed_is_recorded_as_failed_by_the_next_one_which_goes_on(
    lab: Lab, config: str, said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    Path(config).write_text(json.dumps(lab.document(batch_size=BATCH, sleep_between_batches=5.0)))
    lab.fill(rows=ROWS)
    command = ["--config", config, "run", "--database", "lab"]
    process = multiprocessing.get_context("forkserver").Process(target=run_command, args=(command, dict(os.environ)))
    process.start()
    try:
        wait_until(lambda: lab.count() < ROWS)
        status, out = said("run", "--database", "lab")
        assert (status, "expected no other run of lab/public/audit_logs" in out) == (Status.TRY_AGAIN, True)
    finally:
        process.kill()
        process.join()
    wait_for_the_end_of_its_sessions(lab)
    assert lab.count() == ROWS - BATCH
    Path(config).write_text(json.dumps(lab.document()))

    assert said("run", "--database", "lab", "--all")[0] == Status.DONE

    assert lab.count() == 0
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        killed, following = instance.get_runs(ascending=True)
        assert (killed.status, following.status) == (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS)
        (record,) = instance.get_records_for_run(killed.run_id, of_type=dg.DagsterEventType.RUN_FAILURE).records
        assert record.event_log_entry.dagster_event
        assert record.event_log_entry.dagster_event.message == PROCESS_GONE


def run_command(arguments: list[str], environ: dict[str, str]) -> None:
    """Do what the command `archiver` does. The main function of a process."""
    os.environ.clear()
    os.environ.update(environ)
    sys.exit(main(arguments))
