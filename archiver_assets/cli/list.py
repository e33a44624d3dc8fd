"""`archiver list`: the generations of the archive, from the store alone.

What belongs here: the command and its columns. What does not: reading marks (`lifecycle/verifying/archive_listing.py`).
"""

from dataclasses import dataclass, field
from datetime import date
from functools import partial

import click

from archiver_assets.cli.app import Status
from archiver_assets.cli.common import Answer, Json, Options, begin, common_options
from archiver_assets.cli.formatting import plural
from archiver_assets.cli.selection import choose_tables, days_options, tables_option
from archiver_assets.config import TableConfig
from archiver_assets.lifecycle.generations import Generation
from archiver_assets.lifecycle.task import Task
from archiver_assets.lifecycle.verifying.archive_listing import list_table, survey
from archiver_assets.services import Services
from archiver_assets.store.manifest import format_instant

_COLUMNS = ("table", "day", "generation", "state", "rows", "bytes", "archived at", "object")


@dataclass
class _Found:
    """What was found so far."""

    generations: list[tuple[str, Generation, str]] = field(default_factory=list)
    rejected: int = 0
    problems: list[str] = field(default_factory=list)


@click.command("list", short_help="List the archive's generations, using only the bucket.")
@tables_option
@days_options
@click.option("--all", "everything", is_flag=True, help="Include rejected generations.")
@common_options
@click.pass_obj
@click.pass_context
def command(
    ctx: click.Context,
    options: Options,
    /,
    first: date | None,
    last: date | None,
    everything: bool,  # noqa: FBT001 - click's flag
    **names: str | None,
) -> None:
    """List the generations of each day, one for each object that a manifest commits. No database is contacted.

    States: `live`, its rows may still be in the table; `purging`, its purge has begun; `purged`, it has a receipt; `former source`, from a
    server that `accept-source` has replaced; `rejected`, it failed verification and is ignored.
    """
    answer, config = begin(options), options.config()
    services, found = Services(config), _Found()
    for chosen in choose_tables(config, **names):
        objects = list_table(services.store, services.table_keys(chosen)).between(first, last)
        for day in survey(partial(_task, services, chosen), objects):
            if day.problem is not None:
                found.problems.append(day.problem.message)
            found.rejected += len(day.generations) - len(day.live)
            shown = day.generations if everything else day.live
            found.generations += [(chosen.label, each, services.store.uri(each.object_key)) for each in shown]
    _say(answer, found, everything=everything)
    if found.problems:
        ctx.exit(Status.FOUND)


def _task(services: Services, table: TableConfig, day: date) -> Task:
    return services.task(table, day.isoformat(), "archiver list")


def _say(answer: Answer, found: _Found, *, everything: bool) -> None:
    facts: list[Json] = [_facts(*each) for each in found.generations]
    answer.fact("generations", facts)
    answer.fact("problems", found.problems)
    if found.generations:
        answer.table(_COLUMNS, [_row(*each) for each in found.generations])
    manifests = [generation.manifest for _, generation, _ in found.generations]
    rows, size = sum(each.rows for each in manifests), sum(each.object.bytes for each in manifests)
    answer.line(f"{plural(len(manifests), 'generation')}, {plural(rows, 'row')}, {plural(size, 'byte')}")
    if found.rejected and not everything:
        answer.line(f"{plural(found.rejected, 'rejected generation')} not shown: use --all to include rejected generations")
    for problem in found.problems:
        answer.line(f"DAMAGED {problem}")
    answer.end()


def _row(label: str, generation: Generation, uri: str) -> tuple[str, ...]:
    manifest = generation.manifest
    day, at = manifest.partition.day.isoformat(), f"{manifest.archived_at:%Y-%m-%d %H:%M:%S}Z"
    return label, day, str(generation.number), generation.state, f"{manifest.rows:,}", f"{manifest.object.bytes:,}", at, uri


def _facts(label: str, generation: Generation, uri: str) -> dict[str, Json]:
    manifest = generation.manifest
    return {
        "table": label,
        "day": manifest.partition.day.isoformat(),
        "generation": generation.number,
        "state": generation.state,
        "rows": manifest.rows,
        "bytes": manifest.object.bytes,
        "archived_at": format_instant(manifest.archived_at),
        "object": uri,
        "run_id": manifest.run_id,
    }
