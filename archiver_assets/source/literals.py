"""Stored values as the text that PostgreSQL reads back as the very same value.

What belongs here: one function, from an Arrow column of the stored types (`types.py`) to PostgreSQL's input text. What does not: SQL, and
comparing values. The text is meant for sessions with the pinned settings: TimeZone UTC and DateStyle ISO, YMD.
"""

import uuid
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

_MICROSECONDS_PER_DAY = 86_400_000_000
_EPOCH_FROM_YEAR_0 = 719_468
"""Days from 0000-03-01 to 1970-01-01 in the proleptic Gregorian calendar."""
_DAYS_PER_400_YEARS = 146_097


def to_input_text(column: pa.Array) -> list[str | None]:
    """Return the input text of each value, None for null. Raises TypeError for an Arrow type that is not among the stored ones."""
    if isinstance(column, pa.ExtensionArray):
        return [None if value is None else str(uuid.UUID(bytes=value)) for value in column.storage.to_pylist()]
    kind = column.type
    if pa.types.is_string(kind):
        return list(column.to_pylist())
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return list(pc.cast(column, pa.string()).to_pylist())
    for is_kind, text in _TEXTS:
        if is_kind(kind):
            return text(column)
    message = f"no input text for the Arrow type {kind}"
    raise TypeError(message)


def _floats(column: pa.Array) -> list[str | None]:
    # Arrow writes the shortest digits that give the same bits in the column's own width.
    return list(pc.cast(column, pa.string()).to_pylist())


def _decimals(column: pa.Array) -> list[str | None]:
    return [None if value is None else f"{value:f}" for value in column.to_pylist()]


def _binaries(column: pa.Array) -> list[str | None]:
    return [None if value is None else rf"\x{value.hex()}" for value in column.to_pylist()]


def _dates(column: pa.Array) -> list[str | None]:
    return [None if days is None else _with_era(*_date(days), "") for days in column.cast(pa.int32()).to_pylist()]


def _timestamps(column: pa.Array) -> list[str | None]:
    zone = "+00" if column.type.tz else ""
    return [None if value is None else _timestamp(value, zone) for value in column.cast(pa.int64()).to_pylist()]


def _timestamp(microseconds: int, zone: str) -> str:
    days, rest = divmod(microseconds, _MICROSECONDS_PER_DAY)
    seconds, fraction = divmod(rest, 1_000_000)
    time = f" {seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{fraction:06d}{zone}"
    return _with_era(*_date(days), time)


def _with_era(year: int, month: int, day: int, time: str) -> str:
    # There is no year 0: it is 1 BC.
    return f"{year:04d}-{month:02d}-{day:02d}{time}" if year > 0 else f"{1 - year:04d}-{month:02d}-{day:02d}{time} BC"


def _date(days: int) -> tuple[int, int, int]:
    """Return year, month and day of a day counted from 1970-01-01, for any year: Python's own dates end with 9999.

    Years begin in March here, so that the leap day is the last one.
    """
    era, day_of_era = divmod(days + _EPOCH_FROM_YEAR_0, _DAYS_PER_400_YEARS)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9  # noqa: PLR2004 - from January on it is the next year
    return era * 400 + year_of_era + (month <= 2), month, day_of_year - (153 * shifted + 2) // 5 + 1  # noqa: PLR2004 - as above


_TEXTS: list[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array], list[str | None]]]] = [
    (pa.types.is_floating, _floats),
    (pa.types.is_decimal, _decimals),
    (pa.types.is_binary, _binaries),
    (pa.types.is_date32, _dates),
    (pa.types.is_timestamp, _timestamps),
]
