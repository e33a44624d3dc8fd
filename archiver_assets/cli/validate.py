"""`archiver validate`: checks the config, and shows how it was read. Nothing connects.

What belongs here: the command and its summary. What does not: any rule (`config/`).
"""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import click
from cronsim import CronSim

from archiver_assets.cli.common import Json, Options, begin, common_options
from archiver_assets.cli.formatting import minute, plural
from archiver_assets.config import Config, DatabaseConfig, TableConfig


@click.command("validate", short_help="Check the config, and show how it was read.")
@common_options
@click.pass_obj
def command(options: Options, /) -> None:
    """Check the config, report all problems at once, and show how it was read. Nothing connects, and no password is read."""
    answer, config, now = begin(options), options.config(), datetime.now(UTC)
    tables = [each for _, each in config.tables()]
    answer.line(f"{options.config_file}: valid; {plural(len(config.databases), 'database')}, {plural(len(tables), 'table')}")
    answer.line(f"objects go to {_bucket(config)}")
    for database in config.databases:
        answer.line("")
        answer.line(_database(database))
        answer.table(["table", "key", "timestamp", "retention", "schedule", "next run"], [_row(each, now) for each in database.tables])
    for line in _others(config):
        answer.line(line)
    answer.fact("config", str(options.config_file))
    answer.fact("valid", value=True)
    answer.fact("bucket", config.s3.bucket)
    answer.fact("tables", [_facts(each, now) for each in tables])
    answer.end()


def _bucket(config: Config) -> str:
    s3 = config.s3
    place = f"s3://{s3.bucket}/{s3.prefix} at {s3.endpoint or 'AWS'}{f', {s3.region}' if s3.region else ''}"
    return f"{place}, as {s3.storage_class}, encryption {s3.encryption}"


def _database(database: DatabaseConfig) -> str:
    more = [
        f"rows read from {database.read_replica.host}:{database.read_replica.port}" if database.read_replica else "",
        f"objects verified in {database.scratch_database.host}:{database.scratch_database.port}" if database.scratch_database else "",
    ]
    secret = f"password in ${database.password_env}" if database.password_env else "an AWS IAM token for each connection"
    place = f"{database.dbname} at {database.host}:{database.port} as {database.user}, {secret}"
    return "; ".join([f"{database.name}: {place}", *filter(None, more)])


def next_run(table: TableConfig, now: datetime) -> datetime | None:
    """Return when the schedule of a table runs next, in the schedule's zone; None if it has none."""
    if table.schedule is None:
        return None
    return next(CronSim(table.schedule, now.astimezone(ZoneInfo(table.schedule_timezone))), None)


def _row(table: TableConfig, now: datetime) -> list[str]:
    upcoming = next_run(table, now)
    return [
        f"{table.schema_name}.{table.name}",
        ", ".join(table.primary_key),
        f"{table.timestamp_column}, {table.timezone}",
        f"{table.retention_days} days{'' if table.purge else ', not purged'}",
        table.schedule or "none",
        minute(upcoming) if upcoming else "none",
    ]


def _others(config: Config) -> list[str]:
    holds, targets = config.legal_holds, config.notifications.targets
    lines = [f"legal holds: {len(holds.holds)} here, others below {config.s3.prefix}_holds/ in the bucket"]
    if holds.table:
        lines[0] += f", and in the table {holds.table.database}/{holds.table.schema_name}/{holds.table.name}"
    lines.append(f"notified of failures: {', '.join(each.name for each in targets) or 'nobody'}")
    return [*lines, "next: archiver doctor, which connects and checks permissions, bucket and tables"]


def _facts(table: TableConfig, now: datetime) -> Json:
    upcoming = next_run(table, now)
    return {
        "table": table.label,
        "primary_key": list(table.primary_key),
        "timestamp_column": table.timestamp_column,
        "timezone": table.timezone,
        "retention_days": table.retention_days,
        "purge": table.purge,
        "schedule": table.schedule,
        "next_run": upcoming.astimezone(UTC).isoformat() if upcoming else None,
    }
