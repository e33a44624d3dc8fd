"""Sending a message to a target with Apprise: https://github.com/caronc/apprise.

What belongs here: Apprise, its time limits, and keeping its logs silent. What does not: the messages, and when they are sent.

The URL of a target is a secret. Apprise logs parts of URLs that it cannot use, and urllib3 logs the paths of requests. So both are silent
while a message is sent, whatever the level of their loggers. Of their output only the status of an answer is kept.
"""

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final, Protocol

from archiver_assets.config import NotificationTarget
from archiver_assets.errors import ConfigError
from archiver_assets.telemetry.messages import Message

TIME_LIMIT: Final = 10.0
"""Seconds for one message: the name's lookup, the connection and the answer together."""

_LOUD: Final = ("apprise", "urllib3.connectionpool", "urllib3.util.retry", "requests", "charset_normalizer")
_STATUS: Final = re.compile(r"\berror=([1-5][0-9]{2})\b")
_statuses: ContextVar[list[str] | None] = ContextVar("statuses", default=None)


class Delivery(Protocol):
    """Sends messages."""

    def send(self, target: NotificationTarget, message: Message) -> str | None:
        """Send the message, and return None, or why it could not be sent: words without anything of the target's URL. Raises nothing."""


@dataclass(frozen=True)
class AppriseDelivery:
    """Delivery by Apprise, to the URLs that are in `environ`. `secrets` are the names of variables whose values no message may hold."""

    secrets: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    time_limit: float = TIME_LIMIT

    def send(self, target: NotificationTarget, message: Message) -> str | None:
        """Send the message, and return None, or why it could not be sent."""
        try:
            url = target.url(self.environ).get_secret_value()
        except ConfigError as error:
            return error.message.removeprefix(f"target {target.name}: ")
        with _silence() as statuses:
            try:
                return self._notify(url, target, message, statuses)
            except Exception as error:  # noqa: BLE001 -- the code of a hundred services: if one raises, the others are told all the same
                return f"Apprise raised {type(error).__name__}"

    def _notify(self, url: str, target: NotificationTarget, message: Message, statuses: list[str]) -> str | None:
        import apprise  # noqa: PLC0415 -- importing it takes 0.2 s, which every run pod would pay

        asset = apprise.AppriseAsset(app_id="Audit Archiver", app_desc="Audit Archiver", app_url="", async_mode=False, image_url_mask="")
        service = apprise.Apprise.instantiate(url, asset=asset)
        if service is None:
            return _not_known(target)
        sender = apprise.Apprise(asset=asset)
        sender.add(service)
        result = sender.notify(
            title=self._without_secrets(message.title),
            body=self._without_secrets(message.text),
            notify_type=apprise.NotifyType(message.mood),
            body_format=apprise.NotifyFormat.TEXT,
            timeout=self.time_limit,
        )
        if result:
            return None
        return (
            f"it answered {statuses[-1]}" if statuses else f"it could not be reached within {self.time_limit:.0f} s, or accepted no message"
        )

    def _without_secrets(self, text: str) -> str:
        for name in self.secrets:
            value = self.environ.get(name, "")
            text = text.replace(value, "***") if value else text
        return text


def url_problem(target: NotificationTarget, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return why nothing could be sent to the target, as far as its URL tells; None if it is one that Apprise knows. Sends nothing."""
    import apprise  # noqa: PLC0415 -- as above

    try:
        url = target.url(environ).get_secret_value()
    except ConfigError as error:
        return error.message.removeprefix(f"target {target.name}: ")
    with _silence():
        try:
            known = apprise.Apprise.instantiate(url) is not None
        except Exception as error:  # noqa: BLE001 -- as in `send`
            return f"Apprise raised {type(error).__name__}"
    return None if known else _not_known(target)


def _not_known(target: NotificationTarget) -> str:
    return f"the variable {target.url_env} does not hold a URL that Apprise knows"


class _Silence(logging.Filter):
    """Drops what is logged while a message is sent, in the threads that send it, and keeps the status of an answer."""

    def filter(self, record: logging.LogRecord) -> bool:
        statuses = _statuses.get()
        if statuses is None:
            return True
        statuses += _STATUS.findall(record.getMessage())
        return False


_SILENCE: Final = _Silence()


@contextmanager
def _silence() -> Iterator[list[str]]:
    for name in _LOUD:
        logging.getLogger(name).addFilter(_SILENCE)  # once: a filter that is there is not added again
    statuses: list[str] = []
    token = _statuses.set(statuses)
    try:
        yield statuses
    finally:
        _statuses.reset(token)
