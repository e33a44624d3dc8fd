"""What all commands share: the options that each of them takes, how they choose a table and days, and how they answer.

What belongs here: those options, and the two forms of an answer: text for people, one JSON document for programs. What does not: what any
command does.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click
from rich import box
from rich.console import Console
from rich.table import Column, Table

from archiver_assets.config import Config, config_path, load_config
from archiver_assets.errors import ArchiverError, ConfigError
from archiver_assets.telemetry.lines import LogFormat, log_to
from archiver_assets.untrusted_text import json_text, visible

Body = TypeVar("Body", bound=Callable[..., Any])
Json = Mapping[str, "Json"] | Sequence["Json"] | str | int | float | bool | None


@dataclass
class Options:
    """What was said of the options that every command takes."""

    config_file: Path = field(default_factory=lambda: Path(config_path()))
    as_json: bool = False
    log_format: LogFormat = "text"

    def config(self) -> Config:
        """Read the config file. Raises ConfigError."""
        return load_config(self.config_file)


class Answer:
    """What a command says on stdout: lines as they come, or with `--json` only one document, at the end."""

    def __init__(self, options: Options) -> None:
        self._silent = options.as_json
        self._facts: dict[str, Json] = {}

    def line(self, text: str) -> None:
        """Say a line to a person."""
        if not self._silent:
            click.echo(visible(text))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show rows to a person; those of another place than a terminal get as wide as they are."""
        if self._silent:
            return
        shown = Table(
            *(Column(visible(name), overflow="fold") for name in columns), box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True
        )
        for row in rows:
            shown.add_row(*map(visible, row))
        wide = None if sys.stdout.isatty() else 10_000
        Console(file=sys.stdout, markup=False, highlight=False, emoji=False, width=wide).print(shown)

    def fact(self, name: str, value: Json) -> None:
        """Say something to a program."""
        self._facts[name] = value

    def end(self) -> None:
        """Print the document, if it is one that was asked for."""
        if self._silent:
            click.echo(json_text(self._facts))


def _keep(ctx: click.Context, param: click.Parameter, value: object) -> None:
    if value is not None and param.name is not None:
        setattr(ctx.ensure_object(Options), param.name, value)


_COMMON = (
    click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path),
        expose_value=False,
        callback=_keep,
        help="The config file.  [default: $ARCHIVER_CONFIG, else /etc/archiver/config.yaml]",
    ),
    click.option(
        "--json", "as_json", is_flag=True, default=None, expose_value=False, callback=_keep, help="Answer with one JSON document on stdout."
    ),
    click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        expose_value=False,
        callback=_keep,
        help="The form of the log, which goes to stderr.  [default: text]",
    ),
)


def common_options(body: Body) -> Body:
    """Add the options that every command takes, and that may stand in front of its name too. Click's object has them, as Options."""
    for option in reversed(_COMMON):
        body = option(body)
    return body


def table_options(body: Body) -> Body:
    """Add `--database`, `--schema` and `--table`, all of one table."""
    for option in (
        click.option("--table", required=True, help="The name of the table."),
        click.option("--schema", default="public", show_default=True, help="The schema of the table."),
        click.option("--database", required=True, help="The label of the database in the config."),
    ):
        body = option(body)
    return body


class DayType(click.ParamType[date]):
    """A day, written as the key of its partition."""

    name = "day"

    def convert(self, value: str | date, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Return the day."""
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(value)
        except ValueError:
            self.fail(f"expected a day as YYYY-MM-DD, found {value!r}", param, ctx)


DAY = DayType()


def days_between(first: date, last: date) -> list[date]:
    """Return the days from `first` to `last`, both included. Raises ConfigError if they are in the wrong order."""
    if last < first:
        message = f"expected --to on or after --from, found {first} to {last}"
        raise ConfigError(message, hint="give the first day with --from and the last one with --to")
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def begin(options: Options) -> Answer:
    """Begin the log, as it was asked for, and an answer."""
    log_to(sys.stderr, options.log_format)
    return Answer(options)


def error_facts(error: ArchiverError) -> Json:
    """Return an error for a program."""
    return {"error": type(error).__name__, "message": error.message, "hint": error.hint, "transient": error.transient}
