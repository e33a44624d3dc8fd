"""`archiver doctor`: checks everything that the archiver works with, and reports what is wrong and how to fix it.

What belongs here: the command, and how lines are printed. What does not: the checks (`lifecycle/reporting/doctor.py`,
`orchestration/instance_checks.py`).
"""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import click

from archiver_assets.cli.app import Status
from archiver_assets.cli.common import Answer, Options, begin, common_options
from archiver_assets.cli.dagster_instance import instance_option, open_instance
from archiver_assets.cli.each_table import paragraph, working
from archiver_assets.cli.formatting import plural
from archiver_assets.config import Config
from archiver_assets.errors import ArchiverError, ConfigError
from archiver_assets.lifecycle.holding.holds import HoldPlaces
from archiver_assets.lifecycle.reporting.doctor import (
    Line,
    Lines,
    Verdict,
    examine_bucket,
    examine_database,
    examine_endpoint,
    examine_holds,
    failed,
    lock_length_line,
    passed,
    utc_now,
)
from archiver_assets.services import Services
from archiver_assets.store.probing import Probe
from archiver_assets.store.s3 import Patience
from archiver_assets.telemetry.delivery import url_problem

_PATIENCE = Patience(max_attempts=2, connect_timeout=5.0, read_timeout=10.0)
"""A bucket that does not answer is reported after at most half a minute."""

_DATABASES_AT_ONCE = 8


@click.command("doctor", short_help="Check connections, permissions, bucket, tables and Dagster.")
@instance_option
@common_options
@click.pass_obj
@click.pass_context
def command(ctx: click.Context, options: Options, /, dagster_home: Path | None) -> None:
    """Check connections, permissions, bucket, clocks, tables, legal holds and Dagster, and report what is wrong and how to fix it.

    The only change is one small test object, written below the prefix and removed again. Exits with status 4 if a check fails.
    """
    answer, config = begin(options), options.config()
    lines: list[Line] = []
    for line in _shown_as_they_come(_examine(config, dagster_home)):
        lines.append(line)
        _say(answer, line)
    counts = Counter(line.verdict for line in lines)
    answer.line("")
    answer.line(", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict))
    answer.fact("lines", [{"verdict": line.verdict, "subject": line.subject, "found": line.found, "hint": line.hint} for line in lines])
    answer.fact("counts", {verdict.value: counts[verdict] for verdict in Verdict})
    answer.end()
    if counts[Verdict.FAILED]:
        ctx.exit(Status.FOUND)


def _shown_as_they_come(lines: Lines) -> Lines:
    """Yield the lines, and show activity while waiting for the next one."""
    while True:
        with working("checking"):
            line = next(lines, None)
        if line is None:
            return
        yield line


def _examine(config: Config, dagster_home: Path | None) -> Lines:
    services = Services(config)
    yield passed("config", f"valid: {plural(len(config.databases), 'database')}, {plural(sum(1 for _ in config.tables()), 'table')}")
    try:
        probe = Probe(services.bucket_store(_PATIENCE), config.s3.prefix)
    except ArchiverError as error:
        yield failed("bucket", error)
        return
    yield from examine_endpoint(probe.endpoint)
    if config.s3.object_lock:
        yield lock_length_line(config.s3.object_lock, [table for _, table in config.tables()])
    yield from examine_bucket(probe, utc_now)
    places = HoldPlaces(config.legal_holds, services.hold_places().source, probe.store, config.s3.prefix)
    yield from examine_holds(places, config.databases)
    yield from _examine_databases(config, services, places)
    yield from _examine_dagster(dagster_home)
    yield from _examine_targets(config)


def _examine_databases(config: Config, services: Services, places: HoldPlaces) -> Lines:
    """Check several databases at once, since one that does not answer takes 15 s, and yield their lines in the order of the config."""
    sources = [services.source(database.tables[0]) for database in config.databases]
    with ThreadPoolExecutor(_DATABASES_AT_ONCE) as workers:
        for lines in workers.map(lambda source: list(examine_database(source, places, utc_now)), sources):
            yield from lines


def _examine_dagster(home: Path | None) -> Lines:
    if home is None:
        hint = "set DAGSTER_HOME or --dagster-home to check the instance too"
        yield Line(Verdict.SKIPPED, "dagster", "no instance is configured", hint)
        return
    try:
        with open_instance(home) as instance:
            from archiver_assets.orchestration.instance_checks import examine_instance  # noqa: PLC0415 -- Dagster is imported by now

            if instance is not None:
                yield from examine_instance(instance)
    except ConfigError as error:
        yield failed("dagster", error)


def _examine_targets(config: Config) -> Iterator[Line]:
    for target in config.notifications.targets:
        subject, problem = f"notifications: {target.name}", url_problem(target)
        if problem:
            yield Line(Verdict.FAILED, subject, problem, f"correct {target.url_env} in the environment of the code server")
        else:
            yield passed(subject, "Apprise accepts its URL; nothing was sent")


def _say(answer: Answer, line: Line) -> None:
    say = partial(paragraph, answer, margin=9)
    say(line.verdict, f"{line.subject}: {line.found}")
    if line.hint:
        say("", f"HINT: {line.hint}")
