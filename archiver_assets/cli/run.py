"""`archiver run`: archives, checks and purges days in this process, as a scheduled run does.

What belongs here: the command, the order of tables and days, and what is skipped after a failure. What does not: running a day
(`orchestration/in_process_runs.py`).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import click
import dagster as dg

from archiver_assets.cli.app import Status
from archiver_assets.cli.common import DAY, Answer, Json, Options, begin, common_options, days_between
from archiver_assets.cli.dagster_instance import instance_option, open_instance
from archiver_assets.cli.formatting import plural
from archiver_assets.cli.interrupts import stoppable
from archiver_assets.cli.progress_bars import watching
from archiver_assets.cli.selection import choose_tables, tables_option
from archiver_assets.config import TableConfig
from archiver_assets.errors import ArchiverError, ConfigError
from archiver_assets.orchestration.in_process_runs import DayRun, Failed, Runner, Scope
from archiver_assets.orchestration.metadata import Metadata
from archiver_assets.orchestration.schedules import choose_days, every_waiting_day
from archiver_assets.services import Services

_NUMBERS = ("rows_archived", "bytes", "generation", "rows_purged", "rows_late", "rows_held", "rows_locked", "would_archive", "would_purge")

_MONITORED = "this instance monitors runs, and its launcher does not know this process: the run may be shown as failed until it ends"
"""A launcher with a health check, as that of Kubernetes, is asked for the worker of each run that has started; one without is dead."""


@dataclass(frozen=True)
class _Wanted:
    """Which days, and how."""

    days: tuple[str, ...]
    every: bool
    dry_run: bool
    force: bool


@dataclass
class _Session:
    """What was done so far, for the answer."""

    answer: Answer
    stopped: Callable[[], bool]
    days: list[Json] = field(default_factory=list)
    failures: list[Failed] = field(default_factory=list)

    def failed(self, what: str, why: Failed) -> None:
        self.failures.append(why)
        self.answer.line(f"FAILED {what}: {why.error}: {why.message}\nHINT: {why.hint}")


@click.command("run", short_help="Archive, check and purge days in this process.")
@tables_option
@click.option("--partition", type=DAY, help="Run only this day, YYYY-MM-DD.")
@click.option("--from", "first", type=DAY, help="First day to run, YYYY-MM-DD.")
@click.option("--to", "last", type=DAY, help="Last day to run, included.  [default: the first day]")
@click.option("--all", "every", is_flag=True, help="Run all waiting days, not just one tick's worth.")
@click.option("--dry-run", is_flag=True, help="Only print what would be done, and everything that would stop it.")
@click.option("--force", is_flag=True, help="Run even if Dagster has a run of the table; the database lock still excludes duplicates.")
@instance_option
@common_options
@click.pass_obj
@click.pass_context
def command(
    ctx: click.Context,
    options: Options,
    /,
    partition: date | None,
    first: date | None,
    last: date | None,
    dagster_home: Path | None,
    **chosen: Any,  # noqa: ANN401 - click's values
) -> None:
    """Archive, check and purge days in this process, with the same job, locks and proofs as the schedule.

    Without days, run the days that the next tick of the schedule would take, oldest first. Runs are recorded in the Dagster instance, if
    there is one. After a failed day the other days are still run, unless the whole database or store failed.
    """
    answer, config = begin(options), options.config()
    tables = choose_tables(config, *(chosen.pop(name) for name in ("database", "schema", "table")))
    wanted = _Wanted(days=_days(partition, first, last), **chosen)
    with _recording(dagster_home, answer) as instance, stoppable() as stopped, watching(options) as watch:
        session = _Session(answer, stopped)
        try:
            _run_tables(Services(config, watch=watch), instance, tables, wanted, session)
        finally:  # also of one that is interrupted
            answer.fact("days", session.days)
            answer.fact("failures", [_told(each) for each in session.failures])
            answer.end()
    if session.failures:
        ctx.exit(Status.TRY_AGAIN if all(each.transient for each in session.failures) else Status.FAILED)


def _days(partition: date | None, first: date | None, last: date | None) -> tuple[str, ...]:
    if partition is not None and (first or last) is not None:
        message = "expected either --partition or --from and --to, found both"
        raise ConfigError(message, hint="give either one day or a range")
    if last is not None and first is None:
        message = f"expected --from with --to {last}, found none"
        raise ConfigError(message, hint="add --from; without days, the waiting days are run")
    start = partition or first
    return () if start is None else tuple(day.isoformat() for day in days_between(start, partition or last or start))


@contextmanager
def _recording(home: Path | None, answer: Answer) -> Iterator[dg.DagsterInstance]:
    with ExitStack() as closing:
        instance = closing.enter_context(open_instance(home))
        answer.fact("recorded", instance is not None)
        if instance is None:
            answer.line("not recorded in Dagster: neither DAGSTER_HOME nor --dagster-home names an instance")
            instance = closing.enter_context(dg.DagsterInstance.ephemeral())
        elif instance.run_monitoring_enabled and instance.run_launcher.supports_check_run_worker_health:
            answer.line(f"warning: {_MONITORED}")
        yield instance


def _run_tables(services: Services, instance: dg.DagsterInstance, tables: list[TableConfig], wanted: _Wanted, session: _Session) -> None:
    unreachable: set[str] = set()
    for table in tables:
        if table.database in unreachable:
            session.answer.line(f"{table.label}: not run, because its database failed")
            continue
        scope = _run_table(Runner(services, instance, table), wanted, session)
        if scope is Scope.EVERYTHING:
            session.answer.line("stopped: the store or the legal holds cannot be used")
            return
        if scope is Scope.DATABASE:
            unreachable.add(table.database)


def _run_table(runner: Runner, wanted: _Wanted, session: _Session) -> Scope:
    """Run the days of a table, and return the widest scope of a failure."""
    table = runner.table
    try:
        if not wanted.force:
            runner.require_free()
        days = wanted.days or _waiting(runner, session, every=wanted.every)
    except ArchiverError as error:
        session.failed(table.label, Failed.by(error))
        return session.failures[-1].scope
    for day in days:
        failed = _run_day(runner, day, session, dry_run=wanted.dry_run)
        if failed is not None and failed.scope is not Scope.DAY:
            return failed.scope
    return Scope.DAY


def _waiting(runner: Runner, session: _Session, *, every: bool) -> tuple[str, ...]:
    table = runner.table
    if every:
        days = every_waiting_day(runner.services, table)
        nothing = f"no backlog: no expired day has rows to {'purge' if table.purge else 'archive'}"
        session.answer.line(f"{table.label}: {plural(len(days), 'waiting day')}" if days else f"{table.label}: {nothing}")
        return tuple(days)
    choice = choose_days(lambda: runner.instance, runner.services, table)
    session.answer.line(f"{table.label}: {choice.words}" if choice.chosen else f"{table.label}: no backlog: {choice.words}")
    return tuple(choice.chosen)


def _run_day(runner: Runner, day: str, session: _Session, *, dry_run: bool) -> Failed | None:
    what = f"{runner.table.label} {day}"
    try:
        runner.require_day(day)
        run = runner.run(day, dry_run=dry_run)
    except ArchiverError as error:
        session.failed(what, Failed.by(error))
        return session.failures[-1]
    session.days.append(_facts(runner.table, day, run))
    if run.interrupted or session.stopped():
        session.answer.line(f"{what}: interrupted")
        raise KeyboardInterrupt
    for line in run.described or (() if run.failed else (_sentence(runner.table, run.steps),)):
        session.answer.line(f"{what}: {line}")
    if run.failed is not None:
        session.failed(what, run.failed)
    return run.failed


def _sentence(table: TableConfig, steps: Mapping[str, Metadata]) -> str:
    archived, purged = steps.get("archive", {}), steps.get("purge", {})
    first = f"{_text(archived, 'outcome')}, {_rows(archived, 'rows_archived')} archived"
    if not table.purge:
        return f"{first}; {_rows(archived, 'rows_in_table')} kept in the table: purge is false"
    return (
        f"{first}; "
        f"{_text(purged, 'outcome')}, {_rows(purged, 'rows_purged')} purged, "
        f"{_count(purged, 'rows_late')} late, {_count(purged, 'rows_held')} held"
    )


def _text(metadata: Metadata, name: str) -> str:
    return str(metadata[name].value) if name in metadata else "nothing"


def _rows(metadata: Metadata, name: str) -> str:
    count = _count(metadata, name)
    return f"{count} row{'' if count == '1' else 's'}"


def _count(metadata: Metadata, name: str) -> str:
    return f"{metadata[name].value:,}" if name in metadata else "0"


def _facts(table: TableConfig, day: str, run: DayRun) -> dict[str, Json]:
    numbers = {step: dict(_numbers(metadata)) for step, metadata in run.steps.items()}
    failure = None if run.failed is None else _told(run.failed)
    return {"table": table.label, "day": day, "run_id": run.run_id, "steps": numbers, "dry_run": list(run.described), "failure": failure}


def _numbers(metadata: Metadata) -> Iterator[tuple[str, Json]]:
    for name in ("outcome", *_NUMBERS):
        if name in metadata and isinstance(value := metadata[name].value, str | int):
            yield name, value


def _told(failed: Failed) -> dict[str, Json]:
    return {"error": failed.error, "message": failed.message, "hint": failed.hint, "transient": failed.transient}
