"""Figures as metrics: names, descriptions and labels. `figures.py` counts, `exporter.py` answers scrapes.

Names and units follow https://prometheus.io/docs/practices/naming/. No label holds a day: a table with ten years of days would have 3,650
series of each metric. A value that is not known is absent.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily

from archiver_assets.telemetry.figures import ENDED, Figures, Left, RunFigures, TableFigures
from archiver_assets.telemetry.subjects import CHECKS, Subject

TABLE = ("database", "schema", "table")

_COUNTERS: Sequence[tuple[str, str, Callable[[TableFigures], int]]] = (
    ("archiver_rows_archived", "Rows written to archived objects.", lambda each: each.rows_archived),
    ("archiver_bytes_archived", "Bytes of archived objects.", lambda each: each.bytes_archived),
    ("archiver_rows_purged", "Rows deleted from the table by purges.", lambda each: each.rows_purged),
    (
        "archiver_bytes_reusable",
        "Bytes in the table's files that vacuums freed for new rows after purges, as estimated then.",
        lambda each: each.bytes_reusable,
    ),
    ("archiver_rows_restored", "Rows loaded back by restores.", lambda each: each.rows_restored),
    (
        "archiver_generations_rejected",
        "Generations that failed two reads and were rejected.",
        lambda each: each.generations_rejected,
    ),
    (
        "archiver_verifications_failed",
        "Failed verifications, by the check row_counts, by purges and by restores.",
        lambda each: each.verifications_failed,
    ),
)
_LEFT: Sequence[tuple[str, str, Callable[[Left], int]]] = (
    ("archiver_rows_late", "Rows of purged days that no generation holds, by the newest purge of each day.", lambda each: each.late),
    ("archiver_rows_held", "Rows that legal holds keep in the table, by the newest purge of each day.", lambda each: each.held),
    ("archiver_rows_locked", "Rows that other sessions had locked, by the newest purge of each day.", lambda each: each.locked),
)


def table_metrics(figures: Figures) -> Iterator[Metric]:
    """Yield what is known of tables."""
    tables = [(_labels(subject), each) for subject, each in sorted(figures.tables.items())]
    for name, text, count in _COUNTERS:
        yield _counter(name, text, TABLE, ((labels, count(each)) for labels, each in tables))
    for name, text, of in _LEFT:
        yield _gauge(name, text, TABLE, ((labels, sum(map(of, each.left.values()))) for labels, each in tables))
    yield _gauge(
        "archiver_last_success_timestamp_seconds",
        "When the step last succeeded: archive, verify (the check row_counts), purge or restore.",
        (*TABLE, "step"),
        (((*labels, step), at) for labels, each in tables for step, at in each.last_success.items()),
    )
    yield from _backlog_metrics(tables)
    yield from _check_metrics(tables)


def _backlog_metrics(tables: Sequence[tuple[tuple[str, ...], TableFigures]]) -> Iterator[Metric]:
    measured = [(labels, each.backlog) for labels, each in tables if each.backlog]
    yield _gauge(
        "archiver_backlog_days",
        "Expired days that wait for their archive or purge, by the newest evaluation of the check backlog.",
        TABLE,
        ((labels, each.days) for labels, each in measured),
    )
    yield _gauge(
        "archiver_backlog_stalled_days",
        "Expired days that have waited longer than archiver_backlog_limit_days.",
        TABLE,
        ((labels, each.stalled) for labels, each in measured),
    )
    yield _gauge(
        "archiver_backlog_limit_days",
        "How many days an expired day may wait: max_backlog_days. Absent if it is null.",
        TABLE,
        ((labels, each.limit) for labels, each in measured if each.limit is not None),
    )
    yield _gauge(
        "archiver_backlog_oldest_day_timestamp_seconds",
        "The start of the oldest expired day that waits. Absent if none does.",
        TABLE,
        ((labels, each.oldest) for labels, each in measured if each.oldest is not None),
    )
    yield _gauge(
        "archiver_archived_only",
        "1 if the table is archived only (purge: false), by the newest evaluation of the check backlog, else 0.",
        TABLE,
        ((labels, each.archived_only) for labels, each in measured),
    )


def _check_metrics(tables: Sequence[tuple[tuple[str, ...], TableFigures]]) -> Iterator[Metric]:
    checked = [(labels, each, check) for labels, each in tables for check in CHECKS if check in each.checked]
    yield _gauge(
        "archiver_check_failing",
        "1 if the newest evaluation of the check failed (of row_counts: that of any day), else 0. Warnings are not failures.",
        (*TABLE, "check"),
        (((*labels, check), bool(each.failing[check])) for labels, each, check in checked),
    )
    yield _gauge(
        "archiver_check_timestamp_seconds",
        "When the check was last evaluated.",
        (*TABLE, "check"),
        (((*labels, check), each.checked[check]) for labels, each, check in checked),
    )
    yield _gauge(
        "archiver_preflight_failing",
        "1 if the check preflight found an obstacle to archiving or purging the table, or could not examine it, else 0.",
        TABLE,
        ((labels, bool(each.failing[check])) for labels, each, check in checked if check == "preflight"),
    )


def run_metrics(figures: Figures) -> Iterator[Metric]:
    """Yield what is known of runs. A run on several tables of a database has no schema and no table, one on several databases no label."""
    runs: list[tuple[tuple[str, ...], RunFigures]] = [(_labels(subject), each) for subject, each in sorted(figures.runs.items())]
    yield _counter(
        "archiver_runs",
        "Runs that ended, by status: success, failure or canceled.",
        (*TABLE, "status"),
        (((*labels, status), each.ended[status]) for labels, each in runs for status in ENDED.values()),
    )
    yield _counter(
        "archiver_run_failures",
        "Failed runs, by the class of the error or by what ended them from outside; other: neither.",
        (*TABLE, "error"),
        (((*labels, error), count) for labels, each in runs for error, count in sorted(each.failures.items())),
    )
    durations = SummaryMetricFamily("archiver_run_duration_seconds", "Duration of the runs that ended.", labels=TABLE)
    for labels, each in runs:
        durations.add_metric(labels, each.timed, each.seconds)
    yield durations


def own_metrics(*, ready: bool, events_read: int, last_event_at: float | None, scrapes: int, scrape_seconds: float) -> Iterator[Metric]:
    """Yield what the exporter knows of itself."""
    yield _gauge("archiver_exporter_ready", "1 if the figures are up to date, as /healthz reports, else 0.", (), [((), ready)])
    read = "Events of Dagster's log that this process has read."
    yield _counter("archiver_exporter_events_read", read, (), [((), events_read)])
    if last_event_at is not None:
        text = "When the newest event that was read happened."
        yield _gauge("archiver_exporter_last_event_timestamp_seconds", text, (), [((), last_event_at)])
    duration = SummaryMetricFamily("archiver_scrape_duration_seconds", "Time that this process took to answer earlier scrapes.")
    duration.add_metric((), scrapes, scrape_seconds)
    yield duration
    yield _gauge("archiver_build_info", "The version of the archiver; always 1.", ("version",), [((version("audit-archiver"),), 1)])


def _labels(subject: Subject) -> tuple[str, ...]:
    return (subject.database, subject.schema, subject.table)


def _counter(name: str, text: str, labels: Sequence[str], samples: Iterable[tuple[Sequence[str], float]]) -> Metric:
    return _filled(CounterMetricFamily(name, text, labels=labels), samples)


def _gauge(name: str, text: str, labels: Sequence[str], samples: Iterable[tuple[Sequence[str], float]]) -> Metric:
    return _filled(GaugeMetricFamily(name, text, labels=labels), samples)


def _filled(family: CounterMetricFamily | GaugeMetricFamily, samples: Iterable[tuple[Sequence[str], float]]) -> Metric:
    for labels, value in samples:
        family.add_metric(labels, value)
    return family
