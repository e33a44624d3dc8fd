"""`archiver restore`: load archived days back into a table.

What belongs here: the command's options, and its report of a day. What does not: any step of a restore (`lifecycle/restoring/restore.py`).
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
@click.option("--from", "first", type=DAY, required=True, help="The first day, YYYY-MM-DD.")
@click.option("--to", "last", type=DAY, help="The last day, included.  [default: the first]")
@click.option("--target-table", "table_name", help="The table to restore into.  [default: a table {T}_restored is made, and added to]")
@click.option("--target-schema", "schema_name", help="Its schema.  [default: that of the archived table]")
@click.option("--column", "columns", multiple=True, metavar="NAME", help="Restore only this one and the key; more than once for more.")
@click.option(
    "--generation",
    "generations",
    multiple=True,
    type=int,
    metavar="N",
    help="Restore only this one, as if there were no others, such as a good one below a damaged one.",
)
@_choice("conflict", Conflict, "What becomes of another row under an archived key.")
@_choice("drift", Drift, "What becomes of a target of another shape.")
@_choice("triggers", Triggers, "What triggers on INSERT of the target do.")
@_choice("versions", Versions, "Which archived versions of a key; all of them have _xmin in their key.")
@click.option("--hold-days", type=int, default=_DEFAULT.hold_days, show_default=True, help="Hold rows of the table itself so long.")
@click.option("--dry-run", is_flag=True, help="Load, compare and roll back; say what would be restored.")
@common_options
@click.pass_obj
def command(options: Options, /, database: str, schema: str, table: str, first: date, last: date | None, **chosen: Any) -> None:  # noqa: ANN401 - click's values
    """Load archived days back into a table, one transaction for each generation, compared by the server before it commits."""
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
    counts = f"{tally.loaded:,} rows loaded, {tally.present:,} there before, {tally.skipped:,} skipped, {tally.overwritten:,} overwritten"
    lines = [f"{what} into {restored.target}: {restored.outcome}, {counts}, {tally.superseded:,} older versions left out"]
    lines += [f"  {line}" for line in restored.drift]
    lines += [f"  sequence {name} moved on past the restored numbers" for name in restored.sequences]
    lines += [f"  held from the next purge by {restored.hold}"] if restored.hold else []
    return "\n".join(lines)
