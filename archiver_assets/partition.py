"""A partition: one local calendar day of a table.

What belongs here: arithmetic on days, their bounds as instants, and expiry. What does not: any clock (`now` is always a parameter, and
comes from the database), Dagster's partition definitions, SQL.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Self
from zoneinfo import ZoneInfo

from archiver_assets.errors import NotExpired


@dataclass(frozen=True, order=True)
class Partition:
    """The day `day` in the time zone named `timezone`, half-open `[start, end)`; 23 or 25 hours long on days of a clock change."""

    day: date
    timezone: str

    @classmethod
    def from_key(cls, key: str, timezone: str) -> Self:
        """Return the partition of a Dagster partition key, `YYYY-MM-DD`.

        Raises ValueError for any other form.
        """
        day = date.fromisoformat(key)
        if day.isoformat() != key:
            message = f"expected a partition key like 2026-08-01, found {key!r}"
            raise ValueError(message)
        return cls(day, timezone)

    @classmethod
    def containing(cls, instant: datetime, timezone: str) -> Self:
        """Return the partition that contains `instant` (aware)."""
        return cls(instant.astimezone(ZoneInfo(timezone)).date(), timezone)

    @property
    def key(self) -> str:
        """The Dagster partition key, `YYYY-MM-DD`."""
        return self.day.isoformat()

    @property
    def start(self) -> datetime:
        """The first instant of the day, in UTC."""
        return _first_instant(self.day, self.timezone)

    @property
    def end(self) -> datetime:
        """The first instant after the day, in UTC."""
        return _first_instant(self.next_day, self.timezone)

    @property
    def zone(self) -> ZoneInfo:
        """The time zone."""
        return ZoneInfo(self.timezone)

    @property
    def next_day(self) -> date:
        """The calendar day after this one."""
        return self.day + timedelta(days=1)

    def expires_at(self, retention_days: int) -> datetime:
        """Return the instant, in UTC, at which the partition expires: `retention_days` calendar days after its end."""
        return _first_instant(self.next_day + timedelta(days=retention_days), self.timezone)

    def require_expired(self, *, now: datetime, retention_days: int, table: str) -> None:
        """Raise NotExpired unless the partition is expired at `now`, the clock of the database."""
        expires_at = self.expires_at(retention_days)
        if now < expires_at:
            message = (
                f"partition {self.key} of {table} is not expired: expected the database's clock to have reached "
                f"{expires_at:%Y-%m-%d %H:%M:%S} UTC ({retention_days} days of retention, {self.timezone}), "
                f"found {now.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
            )
            raise NotExpired(message, hint="choose an older partition, or lower retention_days if the law allows it")


def newest_expired(*, now: datetime, retention_days: int, timezone: str) -> Partition:
    """Return the newest partition that is expired at `now` (aware)."""
    today = now.astimezone(ZoneInfo(timezone)).date()
    return Partition(today - timedelta(days=retention_days + 1), timezone)


def stretches(first: Partition, last: Partition, without: Collection[date]) -> Iterator[tuple[Partition, Partition]]:
    """Yield the first and last partition of each unbroken series of days from `first` to `last`, both included, skipping `without`."""
    start = first.day
    for day in sorted(each for each in without if first.day <= each <= last.day):
        if start < day:
            yield replace(first, day=start), replace(first, day=day - timedelta(days=1))
        start = day + timedelta(days=1)
    if start <= last.day:
        yield replace(first, day=start), last


def _first_instant(day: date, timezone: str) -> datetime:
    # A midnight skipped by a clock change is read with the offset before the change (fold=0, PEP 495), which gives exactly the instant of
    # the change. A midnight that occurs twice is read as the first one. Both are the first instant of the local day.
    return datetime.combine(day, time.min, tzinfo=ZoneInfo(timezone)).astimezone(UTC)
