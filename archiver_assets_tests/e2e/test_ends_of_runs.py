"""Why a run ended, as far as Kubernetes knows: what the launcher finds out, what run monitoring writes, and what a notification says of it.

What belongs here: the real launcher and run monitoring, and an API that says what is to be said. What does not: processes, rows and
objects (`test_runs_that_die.py`).
"""

import json
import time
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent

from archiver_assets.config import config_path, load_config
from archiver_assets.orchestration.in_process_runs import PROCESS_GONE
from archiver_assets.telemetry.events import EventLog, Failed
from archiver_assets.telemetry.run_endings import ending_of
from archiver_assets_tests.control_room import IN_MEMORY, ControlRoom, open_control_room
from archiver_assets_tests.local_cluster import CLUSTER, Event, State, ended, waiting
from archiver_assets_tests.pods import pod_instance, pod_variables

# Dagster's own: its snapshot of a schedule uses what it deprecated, and partitioned checks are a preview.
pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.PreviewWarning"),
    pytest.mark.filterwarnings("ignore:Property `ScheduleDefinition.environment_vars`:DeprecationWarning"),
]

LOW = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 60Mi."
IMAGE = "registry.internal.example/archiver:typo"
CREATED = Event("Normal", "SuccessfulCreate", "Created pod: dagster-run-x")
GONE = State(active=None, failed=1, phase=None)
NO_IMAGE = waiting(
    "ImagePullBackOff", f'Back-off pulling image "{IMAGE}"', Event("Warning", "Failed", f'Failed to pull image "{IMAGE}"', 4)
)
NO_PASSWORDS = waiting("CreateContainerConfigError", 'secret "archiver-secrets" not found')
BUSY = Event("Warning", "FailedScheduling", "0/3 nodes are available: 3 Insufficient memory.")
NO_NODE = State(phase="Pending", events=[BUSY])
NO_VOLUME = waiting("ContainerCreating", "", Event("Warning", "FailedMount", 'configmap "archiver-config" not found'))
# What troubled the start of a pod that started all the same, on a new node and after a few tries.
OVERCOME = [
    BUSY,
    Event("Warning", "FailedMount", "failed to sync configmap cache: timed out waiting for the condition"),
    Event("Warning", "Failed", "Error: ErrImagePull"),
]
TABLES = ("no_image", "no_secret", "no_volume", "no_node", "crashed", "too_large", "late")
CANCELLED = "cancelled"
DAY = "2024-03-05"


def table(name: str) -> dict[str, object]:
    return {"name": name, "timestamp_column": "created_at", "primary_key": "id", "retention_days": 30}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlRoom]:
    """A room of tables that nobody can reach, where a run has a pod without a process."""
    folder = tmp_path_factory.mktemp("home")
    config = folder / "config.yaml"
    tables = [table(name) for name in (*TABLES, CANCELLED)]
    database = {
        "name": "one",
        "host": "127.0.0.1",
        "port": 1,
        "user": "u",
        "password_env": "PW",
        "max_concurrent_runs": 9,
        "tables": tables,
    }
    config.write_text(json.dumps({"version": "2.0", "s3": {"bucket": "a-bucket"}, "databases": [database]}))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**pod_variables(), "ARCHIVER_CONFIG": str(config), "DAGSTER_HOME": str(folder)}.items():
            patch.setenv(name, value)
        patch.setattr(CLUSTER, "runs_processes", False)
        with open_control_room(folder, pod_instance(folder, storage=IN_MEMORY, start_timeout_seconds=1, cancel_timeout_seconds=1)) as room:
            yield room


@pytest.fixture
def room(opened: ControlRoom) -> Iterator[ControlRoom]:
    """The room, without runs."""
    yield opened
    for run in opened.runs():
        opened.instance.delete_run(run.run_id)
    CLUSTER.clear()


def launch(room: ControlRoom, name: str = "late") -> str:
    """Launch the run of a table's day, which gets its pod."""
    run = room.launch(*(dg.AssetKey(["one", "public", name, step]) for step in ("archive", "purge")), day=DAY)
    room.dequeue()
    assert room.run(run).status is dg.DagsterRunStatus.STARTING
    return run


def begin(room: ControlRoom, run_id: str, *, ago: float = 0) -> None:
    """Report what the process of a run reports when it has started."""
    started = DagsterEvent(dg.DagsterEventType.RUN_START.value, room.run(run_id).job_name)
    room.instance.report_dagster_event(started, run_id, timestamp=time.time() - ago)


def told(room: ControlRoom, run_id: str) -> Failed:
    """Return what the notifications make of the failure of a run."""
    log = EventLog(room.instance, load_config(config_path()))
    (failed,) = [each for each in log.after(0, time.time() + 60).events if isinstance(each, Failed) and each.run_id == run_id]
    return failed


@pytest.mark.parametrize(
    ("state", "said", "kind", "text"),
    [
        (ended(137, "OOMKilled"), "Container 'dagster' status: Terminated with exit code 137: OOMKilled", "OOMKilled", "more memory"),
        (ended(137, "Error", message=LOW, events=[Event("Warning", "Evicted", LOW)]), f"Pod status: Failed: {LOW}", "Evicted", "its node"),
        (ended(143, "Error", message="Pod was terminated in response to imminent node shutdown."), "143: Error", "Evicted", "its node"),
        (ended(137, "Error", events=[Event("Warning", "FailedScheduling", "0/3 nodes")]), "137: Error", "KILLED", "died"),
        (GONE, "Debug information for job dagster-run-", "KILLED", "was deleted"),
        (
            State(active=None, failed=1, phase=None, events=[CREATED, Event("Warning", "DeadlineExceeded", "Job was active longer")]),
            "DeadlineExceeded: Job was active longer",
            "DeadlineExceeded",
            "activeDeadlineSeconds",
        ),
    ],
)
def test_a_run_whose_pod_died_fails_and_says_why(room: ControlRoom, state: State, said: str, kind: str, text: str) -> None:
    run = launch(room)
    begin(room, run)
    room.monitor()
    assert room.run(run).status is dg.DagsterRunStatus.STARTED
    CLUSTER.pod_of(run).state = state

    room.monitor()

    assert room.run(run).status is dg.DagsterRunStatus.FAILURE
    assert "Detected run worker status FAILED: 'Run has not completed but K8s job has no active pods'" in room.end_of(run)
    assert said in room.end_of(run)
    failed = told(room, run)
    assert (failed.kind, failed.item.table, failed.item.partition) == (f"run failure {kind}", "one/public/late", DAY)
    assert text in failed.text
    assert "0/3" not in failed.text + failed.hint


def test_runs_whose_pods_never_start_or_never_end_are_given_up_after_the_timeout_and_say_why(room: ControlRoom) -> None:
    runs = {name: launch(room, name) for name in TABLES}
    states = {
        "no_image": NO_IMAGE,
        "no_secret": NO_PASSWORDS,
        "no_volume": NO_VOLUME,
        "no_node": NO_NODE,
        "crashed": ended(1, "Error", events=OVERCOME),
        "too_large": ended(137, "OOMKilled", events=OVERCOME),
    }
    for name, state in states.items():
        CLUSTER.pod_of(runs[name]).state = state
    CLUSTER.pod_of(runs["crashed"]).log.write_text("DagsterInvariantViolationError: no such module, not even of OOMKilled\n")
    CLUSTER.pod_of(runs["too_large"]).log.write_text("")
    CLUSTER.pod_of(runs["late"]).log.write_text("")
    cancelled = launch(room, CANCELLED)
    begin(room, cancelled)
    del CLUSTER.pods[CLUSTER.pod_of(cancelled).name]
    assert not room.instance.run_launcher.terminate(cancelled), "there is nothing to be ended"
    time.sleep(1.1)

    room.monitor()

    assert room.run(cancelled).status is dg.DagsterRunStatus.CANCELED
    ends = {name: room.end_of(run) for name, run in runs.items()}
    assert all(end.startswith("Run timed out due to taking longer than 1 seconds to start.") for end in ends.values())
    assert f"Container 'dagster' status: Waiting: ImagePullBackOff: Back-off pulling image \"{IMAGE}\"" in ends["no_image"]
    assert 'secret "archiver-secrets" not found' in ends["no_secret"]
    assert "FailedScheduling: 0/3 nodes are available: 3 Insufficient memory." in ends["no_node"]
    assert "DagsterInvariantViolationError: no such module" in ends["crashed"]
    failures = {name: told(room, run) for name, run in runs.items()}
    assert {name: each.kind.removeprefix("run failure ") for name, each in failures.items()} == {
        "no_image": "ImagePullBackOff",
        "no_secret": "CreateContainerConfigError",
        "no_volume": "CreateContainerConfigError",
        "no_node": "FailedScheduling",
        "crashed": "START_TIMEOUT",
        "too_large": "OOMKilled",
        "late": "START_TIMEOUT",
    }
    assert all("delete the remaining Job" in each.hint for name, each in failures.items() if name != "too_large")
    assert not [each for each in failures.values() if IMAGE in each.text + each.hint or "no such module" in each.text + each.hint]


def test_a_run_that_kubernetes_knows_nothing_of_fails_and_one_it_does_not_answer_for_too(room: ControlRoom) -> None:
    deleted, unanswered = launch(room), launch(room, "no_image")
    begin(room, deleted)
    begin(room, unanswered)
    pod = CLUSTER.pods.pop(CLUSTER.pod_of(deleted).name)
    room.monitor()
    assert f"Detected run worker status UNKNOWN: 'Job {pod.name} could not be found'" in room.end_of(deleted)
    assert (told(room, deleted).kind, room.run(unanswered).status) == ("run failure NOT_FOUND", dg.DagsterRunStatus.STARTED)

    CLUSTER.error = 403
    room.monitor()

    assert "Detected run worker status UNKNOWN: 'dagster_k8s.client.DagsterK8sUnrecoverableAPIError" in room.end_of(unanswered)
    assert told(room, unanswered).kind == "run failure UNKNOWN"


def test_a_run_whose_job_is_refused_fails_at_once(room: ControlRoom) -> None:
    CLUSTER.error = 403
    run = room.launch(dg.AssetKey(["one", "public", "late", "archive"]), day=DAY)

    room.dequeue()

    assert room.run(run).status is dg.DagsterRunStatus.FAILURE
    assert "Reason: of the test" in room.engine_events(run)[-1]
    failed = told(room, run)
    assert (failed.kind, failed.hint) == ("run failure UNKNOWN", "read the end of the run's log")


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (PROCESS_GONE, "KILLED"),
        ("This job is being forcibly marked as failed. The computational resources", "MAX_RUNTIME"),
        ("This run has been marked as failed from outside the execution context.", "UNKNOWN"),
        ("", "UNKNOWN"),
    ],
)
def test_every_end_has_a_name(message: str, kind: str) -> None:
    assert ending_of(message).kind == f"run failure {kind}"


def test_a_run_over_its_time_fails_and_says_so(room: ControlRoom) -> None:
    long = launch(room)
    begin(room, long, ago=85_900)
    room.monitor()
    assert room.end_of(long) == "Exceeded maximum runtime of 85200 seconds."
    assert told(room, long).kind == "run failure MAX_RUNTIME"
