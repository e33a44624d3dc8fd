"""Dagster's control plane in this process: the real webserver on loopback, and the daemon's loops, an iteration at a time.

What belongs here: the private API for that, so that an upgrade of Dagster breaks in one place. What does not: expectations, and code
servers, whose start takes seconds: the code location is loaded into this process.
"""

import json
import logging
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import uvicorn
from dagster._core.launcher import LaunchRunContext, RunLauncher
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.storage.runs import InMemoryRunStorage
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._daemon.monitoring import execute_run_monitoring_iteration
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from dagster._scheduler.scheduler import ScheduleIterationTimes, launch_scheduled_runs
from dagster._serdes import ConfigurableClass, ConfigurableClassData
from dagster_webserver.app import create_app_from_workspace_process_context
from sqlalchemy.engine import Connection

LOCATION = "archiver"
CODE = """\
from archiver_assets.config import config_path, load_config
from archiver_assets.orchestration.build import build_definitions

defs = build_definitions(load_config(config_path()))
"""

LAUNCH_RUN = """
mutation($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}"""
LAUNCH_BACKFILL = """
mutation($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}"""
RE_EXECUTE = """
mutation($params: ReexecutionParams!) {
  launchPipelineReexecution(reexecutionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}"""


class IdleLauncher(RunLauncher[dg.DagsterInstance], ConfigurableClass):
    """Starts nothing: what it is given stays in progress until the test ends it."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data
        super().__init__()  # type: ignore[no-untyped-call] # Dagster's, without annotations

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> "IdleLauncher":
        return cls(inst_data, **config_value)

    def launch_run(self, context: LaunchRunContext) -> None:
        assert context.dagster_run.status is dg.DagsterRunStatus.STARTING

    def terminate(self, run_id: str) -> bool:
        raise NotImplementedError(run_id)


class RunsInMemory(InMemoryRunStorage, ConfigurableClass):
    """Dagster's own, as a class that an instance file may name, for one thread at a time: SQLite waits for no lock in shared memory."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data
        self._alone = threading.RLock()
        super().__init__()

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> "RunsInMemory":
        return cls(inst_data, **config_value)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        with self._alone, super().connect() as connection:
            yield connection


# A run in Dagster's default storage is a SQLite file of its own, which takes ten times as long as the rest of submitting it.
IN_MEMORY = {
    "run_storage": {"module": "archiver_assets_tests.control_room", "class": "RunsInMemory"},
    "event_log_storage": {"module": "dagster._core.storage.event_log", "class": "InMemoryEventLogStorage"},
    "schedule_storage": {
        "module": "dagster._core.storage.schedules",
        "class": "SqliteScheduleStorage",
        "config": {"base_dir": {"env": "DAGSTER_HOME"}},
    },
}
IDLE = {"module": "archiver_assets_tests.control_room", "class": "IdleLauncher"}
IN_PROCESS = {"module": "dagster._core.launcher.sync_in_memory_run_launcher", "class": "SyncInMemoryRunLauncher"}
"""Executes a run to its end before it returns."""


@dataclass
class Desk:
    """A webserver at work, and the records that it and the daemon keep."""

    instance: dg.DagsterInstance
    address: str

    def launch(
        self,
        *selection: dg.AssetKey,
        day: str | None = None,
        tags: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        **selector: object,
    ) -> str:
        """Launch one run as the UI does, of assets in its job for everything unless the selector names another; return its id."""
        every = {**(tags or {}), **({"dagster/partition": day} if day else {})}
        params = {
            "selector": _selector(**{"assetSelection": [_key(key) for key in selection], **selector}),
            "executionMetadata": {"tags": [{"key": name, "value": value} for name, value in every.items()]},
            "runConfigData": {},
        }
        return str(self._query(LAUNCH_RUN, params, headers)["launchPipelineExecution"]["run"]["runId"])

    def execute_again(self, run_id: str, headers: Mapping[str, str] | None = None) -> str:
        """Execute all of a run again, as the UI's button does."""
        params = {"parentRunId": run_id, "strategy": "ALL_STEPS"}
        return str(self._query(RE_EXECUTE, params, headers)["launchPipelineReexecution"]["run"]["runId"])

    def launch_backfill(self, *selection: dg.AssetKey, days: list[str], headers: Mapping[str, str] | None = None) -> str:
        """Launch a backfill as the UI does; return its id."""
        params = {"assetSelection": [_key(key) for key in selection], "partitionNames": days}
        return str(self._query(LAUNCH_BACKFILL, params, headers)["launchPartitionBackfill"]["backfillId"])

    def terminate(self, run_id: str) -> None:
        """Cancel a run, as the UI does."""
        self._query("mutation($params: String!) { terminateRun(runId: $params) { __typename } }", run_id, None)

    def runs(self, *statuses: dg.DagsterRunStatus, **tags: str) -> list[dg.DagsterRun]:
        """Return the runs of these statuses, or all, the oldest first."""
        return list(self.instance.get_runs(dg.RunsFilter(statuses=list(statuses) or None, tags=tags), ascending=True))

    def run(self, run_id: str) -> dg.DagsterRun:
        """Return one run."""
        found = self.instance.get_run_by_id(run_id)
        assert found
        return found

    def end_of(self, run_id: str) -> str:
        """Return the message of the failure that ended a run."""
        (record,) = self.instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.RUN_FAILURE).records
        event = record.event_log_entry.dagster_event
        assert event
        return event.message or ""

    def engine_events(self, run_id: str) -> list[str]:
        """Return what Dagster itself did with a run, the oldest first: the messages, each with its error, if there was one."""
        records = self.instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT, ascending=True).records
        events = [record.event_log_entry.get_dagster_event() for record in records]
        return [f"{event.message} {event.engine_event_data.error or ''}" for event in events]

    def _query(self, query: str, params: object, headers: Mapping[str, str] | None) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": {"params": params}}).encode()
        request = urllib.request.Request(self.address, body, {"Content-Type": "application/json", **(headers or {})})  # noqa: S310 - http
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - as above
            answer = json.load(response)
        assert "errors" not in answer, answer
        (result,) = answer["data"].values()
        assert result["__typename"].endswith("Success"), result
        found: dict[str, Any] = answer["data"]
        return found


@dataclass
class ControlRoom(Desk):
    """A webserver, and a daemon that works when it is told to."""

    context: WorkspaceProcessContext

    def submit_backfills(self) -> None:
        """Let the daemon work once on every backfill."""
        self._work(execute_backfill_iteration(self.context, _LOG))

    def tick(self) -> None:
        """Let the daemon evaluate every schedule twice, a minute apart: what is due each minute is due once."""
        times: dict[str, ScheduleIterationTimes] = {}
        for moment in (datetime.now(UTC), datetime.now(UTC) + timedelta(seconds=60)):
            self._work(launch_scheduled_runs(self.context, _LOG, moment, times))

    def dequeue(self) -> None:
        """Let the daemon start once what the limits allow."""
        self._work(QueuedRunCoordinatorDaemon(interval_seconds=0).run_iteration(self.context))

    def monitor(self) -> None:
        """Let the daemon look once after every run that has not ended."""
        self._work(execute_run_monitoring_iteration(self.context, _LOG))

    def _work(self, iteration: Iterable[Any]) -> None:
        problems = [str(each) for each in iteration if each is not None]
        assert not [each for each in problems if "Error" in each], problems


_LOG = logging.getLogger("control-room")


@contextmanager
def open_control_room(folder: Path, instance_yaml: str) -> Iterator[ControlRoom]:
    """Open it for the config that ARCHIVER_CONFIG names, in an empty folder."""
    (folder / "dagster.yaml").write_text(instance_yaml)
    (folder / "archiver_location.py").write_text(CODE)
    origin = InProcessCodeLocationOrigin(
        LoadableTargetOrigin(python_file=str(folder / "archiver_location.py"), attribute="defs"), location_name=LOCATION
    )
    with (
        dg.DagsterInstance.from_config(str(folder)) as instance,
        WorkspaceProcessContext(instance, InProcessWorkspaceLoadTarget(origin)) as context,
        _serving(context) as port,
    ):
        yield ControlRoom(instance, f"http://127.0.0.1:{port}/graphql", context)


@contextmanager
def _serving(context: WorkspaceProcessContext) -> Iterator[int]:
    app = create_app_from_workspace_process_context(context)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield int(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()


def _selector(**given: object) -> dict[str, object]:
    return {"pipelineName": "__ASSET_JOB", "repositoryName": "__repository__", "repositoryLocationName": LOCATION, **given}


def _key(key: dg.AssetKey) -> dict[str, list[str]]:
    return {"path": list(key.path)}
