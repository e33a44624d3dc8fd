"""What Dagster's records show about the days of a table: which a run is working on, and how their last runs ended.

What belongs here: reading run records, with queries that stay bounded however many runs and tables there are. What does not: the decisions
(`day_selection.py`). The records are advice, never proof: the advisory lock of a partition keeps two runs from one day.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from archiver_assets.config import TableConfig
from archiver_assets.orchestration.assets import TableKeys, scheduled_keys, table_keys
from archiver_assets.orchestration.tags import PARTITION_TAG
from archiver_assets.telemetry.runs import is_dry

ASSET_JOB = "__ASSET_JOB"
"""The job of runs that are started from an asset, or by a backfill of assets."""

FAILURES_WITHIN = timedelta(days=7)

REMEMBERED = timedelta(days=90)
"""How long a run counts: longer than it takes the waits of `day_selection.py` to grow to the longest one."""

_LONGEST_RUN_SECONDS = 85_200
"""What the production instance lets a run take, for instances that set no limit."""
_GRACE = timedelta(minutes=10)
"""Time for run monitoring to notice that a run is over its limit."""
_MAX_RUNTIME_TAG = "dagster/max_runtime"
_SECONDS = re.compile("[0-9]{1,9}")
"""Up to some decades: more would be no time span of Python's."""
_MOST_RECORDS = 1000

_WAITING_FOR_A_WORKER = [dg.DagsterRunStatus.QUEUED]
_WITH_A_WORKER = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
ACTIVE = [*_WAITING_FOR_A_WORKER, *_WITH_A_WORKER]
_FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


@dataclass(frozen=True)
class Past:
    """How the last runs of a day ended: the newest at `ended`, and so many in a row, the newest ones, without getting on (`stuck`)."""

    ended: datetime
    stuck: int


def days_in_progress(instance: dg.DagsterInstance, table: TableConfig, days: Sequence[str], now: datetime) -> frozenset[str]:
    """Return those of the days on which a run is at work or queued, whoever started it and whichever assets of the table it works on.

    A run that has lasted longer than run monitoring lets it is given up: its worker is dead, or the advisory lock will say that it is not.
    """
    keys, partition = table_keys(table), {PARTITION_TAG: list(days)}
    tagged = instance.get_run_records(dg.RunsFilter(tags={**_table_tag(table), **partition}, statuses=ACTIVE), limit=_MOST_RECORDS)
    # Without our run coordinator, runs that people start carry no tag of the table.
    by_people = instance.get_run_records(dg.RunsFilter(job_name=ASSET_JOB, tags=partition, statuses=ACTIVE), limit=_MOST_RECORDS)
    records = [*tagged, *(record for record in by_people if _selects_any(record.dagster_run, keys))]
    return frozenset(record.dagster_run.tags[PARTITION_TAG] for record in records if not _is_given_up(instance, record, now))


def runs_of_table(instance: dg.DagsterInstance, table: TableConfig, now: datetime) -> list[dg.DagsterRun]:
    """Return the runs of the table that are at work or queued, and not given up, newest first."""
    records = instance.get_run_records(dg.RunsFilter(tags=_table_tag(table), statuses=ACTIVE), limit=_MOST_RECORDS)
    return [record.dagster_run for record in records if not _is_given_up(instance, record, now)]


def past_of(instance: dg.DagsterInstance, table: TableConfig, days: Sequence[str], now: datetime) -> dict[str, Past]:
    """Return the past of those of the days that have any: finished runs of all that a schedule runs, no dry run, of the last 90 days."""
    keys, by_day = table_keys(table), defaultdict[str, list[dg.RunRecord]](list)
    for record in _tries(instance, table, {PARTITION_TAG: list(days)}, now):
        by_day[record.dagster_run.tags[PARTITION_TAG]].append(record)
    return {day: Past(_ended(records[0]), _stuck(instance, keys, records)) for day, records in by_day.items()}


def last_was_a_repetition(instance: dg.DagsterInstance, table: TableConfig, now: datetime) -> bool:
    """Return whether the newest try of the table was not the first one of its day."""
    newest = next(iter(_tries(instance, table, {}, now, limit=_MOST_RECORDS // 100)), None)
    if newest is None:
        return False
    return len(_tries(instance, table, {PARTITION_TAG: newest.dagster_run.tags[PARTITION_TAG]}, now)) > 1


@dataclass(frozen=True)
class Runs:
    """The runs of a table, whatever they did: the newest one, the end of the newest that succeeded, and how many failed of late."""

    last_status: str
    last_at: datetime
    last_run_id: str
    succeeded_at: datetime | None
    failed: int


def runs_of(instance: dg.DagsterInstance, table: TableConfig, now: datetime) -> Runs | None:
    """Return how the runs of the table went; None if there is none. The failed ones are those of the last week."""
    records = instance.get_run_records(dg.RunsFilter(tags=_table_tag(table)), limit=_MOST_RECORDS)
    if not records:
        return None
    succeeded = [_ended(each) for each in records if each.dagster_run.status is dg.DagsterRunStatus.SUCCESS]
    failed = [each for each in records if each.dagster_run.status is dg.DagsterRunStatus.FAILURE and _ended(each) > now - FAILURES_WITHIN]
    newest = records[0]
    return Runs(
        newest.dagster_run.status.value.lower(), _ended(newest), newest.dagster_run.run_id, max(succeeded, default=None), len(failed)
    )


def got_on(metadata: Mapping[str, dg.MetadataValue]) -> bool:
    """Tell from the metadata of a purge whether it got on with its day: it purged rows, or there was none to purge.

    One that purged none although rows were there, late or locked by others, left the day as it was.
    """
    purged, late, locked = (_number(metadata, name) for name in ("rows_purged", "rows_late", "rows_locked"))
    return purged > 0 or late + locked == 0


def _number(metadata: Mapping[str, dg.MetadataValue], name: str) -> int:
    value = metadata[name].value if name in metadata else 0
    return value if isinstance(value, int) else 0


def _table_tag(table: TableConfig) -> dict[str, str]:
    return {"archiver/table": table.label}


def _tries(
    instance: dg.DagsterInstance, table: TableConfig, tags: Mapping[str, str | list[str]], now: datetime, limit: int = _MOST_RECORDS
) -> list[dg.RunRecord]:
    """Return the finished runs of the table with archive and purge, of one without a purge those with its archive, newest first."""
    keys = frozenset(scheduled_keys(table))
    filters = dg.RunsFilter(tags={**_table_tag(table), **tags}, statuses=_FINISHED, created_after=now - REMEMBERED)
    return [record for record in instance.get_run_records(filters, limit=limit) if _is_try(record.dagster_run, keys)]


def _is_try(run: dg.DagsterRun, keys: frozenset[dg.AssetKey]) -> bool:
    selected = run.asset_selection
    whole = selected is None or keys <= selected
    return whole and PARTITION_TAG in run.tags and not is_dry(run)


def _selects_any(run: dg.DagsterRun, keys: TableKeys) -> bool:
    return bool({keys.archive, keys.purge, keys.restore} & (run.asset_selection or frozenset()))


def _is_given_up(instance: dg.DagsterInstance, record: dg.RunRecord, now: datetime) -> bool:
    run = record.dagster_run
    if run.status in _WAITING_FOR_A_WORKER:
        return False
    own = run.tags.get(_MAX_RUNTIME_TAG, "")  # which a person may have written
    seconds = int(own) if _SECONDS.fullmatch(own) else instance.run_monitoring_max_runtime_seconds or _LONGEST_RUN_SECONDS
    began = datetime.fromtimestamp(record.start_time, tz=UTC) if record.start_time else record.update_timestamp
    return began + timedelta(seconds=seconds) + _GRACE < now


def _ended(record: dg.RunRecord) -> datetime:
    return datetime.fromtimestamp(record.end_time, tz=UTC) if record.end_time else record.update_timestamp


def _stuck(instance: dg.DagsterInstance, keys: TableKeys, records: Sequence[dg.RunRecord]) -> int:
    """Count the runs of a day, newest first, up to the first one that got on."""
    for number, record in enumerate(records):
        run = record.dagster_run
        if run.status is dg.DagsterRunStatus.SUCCESS and _run_got_on(instance, keys, run.run_id):
            return number
    return len(records)


def _run_got_on(instance: dg.DagsterInstance, keys: TableKeys, run_id: str) -> bool:
    for record in instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION).records:
        materialization = record.event_log_entry.asset_materialization
        if materialization is not None and materialization.asset_key == keys.purge:
            return got_on(materialization.metadata)
    return True
