"""Numbers, times and lists as people read them.

What belongs here: pure functions to text. What does not: printing (`common.py`), and wrapping (`each_table.py`).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def in_bytes(size: float) -> str:
    """Write a size for people: `1.4 GiB`."""
    power = 0
    while size >= 1024 and power < len(_UNITS) - 1:  # noqa: PLR2004 - a KiB
        size, power = size / 1024, power + 1
    return f"{size:,.0f} {_UNITS[power]}" if power == 0 or size >= 100 else f"{size:,.1f} {_UNITS[power]}"  # noqa: PLR2004 - three digits


def in_dollars(amount: float) -> str:
    """Write a price for people: `about 1.40 USD`."""
    return "less than 0.01 USD" if 0 < amount < 0.005 else f"about {amount:,.2f} USD"  # noqa: PLR2004 - half a cent


def in_time(seconds: float) -> str:
    """Write a length of time for people: `3 min`."""
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:,.0f} s"


def ago(at: datetime | None, now: datetime) -> str:
    """Write how long ago something was: `3 h ago`."""
    return "never" if at is None else f"{in_time(max(now - at, timedelta(0)).total_seconds())} ago"


def minute(at: datetime) -> str:
    """Write a time for people: `2026-08-01 02:00 UTC`, in its own zone."""
    return f"{at:%Y-%m-%d %H:%M} {at.tzname()}"


def some(days: Sequence[str], most: int = 3) -> str:
    """Name the first few days."""
    return ", ".join(days[:most]) + (f" and {len(days) - most} more" if len(days) > most else "")


def plural(number: int, one: str, many: str | None = None) -> str:
    """Write `1 day`, `2 days`; `many` is the plural where it is not `one` and an s."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
