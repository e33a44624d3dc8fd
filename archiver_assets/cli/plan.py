"""`archiver plan`: what the next run of each table would do.

What belongs here: the command, and printing a plan. What does not: making it (`lifecycle/reporting/plan.py`), and choosing among the days
that Dagster has tried before (`orchestration/schedules.py`).
"""

from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archiver_assets.cli.app import Status
from archiver_assets.cli.common import Answer, Json, Options, begin, common_options, error_facts
from archiver_assets.cli.dagster_instance import instance_option, open_instance
from archiver_assets.cli.each_table import Looked, entry, look_at_each, say_error
from archiver_assets.cli.formatting import in_bytes, in_dollars, in_time, minute, plural
from archiver_assets.cli.selection import choose_tables, tables_option
from archiver_assets.config import Config, TableConfig
from archiver_assets.lifecycle.backlog import MOST_COUNTED
from archiver_assets.lifecycle.reporting.archive_totals import read_inventory
from archiver_assets.lifecycle.reporting.plan import ASSUMED_SMALLER, Estimate, Plan, Refused, make_plan
from archiver_assets.partition import Partition
from archiver_assets.services import Services

if TYPE_CHECKING:
    from dagster import DagsterInstance


@dataclass(frozen=True)
class _Planned:
    """A plan, and what the next tick in Dagster would choose, if there is an instance."""

    plan: Plan | Refused
    words: str = ""


@click.command("plan", short_help="Show what the next run of each table would do.")
@tables_option
@instance_option
@common_options
@click.pass_obj
@click.pass_context
def command(
    ctx: click.Context, options: Options, /, database: str | None, schema: str | None, table: str | None, dagster_home: Path | None
) -> None:
    """Show what the next run of each table would do: days, rows, bytes, time, and what it would skip and why. Nothing is changed.

    With a Dagster instance, days in progress and days that wait after failed runs are skipped too.
    """
    answer, config = begin(options), options.config()
    services, tables = Services(config), choose_tables(config, database, schema, table)
    with open_instance(dagster_home) as instance:
        looked = look_at_each(tables, lambda each: _look(services, each, instance))
    for each in looked:
        _say(answer, config, each)
    answer.fact("tables", [_facts(config, each) for each in looked])
    _say_totals(answer, looked)
    answer.end()
    if any(each.found is None or isinstance(each.found.plan, Refused) for each in looked):
        ctx.exit(Status.FOUND)


def _look(services: Services, table: TableConfig, instance: "DagsterInstance | None") -> _Planned:
    keys, source, places = services.table_keys(table), services.source(table), services.hold_places()
    archived = read_inventory(services.store, keys, services.config.s3.storage_class)
    if instance is None:
        return _Planned(make_plan(source, table, places, keys, archived.means))
    from archiver_assets.orchestration.schedules import choose_days  # noqa: PLC0415 -- imports Dagster, which is imported by now

    words: list[str] = []

    def choose() -> list[Partition]:
        choice = choose_days(lambda: instance, services, table)
        words.append(choice.words)
        return [Partition.from_key(day, table.timezone) for day in choice.chosen]

    return _Planned(make_plan(source, table, places, keys, archived.means, choose), "; ".join(words))


def _say(answer: Answer, config: Config, looked: Looked[_Planned]) -> None:
    answer.line(looked.table.label)
    plan = looked.found.plan if looked.found else None
    if looked.error:
        say_error(answer, looked.error)
    if isinstance(plan, Refused):
        entry(answer, "next run", "would be refused: nothing would be archived or purged")
        _say_findings(answer, plan)
    if looked.found and isinstance(plan, Plan):
        _say_plan(answer, config, looked.table, plan, looked.found.words)
    answer.line("")


def _say_plan(answer: Answer, config: Config, table: TableConfig, plan: Plan, words: str) -> None:
    entry(answer, "next run", _days(table, plan))
    if plan.days:
        _say_estimate(answer, config, table, plan.estimate)
    if not table.purge:
        entry(answer, "no purge", "purge is false: days are archived, and rows stay in the table")
    if words:
        entry(answer, "in Dagster", words)
    _say_skipped(answer, table, plan)
    _say_findings(answer, plan)
    entry(answer, "table", f"{in_bytes(plan.size.all_bytes)} with indexes, about {plan.size.rows:,} rows")


def _days(table: TableConfig, plan: Plan) -> str:
    if not plan.days:
        return f"nothing to do: no expired day has rows to {'purge' if table.purge else 'archive'}"
    span = f"{plan.days[0].key}" if len(plan.days) == 1 else f"{plan.days[0].key} to {plan.days[-1].key}"
    rows = f"{plan.rows.rows:,} rows, counted" if plan.rows.counted else f"about {plan.rows.rows:,} rows, estimated by the server"
    later = f"; {plural(plan.later, 'more day')} in later runs, at most {table.max_partitions_per_tick} per run" if plan.later else ""
    return f"{plural(len(plan.days), 'day')}, {span}, with {rows}{later}"


def _say_estimate(answer: Answer, config: Config, table: TableConfig, estimate: Estimate) -> None:
    prices, storage_class = config.prices, config.s3.storage_class
    from_ = f"assumed: {ASSUMED_SMALLER:.0f} to 1" if estimate.size_assumed else "as in the newest generations"
    become = "become" if table.purge else "stay, and become"
    entry(answer, "bytes", f"{in_bytes(estimate.table_bytes)} of the table {become} about {in_bytes(estimate.archive_bytes)} ({from_})")
    pace = "assumed" if estimate.pace_assumed else "as in the newest purges"
    entry(answer, "time", f"about {in_time(estimate.seconds)}, one day after another ({pace})")
    before, after = prices.monthly_database(estimate.table_bytes), prices.monthly_storage(estimate.archive_bytes, storage_class)
    entry(answer, "monthly cost", f"{in_dollars(before)} in the database, {in_dollars(after)} in the bucket ({storage_class})")


def _say_skipped(answer: Answer, table: TableConfig, plan: Plan) -> None:
    if plan.backlog.days_held:
        ids = ", ".join(hold.id for hold in plan.holds)
        entry(answer, "held", f"{plural(plan.backlog.days_held, 'expired day')} entirely under legal holds: {ids}")
    elif plan.holds:
        entry(answer, "held", f"rows under these legal holds: {', '.join(hold.id for hold in plan.holds)}")
    entry(
        answer,
        "not expired",
        f"{plan.not_expired.key} and later: kept {table.retention_days} days; the first expires {minute(plan.expires_at.astimezone(UTC))}",
    )
    before, without = plan.backlog.rows_before_start_date, plan.backlog.rows_without_day
    if before:
        entry(answer, "never", f"{_counted(before)} before start_date {table.start_date}: set start_date to the day of the oldest row")
    if without:
        entry(answer, "never", f"{_counted(without)} whose {table.timestamp_column} is NULL or infinite: they belong to no day")


def _counted(rows: int) -> str:
    return f"{rows:,} rows{' or more' if rows == MOST_COUNTED else ''}"


def _say_findings(answer: Answer, plan: Plan | Refused) -> None:
    for finding in plan.findings:
        effect = "refused" if "archive" in finding.stops else "no purge" if finding.stops else "warning"
        entry(answer, effect, f"{finding.what} ({finding.hint})")


def _say_totals(answer: Answer, looked: list[Looked[_Planned]]) -> None:
    plans = [each.found.plan for each in looked if each.found and isinstance(each.found.plan, Plan)]
    days, rows = sum(len(plan.days) for plan in plans), sum(plan.rows.rows for plan in plans)
    refused = len(looked) - len(plans)
    answer.line(f"total: {plural(days, 'day')} of {plural(len(plans), 'table')}, about {rows:,} rows (estimates; nothing was changed)")
    if refused:
        answer.line(f"{plural(refused, 'table')} would be refused or could not be read: see above")


def _facts(config: Config, looked: Looked[_Planned]) -> Json:
    name: dict[str, Json] = {"table": looked.table.label}
    if looked.error or looked.found is None:
        return name | {"error": error_facts(looked.error) if looked.error else None}
    plan = looked.found.plan
    findings: Json = [{"name": each.name, "stops": each.stopped, "what": each.what, "hint": each.hint} for each in plan.findings]
    if isinstance(plan, Refused):
        return name | {"refused": True, "findings": findings}
    estimate = plan.estimate
    return name | {
        "refused": False,
        "purge": looked.table.purge,
        "days": [day.key for day in plan.days],
        "days_later": plan.later,
        "days_held": plan.backlog.days_held,
        "holds": [hold.id for hold in plan.holds],
        "rows": plan.rows.rows,
        "rows_counted": plan.rows.counted,
        "rows_before_start_date": plan.backlog.rows_before_start_date,
        "rows_without_day": plan.backlog.rows_without_day,
        "bytes_in_table": estimate.table_bytes,
        "bytes_in_archive": estimate.archive_bytes,
        "bytes_assumed": estimate.size_assumed,
        "seconds": round(estimate.seconds, 1),
        "seconds_assumed": estimate.pace_assumed,
        "usd_per_month_in_database": round(config.prices.monthly_database(estimate.table_bytes), 4),
        "usd_per_month_in_bucket": round(config.prices.monthly_storage(estimate.archive_bytes, config.s3.storage_class), 4),
        "next_day_expires_at": plan.expires_at.isoformat(),
        "table_bytes": plan.size.table_bytes,
        "index_bytes": plan.size.index_bytes,
        "in_dagster": looked.found.words or None,
        "findings": findings,
    }
