"""Options that narrow the tables and days of a command, which are all of them by default.

Options that name exactly one table are in `common.py`.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from archiver_assets.cli.common import DAY
from archiver_assets.config import Config, TableConfig
from archiver_assets.errors import ConfigError

Body = TypeVar("Body", bound=Callable[..., Any])


def tables_option(body: Body) -> Body:
    """Add `--database`, `--schema` and `--table`, each of which narrows the tables of the config."""
    for option in (
        click.option("--table", help="Only tables with this name.  [default: all]"),
        click.option("--schema", help="Only tables in this schema.  [default: all]"),
        click.option("--database", help="Only tables of the database with this label.  [default: all]"),
    ):
        body = option(body)
    return body


def days_options(body: Body) -> Body:
    """Add `--from` and `--to`, each of which narrows the days."""
    for option in (
        click.option("--to", "last", type=DAY, help="Last day, included.  [default: the newest]"),
        click.option("--from", "first", type=DAY, help="First day, YYYY-MM-DD.  [default: the oldest]"),
    ):
        body = option(body)
    return body


def choose_tables(config: Config, database: str | None, schema: str | None, table: str | None) -> list[TableConfig]:
    """Return the tables of these names, in the order of the file. Raises ConfigError if there is none."""
    wanted = (database, schema, table)
    every = [each for _, each in config.tables()]
    chosen = [each for each in every if all(want in {None, name} for want, name in zip(wanted, _names(each), strict=True))]
    if not chosen:
        said = " ".join(
            f"--{option} {name}" for option, name in zip(("database", "schema", "table"), wanted, strict=True) if name is not None
        )
        message = f"expected tables in the config that match {said}, found none"
        raise ConfigError(message, hint=f"choose one of: {', '.join(each.label for each in every)}")
    return chosen


def _names(table: TableConfig) -> tuple[str, str, str]:
    return table.database, table.schema_name, table.name
