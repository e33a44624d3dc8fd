"""`archiver reconcile`: reports to Dagster the partitions that the store has and Dagster's database lacks.

What belongs here: the command. What does not: which events are missing (`orchestration/reconciling.py`).
"""

from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import click
import dagster as dg

from archiver_assets.cli.app import Status
from archiver_assets.cli.common import Answer, Json, Options, begin, common_options
from archiver_assets.cli.dagster_instance import instance_option, open_instance
from archiver_assets.cli.formatting import plural
from archiver_assets.cli.progress_bars import watching
from archiver_assets.cli.selection import choose_tables, tables_option
from archiver_assets.config import TableConfig
from archiver_assets.errors import ConfigError
from archiver_assets.lifecycle.task import Task
from archiver_assets.lifecycle.verifying.archive_listing import SurveyedDay, list_table, survey
from archiver_assets.orchestration.reconciling import Known, known_days, missing_evaluation, missing_materializations
from archiver_assets.services import Services
from archiver_assets.store.readonly import ReadOnlyStore


@dataclass
class _Done:
    """What was reported to Dagster about a table, or would be."""

    days: int = 0
    archived: int = 0
    purged: int = 0
    evaluated: int = 0
    failed: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Session:
    services: Services
    instance: dg.DagsterInstance
    dry_run: bool
    verify: bool


@click.command("reconcile", short_help="Rebuild Dagster's materializations from the manifests.")
@tables_option
@instance_option
@click.option(
    "--verify", is_flag=True, help="Read every object back and report an evaluation of row_counts. Without --verify, none is reported."
)
@click.option("--dry-run", is_flag=True, help="Only print what would be reported.")
@common_options
@click.pass_obj
@click.pass_context
def command(ctx: click.Context, options: Options, /, dagster_home: Path | None, verify: bool, dry_run: bool, **names: Any) -> None:  # noqa: ANN401, FBT001 - click's
    """Report to Dagster what the store has and Dagster's database lacks: archived days from manifests, purged days from receipts.

    For a new instance, or one whose database was lost. Days that Dagster knows are not changed, so the command can be repeated. The store
    and the tables are not changed, and the databases of the tables are not contacted.
    """
    answer, config = begin(options), options.config()
    tables: list[Json] = []
    problems = 0
    with open_instance(dagster_home) as instance, watching(options) as watch:
        if instance is None:
            message = "expected Dagster's home in the environment variable DAGSTER_HOME or in --dagster-home, found neither"
            raise ConfigError(message, hint="give the folder of dagster.yaml, and set the variables that the file uses")
        session = _Session(Services(config, watch=watch), instance, dry_run, verify)
        for table in choose_tables(config, **names):
            done = _reconcile(session, table)
            _say(answer, table, done, session)
            tables.append({"table": table.label, **vars(done)})
            problems += len(done.problems) + done.failed
    answer.fact("tables", tables)
    answer.end()
    if problems:
        ctx.exit(Status.FOUND)


def _reconcile(session: _Session, table: TableConfig) -> _Done:
    services, done = session.services, _Done()
    known = known_days(session.instance, table)

    def task_of(day: date) -> Task:
        task = services.task(table, day.isoformat(), "archiver reconcile")
        return replace(task, store=ReadOnlyStore(services.store))

    for day in survey(task_of, list_table(services.store, services.table_keys(table))):
        done.days += 1
        if day.problem is not None:
            done.problems.append(day.problem.message)
        _report(session, task_of(day.day), day, known, done)
    return done


def _report(session: _Session, task: Task, day: SurveyedDay, known: Known, done: _Done) -> None:
    links = session.services.links
    for event in missing_materializations(task, links, day, known):
        if event.asset_key.path[-1] == "archive":
            done.archived += 1
        else:
            done.purged += 1
        if not session.dry_run:
            session.instance.report_runless_asset_event(event)
    if not session.verify:
        return
    evaluation = missing_evaluation(task, links, day, known, session.instance)
    if evaluation is not None:
        done.evaluated += 1
        done.failed += not evaluation.passed
        if not session.dry_run:
            session.instance.report_runless_asset_event(evaluation)


def _say(answer: Answer, table: TableConfig, done: _Done, session: _Session) -> None:
    would = "would be " if session.dry_run else ""
    checks = (
        f"{plural(done.evaluated, 'evaluation')} of row_counts, {done.failed} failed"
        if session.verify
        else "no evaluation of row_counts (use --verify)"
    )
    reported = f"{plural(done.archived, 'archive')} and {plural(done.purged, 'purge')} {would}reported, {checks}"
    answer.line(f"{table.label}: {plural(done.days, 'day')} in the store: {reported}")
    for problem in done.problems:
        answer.line(f"DAMAGED {table.label}: {problem}")
