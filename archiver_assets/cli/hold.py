"""`archiver hold add|list|remove`: legal holds, as objects in the bucket.

What belongs here: the commands, and what a hold says, in words. What does not: what a hold means (`config/legal.py`), and what it keeps
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
    f'operators are {", ".join(_OPERATORS)}; other columns and values as JSON: {{"column": "a b", "operator": "=", "values": ["1,2"]}}'
)


@click.group("hold", short_help="Place, list and remove legal holds.")
@common_options
def command() -> None:
    """Legal holds: rows that no purge may delete. They are placed in the bucket; all places of them are listed."""


@command.command("add", short_help="Place a hold in the bucket.")
@click.argument("hold_id", metavar="ID")
@click.option("--table", "table_name", required=True, help="The table, as name or schema.name, in every database.")
@click.option("--schema", "schema_name", help="Its schema.  [default: all]")
@click.option("--reason", required=True, help="Why the rows are held.")
@click.option("--requestor", help="Who asked for it.")
@click.option("--from", "first_day", type=DAY, help="The first day of the rows held.  [default: no limit]")
@click.option("--to", "last_day", type=DAY, help="The last day of the rows held, included.  [default: no limit]")
@click.option("--start", "start_date", help="The day or RFC 3339 time from which it is in force.  [default: always]")
@click.option("--expires", "expiration_date", help="The last day, included, or the time until which it is in force.  [default: for ever]")
@click.option(
    "--condition",
    "conditions",
    multiple=True,
    metavar="CONDITION",
    help="Only rows with it, such as 'office = Graz' or 'actor is null' or 'office in Graz,Linz'; or as JSON. More than once: all of them.",
)
@click.option(
    "--unchecked", is_flag=True, help="Do not ask the databases of the tables whether they understand it, and how many rows it keeps."
)
@common_options
@click.pass_obj
def add(options: Options, /, hold_id: str, unchecked: bool, conditions: tuple[str, ...], **said: Any) -> None:  # noqa: ANN401, FBT001 - click's
    """Place the hold ID in the bucket. It never replaces one: a hold that is to be another gets another id."""
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
            message, hint="look at it with archiver hold list; to hold more, or longer, place one with another id"
        ) from error
    answer.fact("object", services.store.uri(key))
    answer.fact("rows_kept_now", rows)
    answer.line(f"placed {services.store.uri(key)}: {_words(hold)}")
    for label, number in rows.items():
        answer.line(f"  {label}: it keeps {number:,} rows of days that are expired")
    if not tables:
        answer.line("  warning: no table of the config has this name; it holds nothing here")
    answer.end()


@command.command("list", short_help="List the holds of all places.")
@common_options
@click.pass_obj
def list_all(options: Options, /) -> None:
    """List the holds of the config, the bucket and the table of holds, and whether they are in force by this machine's clock."""
    answer, config = begin(options), options.config()
    placed, now = Services(config).hold_places().everywhere(), datetime.now(UTC)
    rows = [_row(config, each, now) for each in placed]
    answer.fact("holds", [_facts(config, each, now) for each in placed])
    if rows:
        answer.table(("id", "place", "in force", "holds", "tables", "until", "reason", "requestor"), rows)
    answer.line(f"{len(rows)} holds")
    answer.end()


@command.command("remove", short_help="Remove a hold from the bucket.")
@click.argument("hold_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common_options
@click.pass_obj
@click.pass_context
def remove(ctx: click.Context, options: Options, /, hold_id: str, yes: bool) -> None:  # noqa: FBT001 - click's
    """Remove the hold ID from the bucket, having said what can be purged then. Where versions are kept, it can still be read."""
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
        message = "expected --yes, as there is no terminal to ask at, found none"
        raise ConfigError(message, hint="add --yes if the hold is to be removed; nothing was removed")
    return click.confirm("Remove it?")


def _in_bucket(services: Services, hold_id: str) -> Hold:
    """Return the hold of that id that lies in the bucket. Raises ObjectMissing, which says where else it is."""
    found = [each for each in services.hold_places().everywhere() if each.hold.id == hold_id]
    for each in found:
        if each.place == "bucket":
            return each.hold
    elsewhere = ", ".join(sorted({f"the {each.place}" for each in found}))
    message = f"expected the hold {hold_id!r} in the bucket, found {f'it in {elsewhere}' if found else 'none'}"
    hint = f"remove it from {elsewhere}, where it stands" if found else "archiver hold list names all of them"
    raise ObjectMissing(message, hint=hint)


def _released(services: Services, table: TableConfig, hold: Hold) -> tuple[int | None, str]:
    """Return how many rows nothing keeps any more without the hold; None, and why, where the database cannot be asked."""
    try:
        kept = kept_by(services.source(table), table, services.hold_places(), hold)
    except ArchiverError as error:
        return None, f"cannot be asked what would be released: {error.message}"
    return kept.alone, f"{kept.alone:,} rows of expired days can be purged then; it keeps {kept.rows:,}"


def _tables(config: Config, hold: Hold) -> list[TableConfig]:
    return [table for _, table in config.tables() if hold.names(table.schema_name, table.name)]


def _hold(said: dict[str, object]) -> Hold:
    try:
        return Hold.model_validate({name: value for name, value in said.items() if value is not None})
    except ValidationError as error:
        message = f"expected a legal hold, found: {why_invalid(error)}"
        raise ConfigError(message, hint="correct it; nothing was placed") from error


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
    return "for ever" if value is None else value.isoformat()


def _facts(config: Config, placed: PlacedHold, now: datetime) -> Json:
    facts: dict[str, Json] = json.loads(placed.hold.model_dump_json())
    tables: list[Json] = [table.label for table in _tables(config, placed.hold)]
    return {**facts, "place": placed.place, "in_force": _is_in_force(config, placed.hold, now), "tables": tables}
