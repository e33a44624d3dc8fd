"""The `archiver` group: finds commands by name, and turns their errors into messages and exit statuses.

What belongs here: the list of commands and the handling of their errors. What does not: any command. Modules of commands
are imported when they are called, because some take a second to import.
"""

import importlib
import logging
import sys
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import click

from archiver_assets.cli.common import Options, common_options, error_facts
from archiver_assets.errors import ArchiverError, ConfigError
from archiver_assets.memory import give_memory_back
from archiver_assets.telemetry.lines import log_to
from archiver_assets.untrusted_text import json_text, visible

COMMANDS = (
    "init",
    "validate",
    "roles",
    "doctor",
    "plan",
    "run",
    "status",
    "list",
    "verify",
    "query",
    "hold",
    "restore",
    "accept-source",
    "reconcile",
    "metrics",
)
"""In the order of the help. Each is the attribute `command` of the module of its name."""


class Status(IntEnum):
    """The exit statuses of every command, as docs/reference/cli.md has them."""

    DONE = 0
    """Done."""
    FAILED = 1
    """Refused or failed. The message explains why and gives the next step."""
    USAGE = 2
    """Wrong options or an invalid config. Nothing was started."""
    TRY_AGAIN = 3
    """Temporary failure; retrying may succeed."""
    FOUND = 4
    """The command completed and found a problem."""
    INTERRUPTED = 130
    """Interrupted by Ctrl-C (or SIGTERM for `run`)."""


class Commands(click.Group):
    """The commands, and how their errors are reported."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002, D102 - click's own signature and contract
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002, D102 - as above
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = importlib.import_module(f"archiver_assets.cli.{cmd_name.replace('-', '_')}").command
        return found

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401, D102 - click's own
        options = ctx.ensure_object(Options)
        try:
            return super().invoke(ctx)
        except ArchiverError as error:
            ctx.exit(_report(error, options))
        except click.UsageError as error:
            raise click.UsageError(visible(error.format_message()), error.ctx) from error
        except KeyboardInterrupt:
            _print("interrupted; committed work is kept, and the same command continues from there", options)
            ctx.exit(Status.INTERRUPTED)


def _report(error: ArchiverError, options: Options) -> Status:
    if options.as_json:
        click.echo(json_text(error_facts(error)))
    else:
        _print(f"error: {error}", options)
    return Status.USAGE if isinstance(error, ConfigError) else Status.TRY_AGAIN if error.transient else Status.FAILED


def _print(text: str, options: Options) -> None:
    if options.log_format == "json":
        log_to(sys.stderr, "json")
        logging.getLogger("archiver").error("%s", text)
    else:
        click.echo(visible(text), err=True)


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 140})
@common_options
@click.version_option(package_name="audit-archiver", prog_name="archiver")
def archiver() -> None:
    """Move expired rows of PostgreSQL audit tables to S3-compatible storage, prove that they are there, and only then delete them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    give_memory_back()
    try:
        archiver.main(arguments, prog_name="archiver")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else Status.FAILED
