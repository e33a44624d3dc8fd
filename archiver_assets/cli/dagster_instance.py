"""Dagster's instance, where there is one: `DAGSTER_HOME`, or `--dagster-home`.

What belongs here: opening it. What does not: what is recorded there.
"""

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
        help="The folder with the dagster.yaml of Dagster's instance.  [default: $DAGSTER_HOME, if it is set]",
    )(body)


@contextmanager
def open_instance(home: Path | None) -> "Iterator[DagsterInstance | None]":
    """Open the instance of that folder; None where no folder is named. Raises ConfigError if it cannot be opened."""
    if home is None:
        yield None
        return
    import dagster as dg  # noqa: PLC0415 -- importing it takes 1.4 s, which only those pay who have an instance

    os.environ.setdefault("PGCONNECT_TIMEOUT", _CONNECT_SECONDS)  # Dagster's own storage would wait for ever for a host that is silent
    try:
        instance = dg.DagsterInstance.from_config(str(home.absolute()))
    except Exception as error:  # the boundary to Dagster and whatever storage its config names, whose errors have no common root
        found = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        message = f"expected a Dagster instance in {home}, found: {found}"
        hint = "correct dagster.yaml and the variables that it names, see that its storage answers, or unset DAGSTER_HOME to do without"
        raise ConfigError(message, hint=hint) from error
    with instance:
        yield instance
