"""The `archiver` command, for what a person decides outside of Dagster.

What belongs here: reading arguments, calling the lifecycle, saying what was done. What does not: any step of the protocol.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from archiver_assets.config import Config, TableConfig, config_path, load_config
from archiver_assets.errors import ArchiverError, ConfigError
from archiver_assets.lifecycle.sources import accept_source
from archiver_assets.orchestration.resources import Services


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 done, 1 refused with an error and a hint; argparse exits with 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        config = load_config(options.config)
        print(_accept_source(config, _table(config, options)))
    except ArchiverError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="archiver", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--config", default=config_path(), help="the config file (default: $ARCHIVER_CONFIG, else %(default)s)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    accept = commands.add_parser(
        "accept-source",
        help="say that a table lives on the configured server and database from now on",
        description="Say that a table lives on the configured server and database from now on, after a deliberate move. Generations of the "
        "former source stay in the archive; rows that the table still holds are archived again before they are purged.",
    )
    accept.add_argument("--database", required=True, help="the label of the database in the config")
    accept.add_argument("--schema", default="public", help="the schema of the table (default: %(default)s)")
    accept.add_argument("--table", required=True, help="the name of the table")
    return parser


def _table(config: Config, options: argparse.Namespace) -> TableConfig:
    wanted = (options.database, options.schema, options.table)
    tables = {(table.database, table.schema_name, table.name): table for _, table in config.tables()}
    if wanted not in tables:
        message = f"expected a table of the config, found {'/'.join(wanted)}"
        raise ConfigError(message, hint=f"the config has: {', '.join('/'.join(each) for each in tables)}")
    return tables[wanted]


def _accept_source(config: Config, table: TableConfig) -> str:
    services = Services(config)
    keys = services.table_keys(table)
    accepted = accept_source(services.source(table), services.store, keys, at=datetime.now(UTC), run_id="archiver accept-source")
    if accepted is None:
        return f"{table.label}: the archive is of the configured source already; nothing was changed"
    return f"{table.label}: accepted system identifier {accepted.system_identifier}, database oid {accepted.database_oid}"
