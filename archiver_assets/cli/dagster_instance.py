"""Dagster's instance, where there is one: `DAGSTER_HOME`, or `--dagster-home`.

What belongs here: finding it and opening it. What does not: what is recorded there.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import dagster as dg

from archiver_assets.errors import ConfigError

Body = TypeVar("Body", bound=Callable[..., Any])


def dagster_home_option(body: Body) -> Body:
    """Add `--dagster-home`."""
    return click.option(
        "--dagster-home",
        "home",
        type=click.Path(path_type=Path),
        help="The folder of dagster.yaml, of the instance that runs are recorded in.  [default: $DAGSTER_HOME]",
    )(body)


def open_instance(home: Path | None) -> dg.DagsterInstance | None:
    """Return the instance, to be closed by its `with`; None if none was named. Raises ConfigError for a folder that is not there."""
    named = home or Path(os.environ.get("DAGSTER_HOME") or "")
    if named == Path():
        return None
    if not named.is_dir():
        message = f"expected Dagster's home to be a folder, found none at {named}"
        raise ConfigError(message, hint="correct --dagster-home or DAGSTER_HOME, or unset it to run without a record")
    return dg.DagsterInstance.from_config(str(named.absolute()))


def require_instance(home: Path | None) -> dg.DagsterInstance:
    """Return the instance. Raises ConfigError if none was named."""
    instance = open_instance(home)
    if instance is None:
        message = "expected Dagster's home in the environment variable DAGSTER_HOME or in --dagster-home, found neither"
        raise ConfigError(message, hint="name the folder of dagster.yaml, with the variables that it reads set")
    return instance
