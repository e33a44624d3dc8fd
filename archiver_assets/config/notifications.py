"""Notifications: the models.

What belongs here: who is notified of what, and how often at most. What does not: the URLs of the targets, which are secrets and stay in the
environment, and sending (`telemetry/`).
"""

import os
from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import AfterValidator, Field, SecretStr

from archiver_assets.config.base import Model
from archiver_assets.config.fields import Cron, Listed, PathPart, Url, VariableName, refusal
from archiver_assets.errors import ConfigError

MOST_TARGETS: Final = 20


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) != len(names):
        reason = "a database is named twice"
        raise refusal(reason)
    return names


class NotificationTarget(Model):
    """One place that messages go to. Its URL is not here: `url()` reads it when a message is sent."""

    name: PathPart = Field(description="the name of the target in messages about it, at most 63 bytes")
    url_env: VariableName = Field(
        description="the name of the environment variable that holds the target's URL in Apprise's form: letters, digits, _"
    )
    databases: Annotated[tuple[PathPart, ...], Listed, AfterValidator(_distinct)] | None = Field(
        default=None, min_length=1, description="a list of labels of the databases whose failures are sent to the target, or null for all"
    )
    min_interval_minutes: int = Field(
        default=60,
        ge=1,
        le=10_080,
        description="a whole number of minutes, 1 to 10080, between two messages to the target about the same problem",
    )
    digest: Cron | None = Field(
        default=None,
        description='a cron expression of five fields, in UTC, such as "0 7 * * *", for a summary; or null for none',
    )

    def wants(self, database: str | None) -> bool:
        """Tell whether the target is told of a database's failures; None stands for a failure of no database, which all are told of."""
        return self.databases is None or database is None or database in self.databases

    def url(self, environ: Mapping[str, str] = os.environ) -> SecretStr:
        """Return the URL that the variable `url_env` holds in `environ`.

        Raises ConfigError if the variable is not set, or empty.
        """
        value = environ.get(self.url_env)
        if not value:
            message = f"target {self.name}: expected its URL in the environment variable {self.url_env}, found none"
            raise ConfigError(message, hint=f"set {self.url_env} in the environment of the code server, in Kubernetes from a Secret")
        return SecretStr(value)


class Notifications(Model):
    """Who is notified of failures."""

    base_url: Url | None = Field(
        default=None, description="the http or https URL of Dagster's UI, for links in messages, or null for no links"
    )
    targets: Annotated[tuple[NotificationTarget, ...], Listed] = Field(
        default=(), max_length=MOST_TARGETS, description="a list of at most 20 targets; without targets nothing is sent"
    )
