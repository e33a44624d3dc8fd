"""`archiver hold add|list|remove`: legal holds, as objects in the bucket.

What belongs here: the commands, and describing a hold. What does not: what a hold means (`config/legal.py`), and which rows it keeps
(`lifecycle/holding/effect.py`).
"""

import json
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import click
from pydantic import ValidationError

from archiver_assets.cli.common import DAY, Json, Options, begin, common_options
from archiver_assets.cli.formatting import plural
from archiver_assets.config import Config, Hold, TableConfig
from archiver_assets.errors import ArchiverError, ConfigError, ObjectExists, ObjectMissing
from archiver_assets.lifecycle.holding.effect import kept_by
from archiver_assets.lifecycle.holding.holds import PlacedHold, in_force
from archiver_assets.services import Services
from archiver_assets.store.hold_objects import parse_json, place_hold, release_hold, why_invalid
from archiver_assets.store.keys import hold_key

_OPERATORS = ("is not null", "is null", "in", "!=", "<=", ">=", "=", "<", ">")
"""The longer ones first, so that none is taken for its beginning."""
_CONDITION_HINT = (
    f"use one of the operators {', '.join(_OPERATORS)}; give other columns and values as JSON: "
    '{"column": "a b", "operator": "=", "values": ["1,2"]}'
)


@click.group("hold", short_help="Place, list and remove legal holds.")
@common_options
def command() -> None:
    """Manage legal holds: rows that no purge may delete. Holds are placed in the bucket; those in the config or a table are listed too."""


@command.command("add", short_help="Place a hold in the bucket.")
@click.argument("hold_id", metavar="ID")
@click.option("--table", "table_name", required=True, help="Table to hold, as name or schema.name, in every database.")
@click.option("--schema", "schema_name", help="Schema of the table.  [default: all]")
@click.option("--reason", required=True, help="Why the rows are held.")
@click.option("--requestor", help="Who requested the hold.")
@click.option("--from", "first_day", type=DAY, help="First day of the held rows.  [default: no limit]")
@click.option("--to", "last_day", type=DAY, help="Last day of the held rows, included.  [default: no limit]")
@click.option("--start", "start_date", help="Day or RFC 3339 time from which the hold is in force.  [default: always]")
@click.option(
    "--expires", "expiration_date", help="Last day, included, or RFC 3339 time until which the hold is in force.  [default: forever]"
)
@click.option(
    "--condition",
    "conditions",
    multiple=True,
    metavar="CONDITION",
    help="Hold only rows that meet every CONDITION (repeatable), e.g. 'office = Graz', 'actor is null', 'office in Graz,Linz', or JSON.",
)
@click.option(
    "--unchecked", is_flag=True, help="Place the hold without asking the databases whether it is valid and how many rows it keeps."
)
@common_options
@click.pass_obj
def add(options: Options, /, hold_id: str, unchecked: bool, conditions: tuple[str, ...], **said: Any) -> None:  # noqa: ANN401, FBT001 - click's
    """Place the hold ID in the bucket. A hold is never replaced: to change one, place another hold with another ID."""
    answer, config = begin(options), options.config()
    hold, services = _hold({"id": hold_id, "conditions": [_condition(each) for each in conditions], **said}), Services(config)
    tables = _tables(config, hold)
    rows = {} if unchecked else {table.label: kept_by(services.source(table), table, services.hold_places(), hold).rows for table in tables}
    try:
        key = place_hold(services.store, config.s3.prefix, hold)
    except ObjectExists as error:
        uri = services.store.uri(hold_key(config.s3.prefix, hold.id))
        message = f"expected no hold {hold.id!r} yet, found one in {uri}"
        raise ObjectExists(
            message, hint="show it with archiver hold list; to hold more rows, or longer, place a hold with another id"
        ) from error
    answer.fact("object", services.store.uri(key))
    answer.fact("rows_kept_now", rows)
    answer.line(f"placed {services.store.uri(key)}: {_words(hold)}")
    for label, number in rows.items():
        answer.line(f"  {label}: keeps {plural(number, 'row')} of expired days")
    if not tables:
        answer.line("  warning: no table in the config has this name; the hold keeps nothing here")
    answer.end()


@command.command("list", short_help="List all holds.")
@common_options
@click.pass_obj
def list_all(options: Options, /) -> None:
    """List the holds in the config, the bucket and the table of holds, and whether each is in force by this machine's clock."""
    answer, config = begin(options), options.config()
    placed, now = Services(config).hold_places().everywhere(), datetime.now(UTC)
    rows = [_row(config, each, now) for each in placed]
    answer.fact("holds", [_facts(config, each, now) for each in placed])
    if rows:
        answer.table(("id", "place", "in force", "holds", "tables", "until", "reason", "requestor"), rows)
    answer.line(plural(len(rows), "hold"))
    answer.end()


@command.command("remove", short_help="Remove a hold from the bucket.")
@click.argument("hold_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@common_options
@click.pass_obj
@click.pass_context
def remove(ctx: click.Context, options: Options, /, hold_id: str, yes: bool) -> None:  # noqa: FBT001 - click's
    """Remove the hold ID from the bucket, after printing what can then be purged. In a bucket with versions the hold stays readable."""
    answer, config = begin(options), options.config()
    services = Services(config)
    hold = _in_bucket(services, hold_id)
    answer.line(f"{hold.id}: {_words(hold)}; {' '.join(hold.reason.split())}")
    released: dict[str, Json] = {}
    for table in _tables(config, hold):
        released[table.label], said = _released(services, table, hold)
        answer.line(f"  {table.label}: {said}")
    if not yes and not _confirmed(options):
        answer.line("not removed")
        ctx.exit(1)
    release_hold(services.store, config.s3.prefix, hold.id)
    answer.fact("removed", hold.id)
    answer.fact("rows_released", released)
    answer.line(f"removed {services.store.uri(hold_key(config.s3.prefix, hold.id))}")
    answer.end()


def _confirmed(options: Options) -> bool:
    if options.as_json or not sys.stdin.isatty():
        message = "expected --yes, because there is no terminal for a confirmation, found none"
        raise ConfigError(message, hint="add --yes to remove the hold; nothing was removed")
    return click.confirm("Remove it?")


def _in_bucket(services: Services, hold_id: str) -> Hold:
    """Return the hold of that id in the bucket. Raises ObjectMissing, which names the other places that have it."""
    found = [each for each in services.hold_places().everywhere() if each.hold.id == hold_id]
    for each in found:
        if each.place == "bucket":
            return each.hold
    elsewhere = ", ".join(sorted({f"the {each.place}" for each in found}))
    message = f"expected the hold {hold_id!r} in the bucket, found {f'it in {elsewhere}' if found else 'none'}"
    hint = f"remove it from {elsewhere}" if found else "list all holds with archiver hold list"
    raise ObjectMissing(message, hint=hint)


def _released(services: Services, table: TableConfig, hold: Hold) -> tuple[int | None, str]:
    """Return how many rows only this hold keeps; None, and the reason, if the database cannot be asked."""
    try:
        kept = kept_by(services.source(table), table, services.hold_places(), hold)
    except ArchiverError as error:
        return None, f"unknown how many rows would be released: {error.message}"
    return kept.alone, f"{plural(kept.alone, 'row')} of expired days could then be purged; the hold keeps {kept.rows:,}"


def _tables(config: Config, hold: Hold) -> list[TableConfig]:
    return [table for _, table in config.tables() if hold.names(table.schema_name, table.name)]


def _hold(said: dict[str, object]) -> Hold:
    try:
        return Hold.model_validate({name: value for name, value in said.items() if value is not None})
    except ValidationError as error:
        message = f"expected a legal hold, found: {why_invalid(error)}"
        raise ConfigError(message, hint="correct the options; nothing was placed") from error


def _condition(text: str) -> object:
    """Return a condition as the model reads it, of JSON or of `column operator value`."""
    if text.lstrip().startswith("{"):
        try:
            return parse_json(text)
        except ValueError as error:
            message = f"expected a condition as JSON, found {text!r}: {error}"
            raise ConfigError(message, hint=_CONDITION_HINT) from error
    column, _, rest = text.strip().partition(" ")
    rest = rest.strip()
    for operator in _OPERATORS:
        value = rest[len(operator) :]
        if rest.lower().startswith(operator) and (not operator.isalpha() or not value or value.startswith(" ")):
            value = value.strip()
            values = [each.strip() for each in value.split(",")] if operator == "in" else [value] if value else []
            return {"column": column, "operator": operator, "values": values}
    message = f"expected a condition of a column, an operator and a value, found {text!r}"
    raise ConfigError(message, hint=_CONDITION_HINT)


def _words(hold: Hold) -> str:
    days = f"{hold.first_day or 'the first day'} to {hold.last_day or 'the last day'}" if hold.first_day or hold.last_day else "all days"
    rows = " and ".join(f"{each.column} {each.operator} {','.join(each.values)}".strip() for each in hold.conditions)
    return f"{'rows with ' + rows if rows else 'all rows'} of {days} of {'.'.join(_names(hold))}"


def _names(hold: Hold) -> Iterator[str]:
    if hold.schema_name is not None:
        yield hold.schema_name
    yield hold.table_name


def _is_in_force(config: Config, hold: Hold, now: datetime) -> bool:
    return any(in_force(hold, now, timezone) for timezone in {table.timezone for table in _tables(config, hold)} or {"UTC"})


def _row(config: Config, placed: PlacedHold, now: datetime) -> tuple[str, ...]:
    hold = placed.hold
    tables = ", ".join(table.label for table in _tables(config, hold)) or "none of the config"
    force = "yes" if _is_in_force(config, hold, now) else "no"
    return hold.id, placed.place, force, _words(hold), tables, _day(hold.expiration_date), hold.reason, hold.requestor or ""


def _day(value: date | None) -> str:
    return "forever" if value is None else value.isoformat()


def _facts(config: Config, placed: PlacedHold, now: datetime) -> Json:
    facts: dict[str, Json] = json.loads(placed.hold.model_dump_json())
    tables: list[Json] = [table.label for table in _tables(config, placed.hold)]
    return {**facts, "place": placed.place, "in_force": _is_in_force(config, placed.hold, now), "tables": tables}
