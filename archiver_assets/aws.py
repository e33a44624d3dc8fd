"""Sessions of boto3, whose logs show no secret.

What belongs here: making one. What does not: clients and their settings (`store/s3.py`, `source/tokens.py`).
"""

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from boto3.session import Session

_LOUD = ("botocore.auth", "botocore.endpoint", "botocore.parsers")
"""Loggers that at DEBUG write what is signed with its signature, and requests and answers whole: among these are a pod's token, and the
keys that STS gives for it."""


def new_session() -> "Session":
    """Return a session of its own: credentials are looked up anew. From then on no client of this process logs a secret, at any level."""
    import boto3  # noqa: PLC0415 -- importing it costs 0.3 s, and the code location loads without it

    keep_quiet()
    return boto3.session.Session()


def keep_quiet() -> None:
    """Let what would show secrets log nothing below INFO."""
    for name in _LOUD:
        logging.getLogger(name).setLevel(logging.INFO)
