"""Stored values as input text, against references of Python's own: Decimal, datetime, struct.

What belongs here: the text itself. What does not: that PostgreSQL reads it as the same value (`integration/test_literals.py`).
"""

import math
import struct
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver_assets.source.literals import to_input_text
from archiver_assets.source.types import LEAST_DATE_DAYS, LEAST_TIMESTAMP_US
from archiver_assets_tests.unit.arrow_values import TYPES, arrays

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZONES = {pa.timestamp("us"): "", pa.timestamp("us", tz="UTC"): "+00"}


def text_of(values: list[Any], kind: pa.DataType) -> list[str | None]:
    return to_input_text(pa.array(values, kind))


@given(st.data(), st.sampled_from(sorted(TYPES)))
def test_every_stored_type_has_a_text_for_each_value_and_none_for_null(data: st.DataObject, name: str) -> None:
    kind = TYPES[name]
    # Not every bit pattern is a date or timestamp of PostgreSQL, but each has its place in the result.
    column = data.draw(arrays(kind, 5))

    texts = to_input_text(column)

    assert [text is None for text in texts] == column.is_null().to_pylist()
    assert to_input_text(column.slice(2)) == texts[2:]
    assert to_input_text(column.slice(0, 0)) == []


@given(st.lists(st.floats(allow_infinity=False) | st.none(), max_size=5))
def test_a_double_is_the_shortest_text_of_its_bits(values: list[float | None]) -> None:
    for value, text in zip(values, text_of(values, pa.float64()), strict=True):
        if value is None or text is None:
            assert value is None
            assert text is None
        elif math.isnan(value):
            assert text.lower() == "nan"
        else:
            assert struct.pack("<d", float(text)) == struct.pack("<d", value)
            assert digits(text) == digits(repr(value))


@given(st.lists(st.floats(width=32, allow_infinity=False) | st.none(), max_size=5))
def test_a_real_is_a_text_of_its_bits_that_nine_digits_hold(values: list[float | None]) -> None:
    for value, text in zip(values, text_of(values, pa.float32()), strict=True):
        if value is None or text is None:
            assert value is None
            assert text is None
        elif math.isnan(value):
            assert text.lower() == "nan"
        else:
            assert struct.pack("<f", float(text)) == struct.pack("<f", value)
            assert len(digits(text)) <= len(digits(shortest_real(value)))


def digits(text: str) -> str:
    """Return the significant digits of a number."""
    return text.lower().partition("e")[0].lstrip("-").replace(".", "").strip("0")


def shortest_real(value: float) -> str:
    """Return the first of ever longer texts that has the bits of `value` in single precision."""
    for precision in range(1, 10):
        text = f"{value:.{precision}g}"
        try:
            packed = struct.pack("<f", float(text))
        except OverflowError:  # rounded above the largest
            continue
        if packed == struct.pack("<f", value):
            return text
    raise AssertionError(value)


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
def test_minus_zero_and_infinities(kind: pa.DataType) -> None:
    texts = text_of([-0.0, 0.0, math.inf, -math.inf, math.nan], kind)

    assert texts[:2] == ["-0", "0"]
    # PostgreSQL reads either spelling, in either case.
    assert [
        text and text.lower() in {expected, expected[:-5]} for text, expected in zip(texts[2:4], ["infinity", "-infinity"], strict=True)
    ]
    assert texts[4] is not None
    assert texts[4].lower() == "nan"


@given(st.data(), st.integers(1, 38))
def test_a_decimal_has_its_scale_and_no_exponent(data: st.DataObject, precision: int) -> None:
    scale = data.draw(st.integers(0, precision))
    unscaled = data.draw(st.integers(-(10**precision) + 1, 10**precision - 1))
    value = Decimal((int(unscaled < 0), tuple(map(int, str(abs(unscaled)))), -scale))

    (text,) = text_of([value], pa.decimal128(precision, scale))

    assert text is not None
    assert set(text) <= set("-.0123456789")
    assert len(text.partition(".")[2]) == scale
    assert Decimal(text) == value


def test_decimals_that_python_writes_with_an_exponent() -> None:
    assert text_of([Decimal("0E-10"), Decimal("-1E-10")], pa.decimal128(38, 10)) == ["0.0000000000", "-0.0000000001"]
    assert text_of([Decimal("1E-38")], pa.decimal128(38, 38)) == ["0." + "0" * 37 + "1"]


@given(st.dates())
def test_a_date_that_python_knows(value: date) -> None:
    assert text_of([value], pa.date32()) == [value.isoformat()]


@given(st.datetimes(), st.sampled_from(list(ZONES)))
def test_a_timestamp_that_python_knows(value: datetime, kind: pa.DataType) -> None:
    microseconds = (value.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)

    (text,) = to_input_text(pa.array([microseconds], pa.int64()).cast(kind))

    assert text is not None
    assert text.endswith(ZONES[kind])
    assert datetime.fromisoformat(text.removesuffix("+00")) == value


@given(st.integers(LEAST_DATE_DAYS, 2**31 - 1 - 146_097))
def test_four_hundred_years_later_it_is_the_same_day(days: int) -> None:
    first, later = (to_input_text(pa.array([number], pa.int32()).cast(pa.date32()))[0] for number in (days, days + 146_097))

    assert first is not None
    assert later is not None
    assert year(later) == year(first) + 400
    assert later.removesuffix(" BC")[-6:] == first.removesuffix(" BC")[-6:]


def year(text: str) -> int:
    """Return the year of a text, where 1 BC is 0."""
    number = int(text.partition("-")[0])
    return 1 - number if text.endswith(" BC") else number


@pytest.mark.parametrize(
    ("days", "text"),
    [
        (LEAST_DATE_DAYS, "4714-11-24 BC"),
        (-735_160, "0044-03-15 BC"),
        (-719_163, "0001-12-31 BC"),
        (-719_162, "0001-01-01"),
        (-719_469, "0001-02-29 BC"),
        (-1, "1969-12-31"),
        (2_932_896, "9999-12-31"),
        (2_932_897, "10000-01-01"),
        (2_147_483_493 - 2_440_588, "5874897-12-31"),
    ],
)
def test_dates_at_the_edges(days: int, text: str) -> None:
    assert to_input_text(pa.array([days], pa.int32()).cast(pa.date32())) == [text]


@pytest.mark.parametrize("kind", list(ZONES))
@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (LEAST_TIMESTAMP_US, "4714-11-24 00:00:00.000000{} BC"),
        (-735_160 * 86_400_000_000 + 36_000_123_456, "0044-03-15 10:00:00.123456{} BC"),
        (-719_162 * 86_400_000_000 - 1, "0001-12-31 23:59:59.999999{} BC"),
        (-719_162 * 86_400_000_000, "0001-01-01 00:00:00.000000{}"),
        (-1, "1969-12-31 23:59:59.999999{}"),
        (253_402_300_800_000_000, "10000-01-01 00:00:00.000000{}"),
        (2**63 - 1, "294247-01-10 04:00:54.775807{}"),
    ],
)
def test_timestamps_at_the_edges(kind: pa.DataType, microseconds: int, text: str) -> None:
    (found,) = to_input_text(pa.array([microseconds], pa.int64()).cast(kind))

    assert found is not None
    assert with_microseconds(found) == text.format(ZONES[kind])


def with_microseconds(text: str) -> str:
    """Write the fraction of a second that a text may leave out."""
    return text if "." in text else text[: text.index(":") + 6] + ".000000" + text[text.index(":") + 6 :]


@given(st.lists(st.binary(max_size=9)))
def test_bytes_are_hexadecimal(values: list[bytes]) -> None:
    assert text_of(values, pa.binary()) == ["\\x" + value.hex() for value in values]


@given(st.lists(st.uuids()))
def test_uuids_are_their_digits(values: list[UUID]) -> None:
    column = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([value.bytes for value in values], pa.binary(16)))

    assert to_input_text(column) == [value.hex for value in values]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_strings_stay_as_they_are(values: list[str]) -> None:
    assert text_of(values, pa.string()) == values


@pytest.mark.parametrize(("kind", "bits", "signed"), [(pa.int16(), 16, 1), (pa.int32(), 32, 1), (pa.int64(), 64, 1), (pa.uint32(), 32, 0)])
def test_integers_at_the_edges(kind: pa.DataType, bits: int, signed: int) -> None:
    least, most = -signed << (bits - 1), (1 << (bits - signed)) - 1

    assert text_of([least, 0, None, most], kind) == [str(least), "0", None, str(most)]


def test_booleans() -> None:
    assert text_of([True, None, False], pa.bool_()) == ["true", None, "false"]


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.int32()),
        pa.null(),
        pa.date64(),
        pa.time64("us"),
        pa.duration("us"),
        pa.binary(3),
        pa.int8(),
        pa.uint64(),
        pa.float16(),
        pa.decimal256(50, 2),
        pa.timestamp("ns"),
        pa.timestamp("us", tz="Asia/Kolkata"),
        pa.json_(),
    ],
    ids=str,
)
def test_an_arrow_type_that_is_not_stored_has_no_text(kind: pa.DataType) -> None:
    with pytest.raises(TypeError):
        to_input_text(pa.nulls(1, kind))
