"""Ticks of a table's schedule and the runs that they ask for, with a clock of their own.

What belongs here: putting runs of other times into Dagster's storage. What does not: what a tick has to choose.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import dagster as dg
from dagster._core.definitions.schedule_definition import ScheduleExecutionData
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from archiver_assets.config import TableConfig
from archiver_assets.orchestration.assets import scheduled_keys, table_keys
from archiver_assets.orchestration.build import build_definitions
from archiver_assets.orchestration.day_selection import Choice
from archiver_assets.orchestration.partitions import shared_job_name
from archiver_assets.orchestration.schedules import choose_days
from archiver_assets.orchestration.tags import run_tags
from archiver_assets.services import Services
from archiver_assets_tests.asset_runs import QUIET
from archiver_assets_tests.lab import DAY, Lab

STATUSES = {
    dg.DagsterRunStatus.SUCCESS: dg.DagsterEventType.RUN_SUCCESS,
    dg.DagsterRunStatus.FAILURE: dg.DagsterEventType.RUN_FAILURE,
    dg.DagsterRunStatus.CANCELED: dg.DagsterEventType.RUN_CANCELED,
    dg.DagsterRunStatus.STARTED: dg.DagsterEventType.RUN_START,
}

ORIGIN = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("archiver"), "__repository__"), "any")


class Ticks:
    """Ticks of one table's schedule, by its own clock."""

    def __init__(self, lab: Lab, instance: dg.DagsterInstance, *tables: TableConfig) -> None:
        self.table = tables[0]
        self.keys = table_keys(self.table)
        self.instance = instance
        self.now = datetime.now(UTC)
        services = lab.services(*tables)
        self.services = Services(services.config, services.environ, clock=lambda: self.now)
        self.definitions = build_definitions(self.services.config, self.services)
        self.repository = self.definitions.get_repository_def()
        self.job = self.definitions.resolve_job_def(shared_job_name(self.table))

    def tick(self, table: TableConfig | None = None) -> ScheduleExecutionData:
        schedule = self.repository.get_schedule_def(f"{(table or self.table).dagster_name}__schedule")
        with dg.build_schedule_context(self.instance, scheduled_execution_time=self.now, repository_def=self.repository) as context:
            return schedule.evaluate_tick(context)

    def choice(self, table: TableConfig | None = None) -> Choice:
        """What a tick decides, without Dagster's context of a schedule."""
        return choose_days(lambda: self.instance, self.services, table or self.table)

    def asked(self, table: TableConfig | None = None) -> list[str]:
        return self.choice(table).chosen

    def said(self) -> str:
        choice = self.choice()
        assert choice.chosen == []
        return choice.words

    def run(self, day: date | str = DAY) -> dg.ExecuteInProcessResult:
        """Run archive, check and purge, as the daemon would on a request, and set the clock to the end of it."""
        result = self.job.execute_in_process(
            run_config=QUIET,
            instance=self.instance,
            partition_key=str(day),
            asset_selection=scheduled_keys(self.table),
            tags=run_tags(self.table),
            raise_on_error=False,
        )
        self.now = max(self.now, datetime.now(UTC))
        return result

    def record(self, status: dg.DagsterRunStatus, day: date | str = DAY, *, ago: timedelta = timedelta(0), **changes: Any) -> None:  # noqa: ANN401 - fields of a run
        """Put a run into Dagster's storage, as it would have been `ago`."""
        at = self.now - ago
        values = {
            "job_name": self.job.name,
            "run_id": str(uuid4()),
            "status": dg.DagsterRunStatus.STARTED if status in STATUSES else status,
            "asset_selection": frozenset(scheduled_keys(self.table)),
            "tags": run_tags(self.table),
            "remote_job_origin": ORIGIN,
            **changes,
        }
        run = dg.DagsterRun(**{**values, "tags": {**values["tags"], "dagster/partition": str(day)}})
        self.instance.run_storage.add_historical_run(run, at)
        if status in STATUSES:
            event = dg.DagsterEvent(event_type_value=STATUSES[status].value, job_name=self.job.name)
            self.instance.run_storage.handle_run_event(run.run_id, event, update_timestamp=at)


def march(*days: int) -> list[str]:
    return [date(2024, 3, day).isoformat() for day in days]


def fill(lab: Lab, days: Sequence[str], rows: int = 3) -> None:
    for day in days:
        lab.fill(day=date.fromisoformat(day), rows=rows)
