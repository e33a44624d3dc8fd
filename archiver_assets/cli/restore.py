"""`archiver restore`: load archived days back into a table.

What belongs here: the command's options and its report for each day. What does not: any step of a restore
(`lifecycle/restoring/restore.py`).
"""

from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from enum import StrEnum
from typing import Any
from uuid import uuid4

import click

from archiver_assets.cli.common import DAY, Json, Options, begin, common_options, days_between, table_options
from archiver_assets.lifecycle.restoring.request import Conflict, Drift, Restored, RestoreRequest, Triggers, Versions
from archiver_assets.lifecycle.restoring.restore import restore
from archiver_assets.services import Services

_DEFAULT = RestoreRequest()


def _choice(name: str, kind: type[StrEnum], what: str) -> Callable[[Any], Any]:
    values = [each.value for each in kind]
    return click.option(
        f"--{name}", type=click.Choice(values), default=values[0], show_default=True, callback=lambda _, __, value: kind(value), help=what
    )


@click.command("restore", short_help="Load archived days back into a table.")
@table_options
@click.option("--from", "first", type=DAY, required=True, help="First day, YYYY-MM-DD.")
@click.option("--to", "last", type=DAY, help="Last day, included.  [default: the first day]")
@click.option("--target-table", "table_name", help="Table to restore into.  [default: {T}_restored, created if missing]")
@click.option("--target-schema", "schema_name", help="Schema of the target table.  [default: the schema of the archived table]")
@click.option("--column", "columns", multiple=True, metavar="NAME", help="Restore only this column and the key (repeatable).")
@click.option(
    "--generation",
    "generations",
    multiple=True,
    type=int,
    metavar="N",
    help="Restore only this generation (repeatable), e.g. an intact one older than a damaged one.",
)
@_choice("conflict", Conflict, "What to do if the target has another row with an archived key.")
@_choice("drift", Drift, "What to do if the target's columns differ from the archived ones.")
@_choice("triggers", Triggers, "What to do if the target has triggers on INSERT.")
@_choice("versions", Versions, "Which archived versions of a key to restore; `all` adds _xmin to the target's key.")
@click.option(
    "--hold-days", type=int, default=_DEFAULT.hold_days, show_default=True, help="Days to hold rows restored into the archived table."
)
@click.option("--dry-run", is_flag=True, help="Load, compare and roll back; print what would be restored.")
@common_options
@click.pass_obj
def command(options: Options, /, database: str, schema: str, table: str, first: date, last: date | None, **chosen: Any) -> None:  # noqa: ANN401 - click's values
    """Load archived days back into a table, one transaction per generation; the server compares the rows before each commit."""
    answer, config = begin(options), options.config()
    wanted, services, run_id = config.table(database, schema, table), Services(config), f"archiver restore {uuid4()}"
    days: list[Json] = []
    answer.fact("table", wanted.label)
    answer.fact("days", days)
    request = RestoreRequest(**chosen)
    for day in days_between(first, last or first):
        restored = restore(services.task(wanted, day.isoformat(), run_id), request)
        answer.line(_report(f"{wanted.label} {day}", restored))
        days.append({"partition": day.isoformat(), "target": str(restored.target), "outcome": restored.outcome, **asdict(restored.tally)})
    answer.end()


def _report(what: str, restored: Restored) -> str:
    tally = restored.tally
    counts = f"{tally.loaded:,} rows loaded, {tally.present:,} already there, {tally.skipped:,} skipped, {tally.overwritten:,} overwritten"
    lines = [f"{what} into {restored.target}: {restored.outcome}, {counts}, {tally.superseded:,} older versions left out"]
    lines += [f"  {line}" for line in restored.drift]
    lines += [f"  sequence {name} advanced past the restored values" for name in restored.sequences]
    lines += [f"  held from purges by the hold {restored.hold}"] if restored.hold else []
    return "\n".join(lines)
