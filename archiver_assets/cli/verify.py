"""`archiver verify`: prove the archive from the store alone, and name what is wrong with it.

What belongs here: the command and its report. What does not: proving (`lifecycle/inspection.py`).
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date

import click

from archiver_assets.cli.app import Status
from archiver_assets.cli.bars import watching
from archiver_assets.cli.common import Answer, Json, Options, begin, common_options
from archiver_assets.cli.selection import choose_tables, days_options, tables_option
from archiver_assets.config import TableConfig, VerificationLevel
from archiver_assets.lifecycle.inspection import Inspection, inspect_day, inspect_table
from archiver_assets.lifecycle.progress import Progress
from archiver_assets.lifecycle.survey import list_table
from archiver_assets.orchestration.resources import Services


@click.command("verify", short_help="Prove the archive from the store alone, and name what is damaged.")
@tables_option
@days_options
@click.option("--rows-only", is_flag=True, help="Compare bytes, digest and the number of rows, and do not decode every value.")
@common_options
@click.pass_obj
@click.pass_context
def command(
    ctx: click.Context,
    options: Options,
    /,
    first: date | None,
    last: date | None,
    rows_only: bool,  # noqa: FBT001 - click's flag
    **names: str | None,
) -> None:
    """Read every generation that counts back, whole, and compare it with its manifest and with the marks beside it.

    No database is asked, and nothing is written: rights to list and to read objects are enough. Exit status 4 if anything is damaged.
    """
    answer, config = begin(options), options.config()
    level: VerificationLevel = "rows" if rows_only else "full"
    tables: list[Json] = []
    mismatches = 0
    answer.fact("tables", tables)
    with watching(options) as watch:
        for chosen in choose_tables(config, **names):
            # The level is of this reading alone, and may be below the config's: no purge relies on it.
            checked = chosen.model_copy(update={"verification": level})
            found = list(_inspected(Services(config), checked, (first, last), watch, answer))
            mismatches += sum(len(each.mismatches) for each in found)
            tables.append(_facts(chosen, found))
            answer.line(_summary(chosen, found))
    answer.end()
    if mismatches:
        ctx.exit(Status.FOUND)


def _inspected(
    services: Services, table: TableConfig, days: tuple[date | None, date | None], watch: Callable[[Progress], None], answer: Answer
) -> Iterator[Inspection]:
    objects = list_table(services.store, services.table_keys(table)).between(*days)
    task = services.task(table, table.start_date.isoformat(), "archiver verify")
    for day in (None, *objects.days):
        found = (
            inspect_table(task, objects)
            if day is None
            else inspect_day(replace(services.task(table, day.isoformat(), task.run_id), watch=watch))
        )
        for mismatch in found.mismatches:
            answer.line(f"DAMAGED {found.label}: {mismatch}")
        for warning in found.warnings:
            answer.line(f"warning {found.label}: {warning}")
        yield found


def _summary(table: TableConfig, found: list[Inspection]) -> str:
    read = [verification for each in found for verification in each.verifications]
    proven = sum(each.passed for each in read)
    wrong, strange = sum(len(each.mismatches) for each in found), sum(len(each.warnings) for each in found)
    rows, size = sum(each.rows for each in found), sum(each.bytes for each in found)
    counts = f"{proven} of {len(read)} generations of {len(found) - 1} days proven, {rows:,} rows and {size:,} bytes read back"
    return f"{table.label}: {counts}; {wrong} mismatches, {strange} warnings"


def _facts(table: TableConfig, found: list[Inspection]) -> dict[str, Json]:
    read = [verification for each in found for verification in each.verifications]
    return {
        "table": table.label,
        "days": len(found) - 1,
        "generations": len(read),
        "proven": sum(each.passed for each in read),
        "rows": sum(each.rows for each in found),
        "bytes": sum(each.bytes for each in found),
        "mismatches": [{"where": each.label, "what": line} for each in found for line in each.mismatches],
        "warnings": [{"where": each.label, "what": line} for each in found for line in each.warnings],
    }
