"""Numerics in PostgreSQL's binary format, a column at a time.

What belongs here: that format, and the numbers in it. What does not: which columns travel in it (`reading.py`), and which values are
refused (`types.py`).

The driver would convert each value to text for Arrow to parse: a third of the whole cost of a narrow row. The format has four 16-bit
numbers (the count of digits, the weight of the first digit, the sign, the scale), then the digits in base 10,000.
https://github.com/postgres/postgres/blob/REL_17_0/src/backend/utils/adt/numeric.c (numeric_send)
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_Integers = npt.NDArray[np.int64]
_Words = npt.NDArray[np.int16]

MAX_DIGITS = 18
"""The most decimal digits that always fit in 64 bits."""
_HEADER = 4
_BASE_DIGITS = 4
_NEGATIVE = 0x4000
_POWERS = 10 ** np.arange(MAX_DIGITS, dtype=np.int64)
# Indexed by exponent: 0 and above from the start, negative ones from the end.
_FLOAT_POWERS = 10.0 ** np.concatenate([np.arange(MAX_DIGITS), np.arange(-_BASE_DIGITS, 0)])


def fits(kind: pa.DataType | None) -> bool:
    """Return whether a stored type is a decimal type that `to_decimals` can make."""
    return kind is not None and pa.types.is_decimal128(kind) and kind.precision <= MAX_DIGITS and 0 <= kind.scale <= kind.precision


def to_decimals(column: pa.BinaryArray, kind: pa.Decimal128Type) -> pa.Array:
    """Convert the output of `numeric_send` to decimals of a type that `fits`.

    Raises ValueError for NaN, an infinity, more digits than the type has, and bytes that are not in this format.
    """
    present = pc.is_valid(column)
    rows = np.flatnonzero(present.to_numpy(zero_copy_only=False))
    halves = np.zeros((len(column), 2), np.int64)
    if len(rows):
        halves[rows, 0] = _unscaled(column, rows, kind)
        halves[:, 1] = halves[:, 0] >> 63
    validity = present.buffers()[1] if column.null_count else None
    return pa.Array.from_buffers(kind, len(column), [validity, pa.py_buffer(halves)], column.null_count)


def _unscaled(column: pa.BinaryArray, rows: npt.NDArray[np.intp], kind: pa.Decimal128Type) -> _Integers:
    _, offsets, data = column.buffers()
    bounds = np.frombuffer(offsets, np.int32, len(column) + 1, column.offset * 4)
    words = np.frombuffer(data, ">i2", bounds[-1] // 2).astype(np.int16)
    starts, sizes = bounds[:-1][rows], np.diff(bounds)[rows]
    if ((starts | sizes) & 1).any() or sizes.min() < 2 * _HEADER:
        raise ValueError(_no_form())
    at = starts // 2
    count, weight, sign = words[at], words[at + 1].astype(np.int32), words[at + 2]
    if (count != sizes // 2 - _HEADER).any():
        raise ValueError(_no_form())
    if ((sign != 0) & (sign != _NEGATIVE)).any():
        message = "NaN, or an infinite value"
        raise ValueError(message)
    total = np.zeros(len(rows), np.int64)
    exponent = weight * _BASE_DIGITS + kind.scale
    _require_no_more(count, exponent, words[np.where(count > 0, at + _HEADER, 0)], kind)
    for place in range(int(count.max())):
        has = slice(None) if count.min() > place else np.flatnonzero(count > place)
        total[has] += _shifted(words[at[has] + (_HEADER + place)].astype(np.int64), exponent[has] - place * _BASE_DIGITS, kind)
    return np.where(sign == _NEGATIVE, -total, total)


def _require_no_more(count: _Words, exponent: npt.NDArray[np.int32], first: _Words, kind: pa.Decimal128Type) -> None:
    """Raise ValueError if a value's first digit, times its power of ten, exceeds the digits of the type.

    The digits after the first one add up to less than one unit of it, so that no sum can be too large.
    """
    some = count > 0
    beyond = exponent >= MAX_DIGITS
    shifted = first * _FLOAT_POWERS[np.clip(exponent, -_BASE_DIGITS, MAX_DIGITS - 1)]
    if (some & (beyond | (shifted >= 10.0**kind.precision))).any():
        raise ValueError(_too_long(kind))


def _shifted(digits: _Integers, exponent: npt.NDArray[np.int32], kind: pa.Decimal128Type) -> _Integers:
    """Return `digits * 10 ** exponent` as whole numbers, or raise ValueError if one is not whole."""
    if exponent.min() >= 0:
        whole: _Integers = digits * _POWERS[exponent]
        return whole
    if exponent.min() <= -_BASE_DIGITS:
        raise ValueError(_too_long(kind))
    divisor = _POWERS[np.maximum(-exponent, 0)]
    whole = digits // divisor
    if (whole * divisor != digits).any():
        raise ValueError(_too_long(kind))
    return whole * _POWERS[np.maximum(exponent, 0)]


def _no_form() -> str:
    return "bytes that are not a numeric"


def _too_long(kind: pa.Decimal128Type) -> str:
    return f"more digits than {kind} has"
