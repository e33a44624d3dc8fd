"""The schedules: for each table, runs of the days that wait according to the database; for each database, the checks of its tables.

What belongs here: from a tick to run requests. What does not: finding days (`lifecycle/backlog.py`) and choosing them (`day_selection.py`).

The days come from the database, not from the time of the tick, so that a later tick requests the days that were missed.
See https://docs.dagster.io/guides/automate/schedules.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import dagster as dg
from structlog.contextvars import bound_contextvars

from archiver_assets.config import DatabaseConfig, TableConfig, checks_schedule_name
from archiver_assets.lifecycle.idle_check import has_no_expired_rows
from archiver_assets.orchestration.assets import scheduled_keys
from archiver_assets.orchestration.checks import check_keys
from archiver_assets.orchestration.day_selection import Choice, choose
from archiver_assets.orchestration.history import ACTIVE, days_in_progress, last_was_a_repetition, past_of
from archiver_assets.orchestration.instance_cache import KeptInstance
from archiver_assets.orchestration.tags import run_tags
from archiver_assets.services import Services

_AHEAD = {"dagster/priority": "1"}
"""Checks take seconds, and must not wait behind the runs whose delay they report."""


def table_schedule(table: TableConfig, job_name: str, services: Services, kept: KeptInstance) -> dg.ScheduleDefinition | None:
    """Return the schedule `D__S__T__schedule` of archive, check and, unless it is archived only, purge; None if the config has none.

    `services` is no resource of the schedule's: for those Dagster opens its storage again in every tick (see `instance_cache.py`).
    """
    if table.schedule is None:
        return None

    @dg.schedule(
        name=f"{table.dagster_name}__schedule",
        cron_schedule=table.schedule,
        execution_timezone=table.schedule_timezone,
        job_name=job_name,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=_about(table),
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        kept.give_to(context)
        with bound_contextvars(database=table.database, table=table.label, step="schedule"):
            choice = choose_days(lambda: context.instance, services, table)
            if choice.chosen:
                context.log.info(choice.words)
        if not choice.chosen:
            yield dg.SkipReason(choice.words)
            return
        for day in choice.chosen:
            yield _run_request(table, day)

    return schedule


def _about(table: TableConfig) -> str:
    if table.purge:
        return f"Archives, checks and purges the expired days of {table.label}, oldest first."
    return f"Archives and checks the expired days of {table.label}, oldest first. Nothing is purged: purge is false."


def checks_schedule(database: DatabaseConfig, job_name: str, kept: KeptInstance) -> dg.ScheduleDefinition | None:
    """Return the schedule `D__checks__schedule`, a run for all tables of the database; None if the config switches it off.

    One run, so that a database that cannot be reached is one failure.
    """
    if database.checks_schedule is None:
        return None
    tags = {"archiver/database": database.name}

    @dg.schedule(
        name=checks_schedule_name(database.name),
        cron_schedule=database.checks_schedule,
        execution_timezone="UTC",
        job_name=job_name,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Evaluates preflight and backlog for all tables of {database.name}.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        kept.give_to(context)
        if context.instance.get_run_ids(dg.RunsFilter(job_name=job_name, tags=tags, statuses=ACTIVE), limit=1):
            return dg.SkipReason(f"the checks of {database.name} are still queued or running")
        keys = [key for table in database.tables for key in check_keys(table)]
        return dg.RunRequest(asset_selection=[], asset_check_keys=keys, tags={**tags, **_AHEAD})

    return schedule


def every_waiting_day(services: Services, table: TableConfig) -> list[str]:
    """Return the days of the backlog that are not wholly held, oldest first. Raises what `done_days` and `expired_days` raise."""
    from archiver_assets.lifecycle.backlog import expired_days  # noqa: PLC0415 -- see `choose_days`

    with closing(expired_days(services.source(table), table, services.hold_places(), services.done_days(table))) as days:
        return [day.partition.key for day in days if not day.held]


def choose_days(instance: Callable[[], dg.DagsterInstance], services: Services, table: TableConfig) -> Choice:
    """Return what a tick of the table decides. Raises what `done_days` and `expired_days` raise."""
    source = services.shared_source(table)
    if has_no_expired_rows(source, table):
        return Choice()
    done = services.done_days(table)
    if done and has_no_expired_rows(source, table, done):
        return Choice(done=len(done))
    from archiver_assets.lifecycle.backlog import expired_days  # noqa: PLC0415 -- with Arrow, which nothing else in a code server needs

    now = services.clock()
    with closing(expired_days(source, table, services.hold_places(), done)) as days:
        choice = choose(
            days,
            at_most=table.max_partitions_per_tick,
            now=now,
            in_progress=lambda some: days_in_progress(instance(), table, some, now=now),
            past_of=lambda some: past_of(instance(), table, some, now=now),
            last_was_a_repetition=lambda: last_was_a_repetition(instance(), table, now=now),
        )
    return replace(choice, done=len(done))


def _run_request(table: TableConfig, day: str) -> dg.RunRequest:
    return dg.RunRequest(run_key=f"{table.label} {day}", partition_key=day, asset_selection=scheduled_keys(table), tags=run_tags(table))
