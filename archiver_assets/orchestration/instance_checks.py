"""Examining a Dagster instance: does its storage answer, do its daemons run, and does it have the settings that the archiver relies on?

Opening the instance does not belong here, and neither does anything that runs do.
"""

from collections.abc import Callable, Iterator

import dagster as dg
from dagster._core.run_coordinator import QueuedRunCoordinator

from archiver_assets.lifecycle.reporting.doctor import Line, Lines, Verdict, passed
from archiver_assets.orchestration.coordinator import ArchiverRunCoordinator

_SETTINGS = "copy it from the archiver's dagster.yaml"


def examine_instance(instance: dg.DagsterInstance) -> Lines:
    """Look at an instance that is open."""
    for subject, look in _LOOKS.items():
        try:
            yield from (Line(each.verdict, subject, each.found, each.hint) for each in look(instance))
        except Exception as error:  # noqa: BLE001 -- the boundary to whatever storage the instance has: its errors have no common root
            found = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            yield Line(
                Verdict.FAILED, subject, found, "check that the storage in dagster.yaml is up, and that its environment variables are set"
            )


def _storage(instance: dg.DagsterInstance) -> Iterator[Line]:
    runs = instance.get_runs_count()
    yield passed("", f"{type(instance.run_storage).__name__} answers, with {runs:,} runs")


def _daemons(instance: dg.DagsterInstance) -> Iterator[Line]:
    for name, status in sorted(instance.get_daemon_statuses().items()):
        if status.healthy:
            yield passed("", f"{name}: its heartbeat is recent")
        else:
            last = "never sent a heartbeat" if status.last_heartbeat is None else "its last heartbeat is old, or came with errors"
            yield Line(Verdict.FAILED, "", f"{name}: {last}", "start dagster-daemon run with this DAGSTER_HOME, and read its log")


def _monitoring(instance: dg.DagsterInstance) -> Iterator[Line]:
    if not instance.run_monitoring_enabled:
        found = "off: a run whose process was killed stays in progress forever, and its day is not tried again"
        yield Line(Verdict.FAILED, "", found, f"set run_monitoring: enabled: true; {_SETTINGS}")
    elif not instance.run_monitoring_max_runtime_seconds:
        found = "on, without a time limit for runs"
        yield Line(Verdict.WARNED, "", found, f"set run_monitoring: max_runtime_seconds; {_SETTINGS}")
    else:
        yield passed("", f"on; a run may take {instance.run_monitoring_max_runtime_seconds:,} s")


def _coordinator(instance: dg.DagsterInstance) -> Iterator[Line]:
    coordinator = instance.run_coordinator
    if isinstance(coordinator, ArchiverRunCoordinator):
        yield passed("", "the archiver's own: one run of each table at a time, and max_concurrent_runs of each database")
    else:
        queue = "no limits by table and database" if isinstance(coordinator, QueuedRunCoordinator) else "no queue"
        found = f"{type(coordinator).__name__}: {queue}; the lock of a day still keeps two runs apart, but the second one waits and fails"
        yield Line(Verdict.WARNED, "", found, f"set run_coordinator to ArchiverRunCoordinator; {_SETTINGS}")


_LOOKS: dict[str, Callable[[dg.DagsterInstance], Iterator[Line]]] = {
    "dagster: storage": _storage,
    "dagster: daemons": _daemons,
    "dagster: run monitoring": _monitoring,
    "dagster: run coordinator": _coordinator,
}
