"""Object Lock: what a write asks for, and whether the store says that it did it.

What belongs here: the request's parameters and the judgement of an answer. What does not: sending either (`s3.py`). A store that does not
know the parameters may ignore them without a word, so the answer to a HEAD decides.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

LockMode = Literal["GOVERNANCE", "COMPLIANCE"]

SKEW: Final = timedelta(minutes=15)
"""How far this machine's clock may be off the store's: it refuses requests beyond that. So no lock is shorter than asked by its clock."""


@dataclass(frozen=True)
class ObjectLock:
    """How long nobody may remove or replace a version: `length` from the moment at which its write begins."""

    mode: LockMode
    length: timedelta

    def at(self, now: datetime) -> "Retention":
        """Return the retention of an object whose write begins `now`, an aware time of this machine's clock."""
        return Retention(self.mode, (now.astimezone(UTC) + self.length + SKEW).replace(microsecond=0))


@dataclass(frozen=True)
class Retention:
    """What one object is locked with, until an instant of whole seconds."""

    mode: str
    until: datetime

    @property
    def options(self) -> dict[str, Any]:
        """The keywords of boto3's calls that begin a write."""
        return {"ObjectLockMode": self.mode, "ObjectLockRetainUntilDate": self.until}

    def is_met_by(self, found: "Retention | None") -> bool:
        """Tell whether what a store reports is this mode, or COMPLIANCE, for as long as was wanted: what was added to that may be less."""
        return found is not None and found.mode in {self.mode, "COMPLIANCE"} and found.until >= self.until - SKEW

    def __str__(self) -> str:
        """Return it for people."""
        return f"{self.mode} until {self.until.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def reported(answer: Mapping[str, Any]) -> Retention | None:
    """Return the retention that an answer to a HEAD reports."""
    mode, until = answer.get("ObjectLockMode"), answer.get("ObjectLockRetainUntilDate")
    return Retention(mode, until) if mode and until else None
