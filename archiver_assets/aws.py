"""boto3 sessions that keep secrets out of the log.

What belongs here: creating a session. What does not: clients and their settings (`store/s3.py`, `source/tokens.py`).
"""

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from boto3.session import Session

_LOUD = ("botocore.auth", "botocore.endpoint", "botocore.parsers")
"""Loggers that at DEBUG write signed text with its signature, and complete requests and responses. These include a pod's token, and the
keys that STS issues for it."""


def new_session() -> "Session":
    """Return a new session, which looks up credentials again. From then on, no client in this process logs a secret at any level."""
    import boto3  # noqa: PLC0415 -- importing it costs 0.3 s, and the code location loads without it

    keep_quiet()
    return boto3.session.Session()


def keep_quiet() -> None:
    """Raise the loggers that would show secrets to INFO."""
    for name in _LOUD:
        logging.getLogger(name).setLevel(logging.INFO)
