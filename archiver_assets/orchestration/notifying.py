"""The sensor that tells people of failures.

What belongs here: from a config to the sensor. What does not: what is told, to whom and when (`telemetry/`).
See https://docs.dagster.io/guides/automate/sensors.
"""

import dagster as dg

from archiver_assets.config import Config
from archiver_assets.telemetry.delivery import AppriseDelivery
from archiver_assets.telemetry.events import EventLog
from archiver_assets.telemetry.notifier import Notifier


def notifications_sensor(config: Config) -> dg.SensorDefinition | None:
    """Return the sensor `notifications_sensor`; None if the config names no target. Its ticks say what they did as their skip reason."""
    if not config.notifications.targets:
        return None
    passwords = [database.password_env for database in config.databases if database.password_env]
    secrets = passwords + [target.url_env for target in config.notifications.targets]
    delivery = AppriseDelivery(secrets=(*secrets, "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"))

    @dg.sensor(
        name="notifications_sensor",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells the targets of the config of failed runs and checks, one message for each database and kind of failure.",
    )
    def notify(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        tick = Notifier(config.notifications, EventLog(context.instance, config), delivery).tick(context.cursor)
        # After the messages: a tick that dies in between sends them again, and loses none.
        context.update_cursor(tick.cursor)
        return dg.SkipReason(tick.said)

    return notify
