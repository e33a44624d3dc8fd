"""`archiver metrics`: serves metrics from Dagster's storage to Prometheus, until it is stopped.

What belongs here: the command. What does not: what is counted, and serving it (`telemetry/`).
"""

import signal
from pathlib import Path

import click

from archiver_assets.cli.app import Status
from archiver_assets.cli.common import Options, begin, common_options
from archiver_assets.cli.dagster_instance import instance_option, open_instance
from archiver_assets.cli.formatting import plural
from archiver_assets.config import Config
from archiver_assets.config.load import DEFAULT_PATH
from archiver_assets.errors import ConfigError

_LAST_PORT = 65_535


@click.command("metrics", short_help="Serve metrics for Prometheus.")
@click.option(
    "--port", type=click.IntRange(0, _LAST_PORT), default=9464, show_default=True, help="Port to listen on; 0 chooses a free port."
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. A container needs 0.0.0.0, or :: for IPv6. Requests need no password.",
)
@instance_option
@common_options
@click.pass_obj
@click.pass_context
def command(ctx: click.Context, options: Options, /, port: int, host: str, dagster_home: Path | None) -> None:
    """Serve /metrics and /healthz from the storage of the Dagster instance, until SIGTERM.

    With a config, the metrics cover its tables from the start. Without a config, they cover all tables that the storage knows.
    """
    answer, config = begin(options), _config_if_any(options)
    with open_instance(dagster_home) as instance:
        if instance is None:
            message = "expected a Dagster instance to read the metrics from, found none"
            raise ConfigError(message, hint="set DAGSTER_HOME or --dagster-home")
        from archiver_assets.telemetry.exporter import Exporter, serving  # noqa: PLC0415 -- imports Dagster, see open_instance
        from archiver_assets.telemetry.log_follower import Keeper  # noqa: PLC0415 -- as above
        from archiver_assets.telemetry.subjects import Subjects  # noqa: PLC0415 -- as above

        before = signal.signal(signal.SIGTERM, lambda _signal, _frame: ctx.exit(Status.DONE))
        try:
            with serving(Exporter(Keeper(instance, Subjects(config))), host, port) as address:
                tables = _described(config, options)
                answer.line(f"serving {address}/metrics and {address}/healthz, for {tables}")
                answer.fact("address", address)
                answer.end()
                while True:
                    signal.pause()
        finally:
            signal.signal(signal.SIGTERM, before)


def _config_if_any(options: Options) -> Config | None:
    """Return the config; None if no path is given and the default one does not exist."""
    unnamed = options.config_file == Path(DEFAULT_PATH)
    return None if unnamed and not options.config_file.exists() else options.config()


def _described(config: Config | None, options: Options) -> str:
    return f"{plural(sum(1 for _ in config.tables()), 'table')} of {options.config_file}" if config else "all tables in the storage"
