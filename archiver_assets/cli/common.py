"""What all commands share: common options, choosing one table and days, and printing answers as text or as one JSON document.

What does not belong here: what any command does.
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
    """The values of the options that every command takes."""

    config_file: Path = field(default_factory=lambda: Path(config_path()))
    as_json: bool = False
    log_format: LogFormat = "text"

    def config(self) -> Config:
        """Read the config file. Raises ConfigError."""
        return load_config(self.config_file)


class Answer:
    """What a command prints on stdout: lines as they come, or with `--json` one document at the end."""

    def __init__(self, options: Options) -> None:
        self._silent = options.as_json
        self._facts: dict[str, Json] = {}

    def line(self, text: str) -> None:
        """Print a line, unless the answer is JSON."""
        if not self._silent:
            click.echo(visible(text))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows, unless the answer is JSON; without a terminal, columns are as wide as their widest value."""
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
        """Set a key of the JSON document."""
        self._facts[name] = value

    def end(self) -> None:
        """Print the JSON document, if `--json` was given."""
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
        help="Path of the config file.  [default: $ARCHIVER_CONFIG, else /etc/archiver/config.yaml]",
    ),
    click.option(
        "--json", "as_json", is_flag=True, default=None, expose_value=False, callback=_keep, help="Print one JSON document on stdout."
    ),
    click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        expose_value=False,
        callback=_keep,
        help="Format of the log on stderr.  [default: text]",
    ),
)


def common_options(body: Body) -> Body:
    """Add the options that every command takes, before or after its name. Their values are Click's object, an Options."""
    for option in reversed(_COMMON):
        body = option(body)
    return body


def table_options(body: Body) -> Body:
    """Add `--database`, `--schema` and `--table`, which name one table."""
    for option in (
        click.option("--table", required=True, help="Name of the table."),
        click.option("--schema", default="public", show_default=True, help="Schema of the table."),
        click.option("--database", required=True, help="Label of the database in the config."),
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
        raise ConfigError(message, hint="give the first day with --from and the last day with --to")
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def begin(options: Options) -> Answer:
    """Start the log in the format of `--log-format`, and an answer."""
    log_to(sys.stderr, options.log_format)
    return Answer(options)


def error_facts(error: ArchiverError) -> Json:
    """Return an error for a program."""
    return {"error": type(error).__name__, "message": error.message, "hint": error.hint, "transient": error.transient}
