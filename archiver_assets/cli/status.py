"""`archiver status`: backlog, archive and cost of each table, and what needs attention.

What belongs here: the command, and printing. What does not: measuring (`lifecycle/reporting/table_status.py`,
`orchestration/history.py`), and deciding which days wait too long (`orchestration/backlog_age.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archiver_assets.cli.app import Status
from archiver_assets.cli.common import Answer, Json, Options, begin, common_options, error_facts
from archiver_assets.cli.dagster_instance import instance_option, open_instance
from archiver_assets.cli.each_table import Looked, entry, look_at_each
from archiver_assets.cli.formatting import ago, in_bytes, in_dollars, plural, some
from archiver_assets.cli.selection import choose_tables, tables_option
from archiver_assets.config import Config, TableConfig
from archiver_assets.lifecycle.backlog import MOST_COUNTED
from archiver_assets.lifecycle.reporting.table_status import Standing, read_standing
from archiver_assets.orchestration.backlog_age import Seen, find_stalled
from archiver_assets.services import Services

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from archiver_assets.orchestration.history import Runs

_COLUMNS = ["table", "waiting", "oldest", "archived", "purged", "in table", "archive", "ratio", "USD/mo"]


@dataclass(frozen=True)
class _Stands:
    """A table's standing, the days that wait too long, and its runs, if a Dagster instance has any."""

    standing: Standing
    stalled: tuple[str, ...]
    runs: "Runs | None"


@click.command("status", short_help="Show backlog, archive and cost per table.")
@tables_option
@instance_option
@click.option("--check", is_flag=True, help="Exit with status 4 if a table waits longer than its max_backlog_days, or cannot be read.")
@common_options
@click.pass_obj
@click.pass_context
def command(
    ctx: click.Context,
    options: Options,
    /,
    dagster_home: Path | None,
    check: bool,  # noqa: FBT001 - a flag of the command
    **names: str | None,
) -> None:
    """Show each table's backlog, last archive and purge, problems, and the size and cost of table and archive.

    Times of archives and purges are from manifests and receipts in the bucket. With a Dagster instance, failed runs are shown too.
    """
    answer, config = begin(options), options.config()
    services, tables = Services(config), choose_tables(config, **names)
    with open_instance(dagster_home) as instance:
        looked = look_at_each(tables, lambda each: _look(services, each, instance))
    _say(answer, config, looked, services.clock())
    answer.fact("tables", [_facts(config, each) for each in looked])
    answer.end()
    if check and any(each.found is None or each.found.stalled for each in looked):
        ctx.exit(Status.FOUND)


def _look(services: Services, table: TableConfig, instance: "DagsterInstance | None") -> _Stands:
    source, keys = services.source(table), services.table_keys(table)
    standing = read_standing(source, table, services.hold_places(), keys, services.config.s3.storage_class)
    seen: Seen | None = None
    runs: Runs | None = None
    if instance is not None:
        from archiver_assets.orchestration.check_evaluation import last_seen  # noqa: PLC0415 -- Dagster is imported by now
        from archiver_assets.orchestration.checks import check_keys  # noqa: PLC0415 -- as above
        from archiver_assets.orchestration.history import runs_of  # noqa: PLC0415 -- as above

        seen, runs = last_seen(instance, check_keys(table)[1]), runs_of(instance, table, services.clock())
    stalled = find_stalled(standing.backlog, table, seen).stalled
    return _Stands(standing, tuple(day.key for day in stalled), runs)


def _say(answer: Answer, config: Config, looked: list[Looked[_Stands]], now: datetime) -> None:
    answer.table(_COLUMNS, [_row(config, each.table, each.found, now) for each in looked])
    troubles = [(each, lines) for each in looked if (lines := list(_troubles(each)))]
    for each, lines in troubles:
        answer.line(each.table.label)
        for name, text in lines:
            entry(answer, name, text)
        answer.line("")
    if not troubles:
        answer.line("nothing needs attention")
    found = [each.found.standing for each in looked if each.found]
    here, there = sum(each.size.all_bytes for each in found), sum(each.archived.bytes for each in found)
    before = config.prices.monthly_database(here)
    after = sum(_dollars(config, each) for each in found)
    answer.line(f"total: {in_bytes(here)} in tables and indexes, {in_dollars(before)} per month;")
    answer.line(f"       {in_bytes(there)} in the bucket ({config.s3.storage_class}), {in_dollars(after)} per month")


def _row(config: Config, table: TableConfig, found: _Stands | None, now: datetime) -> list[str]:
    if found is None:
        return [table.label, *["?"] * (len(_COLUMNS) - 1)]
    standing = found.standing
    waiting, archived = standing.backlog.waiting, standing.archived
    return [
        table.label,
        f"{len(waiting):,} d" if waiting else "",
        waiting[0].key if waiting else "",
        ago(archived.last_archived, now),
        ago(archived.last_purged, now) if table.purge or archived.last_purged else "kept",
        in_bytes(standing.size.all_bytes),
        in_bytes(archived.bytes),
        f"{standing.ratio:.1f}" if standing.ratio else "",
        f"{_dollars(config, standing):,.2f}",
    ]


def _dollars(config: Config, standing: Standing) -> float:
    return config.prices.monthly_storage(standing.archived.billed, config.s3.storage_class)


def _troubles(looked: Looked[_Stands]) -> Iterator[tuple[str, str]]:
    """Yield what needs attention: a word for the margin, and a sentence with the next step."""
    if looked.error:
        yield "error", looked.error.message
        yield "HINT", looked.error.hint
    if looked.found:
        yield from _of_backlog(looked.table, looked.found)
        yield from _of_archive(looked.table, looked.found.standing)
        yield from _of_runs(looked.found.runs)


def _of_backlog(table: TableConfig, found: _Stands) -> Iterator[tuple[str, str]]:
    backlog, late = found.standing.backlog, found.standing.late
    if found.stalled:
        what = f"{plural(len(found.stalled), 'day')} waited longer than {table.max_backlog_days} days: {some(found.stalled)}"
        yield "waiting", f"{what}; check why their runs failed, or, without runs, whether the schedule is on"
    if late:
        yield "late", f"new rows in {plural(len(late), 'day')} purged before: {some(late)}; the next runs archive and purge these rows"
    if backlog.days_held:
        yield "held", f"{plural(backlog.days_held, 'expired day')} entirely under legal holds"
    if backlog.rows_before_start_date:
        yield (
            "never",
            f"{_counted(backlog.rows_before_start_date)} before start_date {table.start_date}: set start_date to the day of the oldest row",
        )
    if backlog.rows_without_day:
        yield "never", f"{_counted(backlog.rows_without_day)} whose {table.timestamp_column} is NULL or infinite stay in the table"


def _of_archive(table: TableConfig, standing: Standing) -> Iterator[tuple[str, str]]:
    archived = standing.archived
    if archived.rejected:
        what = f"{plural(len(archived.rejected), 'generation')} failed verification, ignored: {some(archived.rejected)}"
        yield "rejected", f"{what}; _rejected-N.json in its folder gives the reason; its rows are archived again"
    if archived.interrupted:
        why = "rows are held, or the next run continues it" if table.purge else "a run continues it once purge is true again"
        yield "unfinished", f"the purge of {some(archived.interrupted)} is not complete: {why}"
    if archived.leftovers:
        yield "leftovers", f"{plural(archived.leftovers, 'object')} that no manifest names; the next archive of the day removes them"
    for message in archived.damaged:
        yield "damaged", message


def _of_runs(runs: "Runs | None") -> Iterator[tuple[str, str]]:
    if runs is not None and runs.failed:
        last = f"the latest, {runs.last_run_id}, ended {runs.last_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC as {runs.last_status}"
        yield "failed", f"{plural(runs.failed, 'run')} in the last 7 days; {last}"


def _counted(rows: int) -> str:
    return f"{rows:,} rows{' or more' if rows == MOST_COUNTED else ''}"


def _facts(config: Config, looked: Looked[_Stands]) -> Json:
    name: dict[str, Json] = {"table": looked.table.label}
    if looked.found is None:
        return name | {"error": error_facts(looked.error) if looked.error else None}
    standing, runs = looked.found.standing, looked.found.runs
    backlog, archived = standing.backlog, standing.archived
    return name | {
        "purge": looked.table.purge,
        "days_waiting": len(backlog.waiting),
        "oldest_day_waiting": backlog.waiting[0].key if backlog.waiting else None,
        "rows_waiting": backlog.rows_waiting,
        "rows_counted_up_to": MOST_COUNTED,
        "days_stalled": list(looked.found.stalled),
        "days_late": list(standing.late),
        "days_held": backlog.days_held,
        "rows_before_start_date": backlog.rows_before_start_date,
        "rows_without_day": backlog.rows_without_day,
        "last_archived_at": _instant(archived.last_archived),
        "last_purged_at": _instant(archived.last_purged),
        "days_archived": len(archived.days),
        "days_purged": len(archived.purged),
        "days_interrupted": list(archived.interrupted),
        "generations": archived.generations,
        "generations_rejected": list(archived.rejected),
        "leftovers": archived.leftovers,
        "damaged": list(archived.damaged),
        "table_bytes": standing.size.table_bytes,
        "index_bytes": standing.size.index_bytes,
        "rows_estimated": standing.size.rows,
        "archive_bytes": archived.bytes,
        "bytes_per_row_ratio": round(standing.ratio, 2) if standing.ratio else None,
        "usd_per_month_in_database": round(config.prices.monthly_database(standing.size.all_bytes), 4),
        "usd_per_month_in_bucket": round(_dollars(config, standing), 4),
        "runs": _run_facts(runs),
    }


def _run_facts(runs: "Runs | None") -> Json:
    if runs is None:
        return None
    return {
        "last_run_id": runs.last_run_id,
        "last_status": runs.last_status,
        "last_at": _instant(runs.last_at),
        "last_success_at": _instant(runs.succeeded_at),
        "failed_within_7_days": runs.failed,
    }


def _instant(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat()
