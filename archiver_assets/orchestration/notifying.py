"""The sensor that notifies people of failures.

What belongs here: from a config to the sensor. What does not: the messages, their recipients and their times (`telemetry/`).
See https://docs.dagster.io/guides/automate/sensors.
"""

from collections.abc import Iterator

import dagster as dg

from archiver_assets.config import Config
from archiver_assets.telemetry.delivery import AppriseDelivery
from archiver_assets.telemetry.events import EventLog
from archiver_assets.telemetry.notifier import Notifier


def secret_variables(config: Config) -> Iterator[str]:
    """Yield the names of the variables that the config says to hold secrets."""
    for database in config.databases:
        for each in (database, database.scratch_database):
            if each and each.password_env:
                yield each.password_env
    for target in config.notifications.targets:
        yield target.url_env


def notifications_sensor(config: Config) -> dg.SensorDefinition | None:
    """Return the sensor `notifications_sensor`; None if the config names no target. Its ticks say what they did as their skip reason."""
    if not config.notifications.targets:
        return None
    delivery = AppriseDelivery(secrets=(*secret_variables(config), "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "DAGSTER_PG_PASSWORD"))

    @dg.sensor(
        name="notifications_sensor",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Notifies the targets in the config of failed runs and checks, with one message for each database and kind of failure.",
    )
    def notify(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        tick = Notifier(config.notifications, EventLog(context.instance, config), delivery).tick(context.cursor)
        # After the messages: a tick that dies in between sends them again, and loses none.
        context.update_cursor(tick.cursor)
        return dg.SkipReason(tick.said)

    return notify
