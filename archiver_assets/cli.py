"""The `archiver` command, for what a person decides outside of Dagster.

What belongs here: reading arguments, calling the lifecycle, saying what was done. What does not: any step of the protocol.
"""

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from uuid import uuid4

from archiver_assets.config import Config, TableConfig, config_path, load_config
from archiver_assets.errors import ArchiverError, ConfigError
from archiver_assets.lifecycle.restore import restore
from archiver_assets.lifecycle.restore_request import Conflict, Drift, Restored, RestoreRequest, Triggers, Versions
from archiver_assets.lifecycle.sources import accept_source
from archiver_assets.orchestration.resources import Services


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 done, 1 refused with an error and a hint; argparse exits with 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        config = load_config(options.config)
        for line in options.run(config, config.table(options.database, options.schema, options.table), options):
            print(line, flush=True)
    except ArchiverError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="archiver", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--config", default=config_path(), help="the config file (default: $ARCHIVER_CONFIG, else %(default)s)")
    table = argparse.ArgumentParser(add_help=False)
    table.add_argument("--database", required=True, help="the label of the database in the config")
    table.add_argument("--schema", default="public", help="the schema of the table (default: %(default)s)")
    table.add_argument("--table", required=True, help="the name of the table")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    accept = commands.add_parser(
        "accept-source",
        parents=[table],
        help="say that a table lives on the configured server and database from now on",
        description="Say that a table lives on the configured server and database from now on, after a deliberate move. Generations of the "
        "former source stay in the archive; rows that the table still holds are archived again before they are purged.",
    )
    accept.set_defaults(run=_accept_source)
    _add_restore(commands.add_parser("restore", parents=[table], help="load archived days back into a table"))
    return parser


def _add_restore(parser: argparse.ArgumentParser) -> None:
    default = RestoreRequest()
    parser.description = (
        "Load archived days back into a table, one transaction for each generation, compared by the server before it commits."
    )
    parser.add_argument("--from", dest="first", type=date.fromisoformat, required=True, metavar="DAY", help="the first day, YYYY-MM-DD")
    parser.add_argument("--to", dest="last", type=date.fromisoformat, metavar="DAY", help="the last day, included (default: the first)")
    parser.add_argument("--target-table", help="the table to restore into (default: a table {T}_restored is made, and added to)")
    parser.add_argument("--target-schema", help="its schema (default: that of the archived table)")
    parser.add_argument("--column", dest="columns", action="append", default=[], metavar="NAME", help="restore only this one and the key")
    parser.add_argument(
        "--generation",
        dest="generations",
        action="append",
        type=int,
        default=[],
        metavar="N",
        help="restore only this one, as if there were no others, such as a good one below a damaged one",
    )
    choices: dict[str, tuple[type[StrEnum], str]] = {
        "conflict": (Conflict, "what becomes of another row under an archived key"),
        "drift": (Drift, "what becomes of a target of another shape"),
        "triggers": (Triggers, "what triggers on INSERT of the target do"),
        "versions": (Versions, "which archived versions of a key; all of them have _xmin in their key"),
    }
    for name, (choice, what) in choices.items():
        values = [each.value for each in choice]
        parser.add_argument(f"--{name}", type=choice, choices=values, default=values[0], help=f"{what} (default: %(default)s)")
    parser.add_argument(
        "--hold-days", type=int, default=default.hold_days, help="hold rows of the table itself so long (default: %(default)s)"
    )
    parser.add_argument("--dry-run", action="store_true", help="load, compare and roll back; say what would be restored")
    parser.set_defaults(run=_restore)


def _accept_source(config: Config, table: TableConfig, _: argparse.Namespace) -> Iterator[str]:
    services = Services(config)
    keys = services.table_keys(table)
    accepted = accept_source(services.source(table), services.store, keys, at=datetime.now(UTC), run_id="archiver accept-source")
    if accepted is None:
        yield f"{table.label}: the archive is of the configured source already; nothing was changed"
    else:
        yield f"{table.label}: accepted system identifier {accepted.system_identifier}, database oid {accepted.database_oid}"


def _restore(config: Config, table: TableConfig, options: argparse.Namespace) -> Iterator[str]:
    request = RestoreRequest(
        table_name=options.target_table,
        schema_name=options.target_schema,
        columns=tuple(options.columns),
        conflict=options.conflict,
        drift=options.drift,
        triggers=options.triggers,
        versions=options.versions,
        generations=tuple(options.generations),
        dry_run=options.dry_run,
        hold_days=options.hold_days,
    )
    last = options.last or options.first
    if last < options.first:
        message = f"expected --to on or after --from, found {options.first} to {last}"
        raise ConfigError(message, hint="give the first day with --from and the last one with --to")
    services, run_id = Services(config), f"archiver restore {uuid4()}"
    for number in range((last - options.first).days + 1):
        day = (options.first + timedelta(days=number)).isoformat()
        yield _report(f"{table.label} {day}", restore(services.task(table, day, run_id), request))


def _report(what: str, restored: Restored) -> str:
    tally = restored.tally
    counts = f"{tally.loaded:,} rows loaded, {tally.present:,} there before, {tally.skipped:,} skipped, {tally.overwritten:,} overwritten"
    lines = [f"{what} into {restored.target}: {restored.outcome}, {counts}, {tally.superseded:,} older versions left out"]
    lines += [f"  {line}" for line in restored.drift]
    lines += [f"  sequence {name} moved on past the restored numbers" for name in restored.sequences]
    lines += [f"  held from the next purge by {restored.hold}"] if restored.hold else []
    return "\n".join(lines)
