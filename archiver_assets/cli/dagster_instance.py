"""Opens the Dagster instance of `--dagster-home` or `DAGSTER_HOME`, if there is one."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from archiver_assets.errors import ConfigError

if TYPE_CHECKING:
    from dagster import DagsterInstance

_CONNECT_SECONDS = "10"
Body = TypeVar("Body", bound=Callable[..., Any])


def instance_option(body: Body) -> Body:
    """Add `--dagster-home`."""
    return click.option(
        "--dagster-home",
        type=click.Path(path_type=Path),
        envvar="DAGSTER_HOME",
        help="Folder with the dagster.yaml of the Dagster instance.  [default: $DAGSTER_HOME, if set]",
    )(body)


@contextmanager
def open_instance(home: Path | None) -> "Iterator[DagsterInstance | None]":
    """Open the instance of that folder; yield None without a folder. Raises ConfigError if it cannot be opened."""
    if home is None:
        yield None
        return
    import dagster as dg  # noqa: PLC0415 -- importing it takes 1.4 s, which only those pay who have an instance

    os.environ.setdefault("PGCONNECT_TIMEOUT", _CONNECT_SECONDS)  # Dagster's own storage would wait forever for a host that does not answer
    try:
        instance = dg.DagsterInstance.from_config(str(home.absolute()))
    except Exception as error:  # the boundary to Dagster and whatever storage its config names, whose errors have no common root
        found = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        message = f"expected a Dagster instance in {home}, found: {found}"
        hint = "correct dagster.yaml and its variables, check that its storage is reachable, or unset DAGSTER_HOME to run without it"
        raise ConfigError(message, hint=hint) from error
    with instance:
        yield instance
