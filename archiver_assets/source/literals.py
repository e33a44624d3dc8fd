"""Stored values as text that PostgreSQL reads back as exactly the same values.

What belongs here: from an Arrow column of the stored types (`types.py`) to PostgreSQL's input text. What does not: SQL, and comparing
values. The text is for sessions with the pinned settings: TimeZone UTC and DateStyle ISO, YMD.
"""

from collections.abc import Callable
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_MICROSECONDS_PER_DAY = 86_400_000_000
_EPOCH_FROM_YEAR_0 = 719_468
"""Days from 0000-03-01 to 1970-01-01 in the proleptic Gregorian calendar."""
_DAYS_PER_400_YEARS = 146_097
_ORDINARY_DAYS = (-719_162, 2_932_896)
"""0001-01-01 and 9999-12-31: Arrow and PostgreSQL write dates from the first to the last identically."""
_SPELLED = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def to_input_text(column: pa.Array) -> list[str | None]:
    """Return the input text of each value, None for null. Raises TypeError for an Arrow type that is not stored."""
    texts: list[str | None] = input_texts(column).to_pylist()
    return texts


def input_texts(column: pa.Array) -> pa.Array:
    """Return the input texts as an Arrow array of strings, without a Python call for each ordinary value."""
    kind = column.type
    text = _decimals if pa.types.is_decimal128(kind) else _TEXTS.get(kind)
    if text is None:
        message = f"expected one of the stored types, found the Arrow type {kind}"
        raise TypeError(message)
    return text(column)


def to_array_text(column: pa.Array) -> str:
    """Return the values as the input text of an array of any type, for which the driver would need a call per value."""
    texts = input_texts(column)
    elements = pc.coalesce(texts if pa.types.is_integer(column.type) else _quoted(texts), "NULL")
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(elements)], pa.int32()), elements), ",")
    return f"{{{joined[0].as_py()}}}"


def _quoted(texts: pa.Array) -> pa.Array:
    escaped = pc.replace_substring(pc.replace_substring(texts, "\\", "\\\\"), '"', '\\"')
    return pc.binary_join_element_wise('"', escaped, '"', "")


def is_ordinary(column: pa.Array) -> bool:
    """Return whether Arrow and PostgreSQL write every value of a date or timestamp column identically."""
    integer, (first, last) = _ordinary(column.type)
    found = pc.min_max(column.cast(integer)).as_py()
    return found["min"] is None or (first <= found["min"] and found["max"] <= last)


def _ordinary(kind: pa.DataType) -> tuple[pa.DataType, tuple[int, int]]:
    first, last = _ORDINARY_DAYS
    if pa.types.is_date(kind):
        return pa.int32(), (first, last)
    return pa.int64(), (first * _MICROSECONDS_PER_DAY, (last + 1) * _MICROSECONDS_PER_DAY - 1)


def _unchanged(column: pa.Array) -> pa.Array:
    return column


def _cast(column: pa.Array) -> pa.Array:
    return pc.cast(column, pa.string())


def _floats(column: pa.Array) -> pa.Array:
    # Arrow writes the shortest digits that give the same bits at the column's own width.
    return _each(_cast(column), pc.invert(pc.is_finite(column)), _SPELLED.__getitem__)


def _decimals(column: pa.Array) -> pa.Array:
    # Arrow writes an exponent where many zeros follow the decimal point.
    texts = _cast(column)
    return _each(texts, pc.match_substring(texts, "E"), lambda text: format(Decimal(text), "f"))


def _binaries(column: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(r"\x", hexadecimal(column), "")


def _uuids(column: pa.Array) -> pa.Array:
    # PostgreSQL also accepts the 32 digits without hyphens.
    return hexadecimal(column.storage.cast(pa.binary()))


def hexadecimal(column: pa.Array) -> pa.Array:
    """Return binary values as hex digits, converted at once for the whole column."""
    _, offsets, data = column.buffers()
    begins = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1] if offsets else np.zeros(1, np.int32)
    first, last = int(begins[0]), int(begins[-1])
    digits = memoryview(data)[first:last].hex().encode() if data else b""
    doubled = pa.array((begins - first) * 2, pa.int32())
    texts = pa.StringArray.from_buffers(len(column), doubled.buffers()[1], pa.py_buffer(digits))
    return pc.if_else(column.is_valid(), texts, pa.scalar(None, pa.string()))


def _each(texts: pa.Array, chosen: pa.Array, one: Callable[[str], str]) -> pa.Array:
    """Return `texts` with the `chosen` ones replaced by the result of `one`; a null is never chosen."""
    chosen = pc.fill_null(chosen, fill_value=False)
    if not pc.any(chosen).as_py():
        return texts
    return pc.replace_with_mask(texts, chosen, pa.array(map(one, texts.filter(chosen).to_pylist()), pa.string()))


def _dates(column: pa.Array) -> pa.Array:
    return _temporal(column, _one_date)


def _timestamps(column: pa.Array) -> pa.Array:
    return _temporal(column, _one_timestamp)


def _aware_timestamps(column: pa.Array) -> pa.Array:
    texts = _timestamps(column.cast(pa.int64()).cast(pa.timestamp("us")))
    ancient = pc.ends_with(texts, " BC")
    return pc.if_else(ancient, pc.replace_substring_regex(texts, " BC$", "+00 BC"), pc.binary_join_element_wise(texts, "+00", ""))


def _temporal(column: pa.Array, one: Callable[[int], str]) -> pa.Array:
    """Convert the ordinary values with Arrow, and the others, of years outside 1 to 9999, with `one`."""
    if is_ordinary(column):
        return _cast(column)
    integer, bounds = _ordinary(column.type)
    numbers = column.cast(integer)
    first, last = (pa.scalar(bound, numbers.type) for bound in bounds)
    ordinary = pc.and_(pc.greater_equal(numbers, first), pc.less_equal(numbers, last))
    texts = _cast(pc.if_else(ordinary, column, pa.scalar(None, column.type)))
    others = pc.fill_null(pc.invert(ordinary), fill_value=False)
    return pc.replace_with_mask(texts, others, pa.array([one(number) for number in numbers.filter(others).to_pylist()], pa.string()))


def _one_date(days: int) -> str:
    return _with_era(*_date(days), "")


def _one_timestamp(microseconds: int) -> str:
    days, rest = divmod(microseconds, _MICROSECONDS_PER_DAY)
    seconds, fraction = divmod(rest, 1_000_000)
    return _with_era(*_date(days), f" {seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{fraction:06d}")


def _with_era(year: int, month: int, day: int, time: str) -> str:
    # There is no year 0: it is 1 BC.
    return f"{year:04d}-{month:02d}-{day:02d}{time}" if year > 0 else f"{1 - year:04d}-{month:02d}-{day:02d}{time} BC"


def _date(days: int) -> tuple[int, int, int]:
    """Return year, month and day of a day counted from 1970-01-01, for any year: Python's own dates end in 9999.

    Years begin in March here, so that the leap day is the last one.
    """
    era, day_of_era = divmod(days + _EPOCH_FROM_YEAR_0, _DAYS_PER_400_YEARS)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9  # noqa: PLR2004 - from January on it is the next year
    return era * 400 + year_of_era + (month <= 2), month, day_of_year - (153 * shifted + 2) // 5 + 1  # noqa: PLR2004 - as above


_TEXTS: dict[pa.DataType, Callable[[pa.Array], pa.Array]] = {
    **dict.fromkeys([pa.bool_(), pa.int16(), pa.int32(), pa.int64(), pa.uint32()], _cast),
    **dict.fromkeys([pa.float32(), pa.float64()], _floats),
    pa.string(): _unchanged,
    pa.binary(): _binaries,
    pa.uuid(): _uuids,
    pa.date32(): _dates,
    pa.timestamp("us"): _timestamps,
    pa.timestamp("us", tz="UTC"): _aware_timestamps,
}
