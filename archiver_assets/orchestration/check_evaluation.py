"""Evaluating `preflight` and `backlog`.

What belongs here: evaluating each check, whatever happens to the others, and the form of an evaluation. What does not: the definitions
(`checks.py`), the measurements (`lifecycle/preflight.py`, `lifecycle/backlog.py`), and when a wait is too long (`backlog_age.py`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
from structlog.contextvars import bound_contextvars

from archiver_assets.config import DatabaseConfig, TableConfig
from archiver_assets.errors import ArchiverError, SourceLoginRefused, SourceUnavailable
from archiver_assets.lifecycle.backlog import MOST_COUNTED, Backlog, measure_backlog
from archiver_assets.lifecycle.preflight import preflight
from archiver_assets.orchestration.backlog_age import Seen, Stalling, find_stalled
from archiver_assets.orchestration.checks import check_keys
from archiver_assets.orchestration.metadata import preflight_result
from archiver_assets.services import Services

_MOST_FAILED_CONNECTIONS = 2
"""Checks in a row that may find the database unreachable, 15 s each, before the others are told so without another look."""

_MOST_EVALUATIONS = 10
_SAID = "seen"


def evaluate_all(looks: Mapping[dg.AssetCheckKey, Callable[[], dg.AssetCheckResult]]) -> Iterator[dg.AssetCheckResult]:
    """Yield a result for every check; then raise SourceUnavailable or SourceLoginRefused if the database could not be used."""
    failed_connections: list[SourceUnavailable | SourceLoginRefused] = []
    for key, look in looks.items():
        if len(failed_connections) == _MOST_FAILED_CONNECTIONS:
            yield _named(key, _not_evaluated(failed_connections[-1]))
            continue
        try:
            result = look()
        except (SourceUnavailable, SourceLoginRefused) as error:
            failed_connections.append(error)
            result = _not_evaluated(error)
        except ArchiverError as error:
            result = _not_evaluated(error)
        else:
            failed_connections.clear()
        yield _named(key, result)
    if failed_connections:
        raise failed_connections[-1]


def looks_at(
    database: DatabaseConfig, services: Services, instance: dg.DagsterInstance
) -> dict[dg.AssetCheckKey, Callable[[], dg.AssetCheckResult]]:
    """Return what evaluates each check of the tables of a database."""
    return {key: look for table in database.tables for key, look in _looks(table, services, instance).items()}


def _looks(
    table: TableConfig, services: Services, instance: dg.DagsterInstance
) -> dict[dg.AssetCheckKey, Callable[[], dg.AssetCheckResult]]:
    source, (preflight_key, backlog_key) = services.source(table), check_keys(table)

    def look_at_backlog() -> dg.AssetCheckResult:
        backlog = measure_backlog(source, table, services.hold_places(), services.done_days(table))
        return backlog_result(table, backlog, find_stalled(backlog, table, last_seen(instance, backlog_key)))

    def told(step: str, look: Callable[[], dg.AssetCheckResult]) -> Callable[[], dg.AssetCheckResult]:
        return bound_contextvars(database=table.database, table=table.label, step=step)(look)

    looks = {preflight_key: lambda: preflight_result(table, preflight(source, table)), backlog_key: look_at_backlog}
    return {key: told(key.name, look) for key, look in looks.items()}


def _named(key: dg.AssetCheckKey, result: dg.AssetCheckResult) -> dg.AssetCheckResult:
    return result._replace(asset_key=key.asset_key, check_name=key.name)


def _not_evaluated(error: ArchiverError) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.ERROR, description=f"not evaluated: {error}")


@dataclass(frozen=True)
class _Complaint:
    """How the backlog is not as expected, and whether that is only a warning."""

    expected: str
    found: str
    next_step: str
    warning: bool = False


def backlog_result(table: TableConfig, backlog: Backlog, stalling: Stalling) -> dg.AssetCheckResult:
    """Return the evaluation of `backlog`: what waits, and in a table what was expected, what was found, and the next step."""
    complaints = list(_complaints(table, backlog, stalling))
    records = [dg.TableRecord({"expected": each.expected, "found": each.found, "next step": each.next_step}) for each in complaints]
    columns = [dg.TableColumn(name) for name in ("expected", "found", "next step")]
    only_warnings = all(each.warning for each in complaints)
    return dg.AssetCheckResult(
        passed=not complaints,
        severity=dg.AssetCheckSeverity.WARN if only_warnings else dg.AssetCheckSeverity.ERROR,
        description="\n".join([_summary(table, backlog), *(f"expected {each.expected}, found {each.found}" for each in complaints)]),
        metadata={
            "oldest_expired_day": dg.MetadataValue.text(backlog.waiting[0].key if backlog.waiting else "none"),
            **_limits(table, backlog),
            "archived_only": dg.MetadataValue.bool(not table.purge),
            "days_waiting": dg.MetadataValue.int(len(backlog.waiting)),
            "days_stalled": dg.MetadataValue.int(len(stalling.stalled)),
            "days_held": dg.MetadataValue.int(backlog.days_held),
            "rows_waiting": dg.MetadataValue.int(backlog.rows_waiting),
            "rows_before_start_date": dg.MetadataValue.int(backlog.rows_before_start_date),
            "rows_without_day": dg.MetadataValue.int(backlog.rows_without_day),
            "findings": dg.MetadataValue.table(records, dg.TableSchema(columns)),
            _SAID: _said(backlog, stalling),
        },
    )


def _limits(table: TableConfig, backlog: Backlog) -> dict[str, dg.MetadataValue]:
    start = {"oldest_expired_day_start": dg.MetadataValue.timestamp(backlog.waiting[0].start)} if backlog.waiting else {}
    most = {"max_backlog_days": dg.MetadataValue.int(table.max_backlog_days)} if table.max_backlog_days is not None else {}
    return {**start, **most}


def _complaints(table: TableConfig, backlog: Backlog, stalling: Stalling) -> Iterator[_Complaint]:
    if stalling.stalled:
        oldest, days = stalling.stalled[0], len(stalling.stalled)
        since = f"{oldest.expires_at(table.retention_days):%Y-%m-%d %H:%M} UTC"
        yield _Complaint(
            f"no expired day to wait longer than {table.max_backlog_days} days for its {'purge' if table.purge else 'archive'}",
            f"{days} day{'s' if days > 1 else ''}, the oldest {oldest.key}, expired since {since}",
            "find out why its runs failed; if none did, check that the schedule runs; raise max_partitions_per_tick to catch up faster",
        )
    if backlog.rows_before_start_date:
        yield _Complaint(
            f"no rows before start_date, {table.start_date}",
            f"{_counted(backlog.rows_before_start_date)} that no run archives",
            "set start_date to the day of the oldest row",
        )
    if backlog.rows_without_day:
        yield _Complaint(
            f"a time in {table.timestamp_column} in every row",
            f"{_counted(backlog.rows_without_day)} with NULL or infinity, which stay in the table",
            "give them a time, or delete them, if the law allows it",
            warning=True,
        )


def _summary(table: TableConfig, backlog: Backlog) -> str:
    held = f"; days with held rows alone: {backlog.days_held}" if backlog.days_held else ""
    if not backlog.waiting:
        return f"no expired day waits{held}"
    oldest = backlog.waiting[0]
    waits = (backlog.now - oldest.expires_at(table.retention_days)).days
    days = len(backlog.waiting)
    return (
        f"{days} expired day{'s wait' if days > 1 else ' waits'} with {_counted(backlog.rows_waiting)}, "
        f"the oldest {oldest.key}, expired {waits} days ago{held}"
    )


def _counted(rows: int) -> str:
    return f"{rows:,} rows{' or more' if rows == MOST_COUNTED else ''}"


def _said(backlog: Backlog, stalling: Stalling) -> dg.MetadataValue:
    back = {day: since.isoformat() for day, since in stalling.back_since.items()}
    return dg.MetadataValue.json({"at": backlog.now.isoformat(), "stalled": bool(stalling.stalled), "back_since": back})


def last_seen(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> Seen | None:
    """Return what the newest evaluation of `backlog` saw, of the last few that saw anything; None if there is none."""
    for record in instance.event_log_storage.get_asset_check_execution_history(key, limit=_MOST_EVALUATIONS):
        # The evaluation that is going on has a record too, of the plan for it.
        evaluation = record.evaluation
        value = evaluation.metadata.get(_SAID) if isinstance(evaluation, dg.AssetCheckEvaluation) else None
        if isinstance(value, dg.JsonMetadataValue) and isinstance(said := value.data, dict):
            return Seen(_time(said["at"]), said["stalled"], {day: _time(since) for day, since in said["back_since"].items()})
    return None


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
