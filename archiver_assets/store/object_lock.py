"""Object Lock: what a write requests, and whether the store reports that the object is locked.

What belongs here: the request's parameters, and the check of an answer. What does not: sending either (`s3.py`). A store that does not know
the parameters may silently ignore them, so the answer to a HEAD decides.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

LockMode = Literal["GOVERNANCE", "COMPLIANCE"]

SKEW: Final = timedelta(minutes=15)
"""How far this machine's clock may be off: the store refuses requests beyond that. It is added to each lock, so that none is too short."""


@dataclass(frozen=True)
class ObjectLock:
    """How long nobody may remove or replace a version: `length` from the start of its write."""

    mode: LockMode
    length: timedelta

    def at(self, now: datetime) -> "Retention":
        """Return the retention of an object whose write begins at `now`, an aware time of this machine's clock."""
        return Retention(self.mode, (now.astimezone(UTC) + self.length + SKEW).replace(microsecond=0))


@dataclass(frozen=True)
class Retention:
    """The lock of one object, until an instant in whole seconds."""

    mode: str
    until: datetime

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of the boto3 calls that begin a write."""
        return {"ObjectLockMode": self.mode, "ObjectLockRetainUntilDate": self.until}

    def is_met_by(self, found: "Retention | None") -> bool:
        """Return whether the store reports this mode, or COMPLIANCE, for at least the requested time; the added skew may be missing."""
        return found is not None and found.mode in {self.mode, "COMPLIANCE"} and found.until >= self.until - SKEW

    def __str__(self) -> str:
        """Return mode and end, for people."""
        return f"{self.mode} until {self.until.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def reported(answer: Mapping[str, Any]) -> Retention | None:
    """Return the retention that an answer to a HEAD reports."""
    mode, until = answer.get("ObjectLockMode"), answer.get("ObjectLockRetainUntilDate")
    return Retention(mode, until) if mode and until else None
