"""Numerics in PostgreSQL's binary form come out as the very same numbers, or not at all."""

import struct
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver_assets.source.numerics import MAX_DIGITS, fits, to_decimals

MONEY = pa.decimal128(12, 2)
NEGATIVE, NAN, INFINITY = 0x4000, 0xC000, 0xD000


def form(weight: int, digits: list[int], *, sign: int = 0, scale: int = 0) -> bytes:
    return struct.pack(f">HhHH{len(digits)}h", len(digits), weight, sign, scale, *digits)


def sent(value: Decimal) -> bytes:
    """Write what the server does, by way of Python's own digits: groups of four on both sides of the point, without zeros at the ends."""
    whole, _, rest = f"{abs(value):f}".partition(".")
    whole, scale = whole.rjust(-(-len(whole) // 4) * 4, "0"), len(rest)
    text = whole + rest.ljust(-(-len(rest) // 4) * 4, "0")
    digits, weight = [int(text[start : start + 4]) for start in range(0, len(text), 4)], len(whole) // 4 - 1
    while digits and digits[-1] == 0:
        digits.pop()
    while digits and digits[0] == 0:
        digits.pop(0)
        weight -= 1
    return form(weight if digits else 0, digits, sign=NEGATIVE if value < 0 else 0, scale=scale)


@st.composite
def numbers(draw: st.DrawFn) -> tuple[pa.DataType, list[Decimal | None]]:
    precision = draw(st.integers(1, MAX_DIGITS))
    scale = draw(st.integers(0, precision))
    most = 10**precision - 1
    some = st.integers(-most, most) | st.sampled_from([most, -most, 0, 1, -1]) | st.integers(0, precision - 1).map(lambda power: 10**power)
    unscaled = draw(st.lists(st.none() | some, max_size=20))
    return pa.decimal128(precision, scale), [None if each is None else Decimal(each).scaleb(-scale) for each in unscaled]


@given(numbers(), st.integers(0, 3))
def test_all_numbers_of_all_types_that_fit_come_out_as_they_are(given_: tuple[pa.DataType, list[Decimal | None]], skipped: int) -> None:
    kind, values = given_
    column = pa.array([None if value is None else sent(value) for value in values], pa.binary()).slice(skipped)
    found = to_decimals(column, kind)
    found.validate(full=True)
    assert found.equals(pa.array(values[skipped:], kind))


@pytest.mark.parametrize(
    ("bytes_", "what"),
    [
        (form(0, [], sign=NAN), "NaN"),
        (form(0, [], sign=INFINITY), "infinite"),
        (form(0, [], sign=0xF000), "infinite"),
        (form(2, [101]), "more digits"),  # 10100000000
        (form(2, [100]), "more digits"),  # 10000000000
        (form(3, [1]), "more digits"),
        (form(300, [1]), "more digits"),
        (form(-1, [1]), "more digits"),  # 0.0001
        (form(0, [1, 110]), "more digits"),  # 1.0110
        (form(-2, [5000]), "more digits"),
        (form(-6, [1]), "more digits"),
        (form(0, [1, 0, 1]), "more digits"),
        (form(0, [1])[:-1], "not a numeric"),
        (form(0, [1])[:-2], "not a numeric"),
        (form(0, [1])[:6], "not a numeric"),
        (form(0, [1]) + b"ab", "not a numeric"),
        (form(0, [1]) + b"a", "not a numeric"),
        (b"", "not a numeric"),
    ],
)
def test_what_is_no_number_of_the_type_is_refused_among_others_that_are(bytes_: bytes, what: str) -> None:
    others = [form(2, [99, 9999, 9999, 9900]), None, form(-1, [100])]
    assert to_decimals(pa.array(others), MONEY).to_pylist() == [Decimal("9999999999.99"), None, Decimal("0.01")]
    for column in ([*others, bytes_, *others], [bytes_]):
        with pytest.raises(ValueError, match=what):
            to_decimals(pa.array(column), MONEY)


@pytest.mark.parametrize("weight", [5, 6, 1000])
def test_a_digit_beyond_64_bits_is_refused(weight: int) -> None:
    with pytest.raises(ValueError, match="more digits"):
        to_decimals(pa.array([form(weight, [1])]), pa.decimal128(18, 0))


def test_only_decimals_of_64_bits_fit() -> None:
    kinds = [pa.decimal128(18, 0), pa.decimal128(18, 18), pa.decimal128(1, 1), pa.decimal128(19, 0), pa.decimal128(5, -2), pa.int64(), None]
    assert [fits(kind) for kind in kinds] == [True, True, True, False, False, False, False]
