"""The schedule of a table: at each tick, runs for the days that the database says are waiting.

What belongs here: which days a tick asks for. What does not: how the days are found (`lifecycle/backlog.py`).

The days come from the database and not from the clock of the tick, so that days missed while nothing ran come back by themselves.
See https://docs.dagster.io/guides/automate/schedules.
"""

from collections.abc import Iterator
from contextlib import closing
from itertools import islice

import dagster as dg

from archiver_assets.config import TableConfig
from archiver_assets.lifecycle.backlog import expired_partitions
from archiver_assets.orchestration.assets import table_keys
from archiver_assets.orchestration.resources import Services
from archiver_assets.orchestration.tags import run_tags

PARTITION_TAG = "dagster/partition"
_ACTIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def table_schedule(table: TableConfig, job_name: str) -> dg.ScheduleDefinition | None:
    """Return the schedule `D__S__T__schedule` of archive, check and purge; None if the config switches it off."""
    if table.schedule is None:
        return None

    @dg.schedule(
        name=f"{table.dagster_name}__schedule",
        cron_schedule=table.schedule,
        execution_timezone="UTC",
        job_name=job_name,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Archives, checks and purges the expired days of {table.label}, oldest first.",
    )
    def schedule(context: dg.ScheduleEvaluationContext, services: dg.ResourceParam[Services]) -> Iterator[dg.RunRequest | dg.SkipReason]:
        busy = _partitions_in_progress(context.instance, table)
        waiting = _waiting_days(services, table, busy)
        if not waiting:
            yield dg.SkipReason(f"no expired day of {table.label} is waiting ({len(busy)} in progress; held rows wait for nothing)")
        for day in waiting:
            yield _run_request(table, day)

    return schedule


def _waiting_days(services: Services, table: TableConfig, busy: set[str]) -> list[str]:
    with closing(expired_partitions(services.source(table), table, services.hold_places())) as partitions:
        return list(islice((each.key for each in partitions if each.key not in busy), table.max_partitions_per_tick))


def _partitions_in_progress(instance: dg.DagsterInstance, table: TableConfig) -> set[str]:
    runs = instance.get_runs(dg.RunsFilter(tags=run_tags(table), statuses=_ACTIVE))
    return {run.tags[PARTITION_TAG] for run in runs if PARTITION_TAG in run.tags}


def _run_request(table: TableConfig, day: str) -> dg.RunRequest:
    keys = table_keys(table)
    return dg.RunRequest(
        run_key=f"{table.label} {day}", partition_key=day, asset_selection=[keys.archive, keys.purge], tags=run_tags(table)
    )
