"""The figures of each table, and how an event of Dagster's log changes them.

What does not belong here: reading the log (`log_follower.py`), and the names of metrics (`exposition.py`).

The figures follow from the log alone, so that an exporter that starts again, or a second one, arrives at the same figures. A dry run
changes none of them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluation
from dagster._core.events import JobFailureData, RunFailureReason, StepMaterializationData
from dagster._core.events.log import EventLogEntry

from archiver_assets.telemetry.run_endings import ending_of
from archiver_assets.telemetry.runs import FAILED_CHECK, OWN_ERRORS, is_dry, root_error
from archiver_assets.telemetry.subjects import Subject, Subjects

ENDED: Final = {
    dg.DagsterEventType.RUN_SUCCESS: "success",
    dg.DagsterEventType.RUN_FAILURE: "failure",
    dg.DagsterEventType.RUN_CANCELED: "canceled",
}
"""The events that end a run, and what the metrics call that."""
KINDS: Final = (dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_CHECK_EVALUATION, *ENDED)
"""The kinds of events that count. No figure depends on the order of events of two kinds."""

OTHER_ERROR: Final = "other"
_NOT_VERIFIED: Final = "NotVerified"

Metadata = Mapping[str, dg.MetadataValue]
Records = Mapping[str, dg.RunRecord]


@dataclass(frozen=True)
class Left:
    """The rows that the newest purge of a day left in the table."""

    late: int = 0
    held: int = 0
    locked: int = 0


@dataclass(frozen=True)
class Backlog:
    """What the newest measurement found waiting; `oldest` is when the oldest day that waits began, in seconds of the epoch.

    `archived_only` says that nothing of the table was to be purged then.
    """

    days: int
    stalled: int
    oldest: float | None
    limit: int | None
    archived_only: bool = False


@dataclass
class TableFigures:
    """The figures of one table. Times are seconds of the epoch."""

    rows_archived: int = 0
    bytes_archived: int = 0
    rows_purged: int = 0
    bytes_reusable: int = 0
    rows_restored: int = 0
    verifications_failed: int = 0
    generations_rejected: int = 0
    last_success: dict[str, float] = field(default_factory=dict)
    left: dict[str, Left] = field(default_factory=dict)
    """By day; days of which nothing was left are not in it."""
    backlog: Backlog | None = None
    checked: dict[str, float] = field(default_factory=dict)
    failing: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """By check, the days of which the newest evaluation failed; a check that is of no day has the empty one."""


@dataclass
class RunFigures:
    """The runs of one subject that ended. `timed` are those that had begun, and `seconds` their time in all."""

    ended: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    timed: int = 0
    seconds: float = 0.0


class Figures:
    """The figures of all subjects, as far as the log was taken in."""

    def __init__(self, subjects: Subjects) -> None:
        """Begin with what nothing has happened to: the tables and databases of the config."""
        self._subjects = subjects
        self.tables: dict[Subject, TableFigures] = {each: TableFigures() for each in subjects.tables}
        self.runs: dict[Subject, RunFigures] = {each: RunFigures() for each in (*subjects.tables, *subjects.shared)}

    @staticmethod
    def runs_needed(entries: Iterable[EventLogEntry]) -> set[str]:
        """Return the ids of the runs whose records `take` needs: of those that ended, and those in which a day was verified."""
        return {entry.run_id for entry in entries if entry.run_id and (_kind(entry) in ENDED or _is_of_day(entry))}

    def take(self, entry: EventLogEntry, records: Records) -> None:
        """Take an event in; `records` are those of the runs that it needs, as far as they have not been deleted."""
        data: Any = entry.dagster_event.event_specific_data if entry.dagster_event else None
        record = records.get(entry.run_id)
        if record is not None and is_dry(record.dagster_run):
            return
        if isinstance(data, StepMaterializationData):
            self._materialized(entry.timestamp, data.materialization)
        elif isinstance(data, AssetCheckEvaluation):
            self._evaluated(entry.timestamp, data)
        elif record is not None and (status := ENDED.get(_kind(entry))):  # type: ignore[arg-type] # one without a kind is not in it
            self._ended(entry, record, status, data if isinstance(data, JobFailureData) else None)

    def _table(self, subject: Subject) -> TableFigures:
        return self.tables.setdefault(subject, TableFigures())

    def _materialized(self, at: float, made: dg.AssetMaterialization) -> None:
        subject = self._subjects.of_step(made.asset_key)
        if subject is None:
            return
        table, step, metadata = self._table(subject), made.asset_key.path[-1], made.metadata
        # What `archiver reconcile` reports of the past happened then.
        _newest(table.last_success, step, _seconds(metadata, "recorded_at") or at)
        if step == "archive":
            rows = _whole(metadata, "rows_archived")
            table.rows_archived += rows
            # An archive without new rows names the bytes of a generation that was there before; `archiver reconcile` tells of several.
            table.bytes_archived += _whole(metadata, "bytes_archived" if "bytes_archived" in metadata else "bytes") if rows else 0
            table.generations_rejected += _whole(metadata, "generations_rejected")
        elif step == "purge":
            table.rows_purged += _whole(metadata, "rows_purged")
            table.bytes_reusable += _whole(metadata, "bytes_reusable")
            _keep(table.left, made.partition or "", Left(*(_whole(metadata, f"rows_{name}") for name in ("late", "held", "locked"))))
        else:
            table.rows_restored += _whole(metadata, "rows_loaded")

    def _evaluated(self, at: float, made: AssetCheckEvaluation) -> None:
        subject = self._subjects.of_check(made.asset_check_key)
        if subject is None:
            return
        table, failed = self._table(subject), not made.passed and made.severity is dg.AssetCheckSeverity.ERROR
        _newest(table.checked, made.check_name, at)
        (table.failing[made.check_name].add if failed else table.failing[made.check_name].discard)(made.partition or "")
        if made.check_name == "backlog" and "days_waiting" in made.metadata:
            limit = _whole(made.metadata, "max_backlog_days") if "max_backlog_days" in made.metadata else None
            waiting, stalled = (_whole(made.metadata, name) for name in ("days_waiting", "days_stalled"))
            oldest, archived_only = _seconds(made.metadata, "oldest_expired_day_start"), bool(_whole(made.metadata, "archived_only"))
            table.backlog = Backlog(waiting, stalled, oldest, limit, archived_only)
        elif made.check_name == "row_counts":
            table.verifications_failed += failed
            table.generations_rejected += _whole(made.metadata, "generations_rejected")
            if made.passed:
                _newest(table.last_success, "verify", at)

    def _ended(self, entry: EventLogEntry, record: dg.RunRecord, status: str, failure: JobFailureData | None) -> None:
        subject = self._subjects.of_run(record.dagster_run)
        if subject is None:
            return
        runs = self.runs.setdefault(subject, RunFigures())
        runs.ended[status] += 1
        if record.start_time:
            runs.timed += 1
            # Of a run that ended twice the record has the second end only, once it has come.
            runs.seconds += max(entry.timestamp - record.start_time, 0.0)
        if status == "failure":
            self._failed(subject, runs, failure, _message(entry))

    def _failed(self, subject: Subject, runs: RunFigures, failure: JobFailureData | None, message: str) -> None:
        step_failure = failure.first_step_failure_event if failure else None
        step = step_failure.step_failure_data if step_failure else None
        error = root_error(step.error if step else failure.error if failure else None)
        if error is None or (failure and failure.failure_reason is RunFailureReason.UNEXPECTED_TERMINATION):
            runs.failures[ending_of(message).kind.removeprefix("run failure ")] += 1
            return
        name = error.cls_name or OTHER_ERROR
        if name == FAILED_CHECK:  # its evaluation has counted as a failed verification
            name = _NOT_VERIFIED
        elif name == _NOT_VERIFIED and subject.table:
            said = step.user_failure_data.metadata if step and step.user_failure_data else {}
            self._table(subject).verifications_failed += 1
            self._table(subject).generations_rejected += _whole(said, "generations_rejected")
        runs.failures[name if name in OWN_ERRORS else OTHER_ERROR] += 1


def _message(entry: EventLogEntry) -> str:
    return (entry.dagster_event.message if entry.dagster_event else None) or ""


def _kind(entry: EventLogEntry) -> dg.DagsterEventType | None:
    return entry.dagster_event_type


def _is_of_day(entry: EventLogEntry) -> bool:
    data = entry.dagster_event.event_specific_data if entry.dagster_event else None
    return isinstance(data, AssetCheckEvaluation) and data.partition is not None


def _newest(times: dict[str, float], name: str, at: float) -> None:
    times[name] = max(times.get(name, at), at)


def _keep(left: dict[str, Left], day: str, found: Left) -> None:
    if found == Left():
        left.pop(day, None)
    else:
        left[day] = found


def _whole(metadata: Metadata, name: str) -> int:
    value = metadata[name].value if name in metadata else 0
    return value if isinstance(value, int) else 0


def _seconds(metadata: Metadata, name: str) -> float | None:
    value = metadata[name].value if name in metadata else None
    return float(value) if isinstance(value, int | float) else None
