"""Which types travel exactly, and what becomes of values that they cannot hold."""

import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver_assets.errors import ValueRefused
from archiver_assets.source.types import LEAST_DATE_DAYS, LEAST_TIMESTAMP_US, exact_type, to_stored

DECIMAL = pa.decimal128(38, 10)
# What the driver adds to PostgreSQL's count from 2000-01-01, in 64 and 32 bits that wrap around.
EPOCH_US = 946_684_800_000_000
EPOCH_DAYS = 10_957


def stored(values: pa.Array, to: pa.DataType, name: str = "value") -> pa.Array:
    schema = pa.schema([pa.field(name, to, metadata={"pg_type": "whatever"})])
    return to_stored(pa.RecordBatch.from_arrays([values], names=["driver's name"]), schema, "prod/public/audit_logs").column(0)


def wrapped(number: int, bits: int) -> int:
    half = 1 << (bits - 1)
    return (number + half) % (2 * half) - half


def decimals(texts: list[str | None], to: pa.DataType = DECIMAL) -> list[Decimal | None]:
    found: list[Decimal | None] = stored(pa.array(texts, pa.string()), to).to_pylist()
    return found


@pytest.mark.parametrize(
    ("builtin_type", "pg_type", "expected"),
    [
        ("bool", "boolean", pa.bool_()),
        ("int2", "smallint", pa.int16()),
        ("int4", "integer", pa.int32()),
        ("int8", "bigint", pa.int64()),
        ("float4", "real", pa.float32()),
        ("float8", "double precision", pa.float64()),
        ("text", "text", pa.string()),
        ("varchar", "character varying(20)", pa.string()),
        ("bpchar", "character(3)", pa.string()),
        ("name", "name", pa.string()),
        ("json", "json", pa.string()),
        ("jsonb", "jsonb", pa.string()),
        ("bytea", "bytea", pa.binary()),
        ("uuid", "uuid", pa.uuid()),
        ("date", "date", pa.date32()),
        ("timestamp", "timestamp(3) without time zone", pa.timestamp("us")),
        ("timestamptz", "timestamp with time zone", pa.timestamp("us", tz="UTC")),
        ("numeric", "numeric(38,10)", pa.decimal128(38, 10)),
        ("numeric", "numeric(1,0)", pa.decimal128(1, 0)),
        ("numeric", "numeric(38,38)", pa.decimal128(38, 38)),
    ],
)
def test_a_type_that_the_driver_hands_over_exactly_is_stored_as_such(builtin_type: str, pg_type: str, expected: pa.DataType) -> None:
    assert exact_type(builtin_type, pg_type) == expected


@pytest.mark.parametrize(
    ("builtin_type", "pg_type"),
    [
        ("numeric", "numeric"),  # any precision, and infinities
        ("numeric", "numeric(39,0)"),
        ("numeric", "numeric(1000,500)"),
        ("numeric", "numeric(5,-2)"),
        ("numeric", "numeric(3,5)"),
        ("numeric", "numeric(10,2)[]"),
        ("_numeric", "numeric(10,2)[]"),
        ("_int4", "integer[]"),
        ("time", "time without time zone"),
        ("timetz", "time with time zone"),
        ("interval", "interval"),
        ("inet", "inet"),
        ("money", "money"),
        ("oid", "oid"),
        ("xml", "xml"),
        ("int4range", "int4range"),
        ("", "public.mood"),
        ("", "text"),  # a type of somebody's own that is only called so
        ("", "numeric(10,2)"),
        ("INT4", "integer"),
    ],
)
def test_any_other_type_travels_as_text(builtin_type: str, pg_type: str) -> None:
    assert exact_type(builtin_type, pg_type) is None


@given(st.integers(1, 1000), st.integers(-1000, 1000))
def test_a_numeric_is_a_decimal_exactly_where_arrow_has_it(precision: int, scale: int) -> None:
    found = exact_type("numeric", f"numeric({precision},{scale})")
    assert found == (pa.decimal128(precision, scale) if precision <= 38 and 0 <= scale <= precision else None)


@pytest.mark.parametrize("to", [pa.timestamp("us"), pa.timestamp("us", tz="UTC")])
@pytest.mark.parametrize(
    "since_2000",
    [
        2**63 - 1,  # infinity
        -(2**63),  # -infinity
        2**63 - EPOCH_US,  # the first one that wraps, in the year 294247
        9_223_371_331_199_999_999,  # 294276-12-31 23:59:59.999999, PostgreSQL's last
    ],
)
def test_a_wrapped_timestamp_is_refused(to: pa.DataType, since_2000: int) -> None:
    values = pa.array([0, wrapped(since_2000 + EPOCH_US, 64), None], pa.int64()).cast(pa.timestamp("us"))
    with pytest.raises(ValueRefused, match=r"column 'value' of prod/public/audit_logs: .*infinite value, or a year above 294246"):
        stored(values, to)


@pytest.mark.parametrize("since_2000", [2**31 - 1, -(2**31)])
def test_a_wrapped_date_is_refused(since_2000: int) -> None:
    values = pa.array([0, wrapped(since_2000 + EPOCH_DAYS, 32), None], pa.int32()).cast(pa.date32())
    with pytest.raises(ValueRefused, match="infinite value"):
        stored(values, pa.date32())


@pytest.mark.parametrize("to", [pa.timestamp("us"), pa.timestamp("us", tz="UTC")])
def test_the_least_and_the_greatest_timestamp_are_kept(to: pa.DataType) -> None:
    numbers = [LEAST_TIMESTAMP_US, -1, 0, 2**63 - 1, None]
    values = pa.array(numbers, pa.int64()).cast(pa.timestamp("us"))
    assert stored(values, to).cast(pa.int64()).to_pylist() == numbers


def test_the_least_timestamp_is_that_of_postgresql() -> None:
    julian_day_0 = -2_440_588  # 4714-11-24 BC, in days from 1970-01-01
    assert julian_day_0 == LEAST_DATE_DAYS
    assert julian_day_0 * 86_400_000_000 == LEAST_TIMESTAMP_US


def test_the_least_and_the_greatest_date_are_kept() -> None:
    numbers = [LEAST_DATE_DAYS, -1, 0, 2_145_031_948, None]  # the last is 5874897-12-31
    values = pa.array(numbers, pa.int32()).cast(pa.date32())
    assert stored(values, pa.date32()).cast(pa.int32()).to_pylist() == numbers


def test_a_date_below_the_least_is_refused() -> None:
    with pytest.raises(ValueRefused):
        stored(pa.array([LEAST_DATE_DAYS - 1], pa.int32()).cast(pa.date32()), pa.date32())


@pytest.mark.parametrize("values", [[], [None], [None, None]])
def test_a_column_without_values_is_no_reason_to_refuse(values: list[None]) -> None:
    for kind in (pa.timestamp("us"), pa.timestamp("us", tz="UTC"), pa.date32()):
        assert stored(pa.array(values, kind), kind).to_pylist() == values
    assert decimals(list(values)) == values


def test_an_infinity_behind_an_offset_is_not_ours() -> None:
    values = pa.array([-(2**63), 0, 1], pa.int64()).cast(pa.timestamp("us"))
    assert stored(values.slice(1), pa.timestamp("us")).cast(pa.int64()).to_pylist() == [0, 1]


def test_what_lies_under_a_null_is_not_refused() -> None:
    garbage = pa.array([-(2**63), 5], pa.int64()).buffers()[1]
    values = pa.Array.from_buffers(pa.timestamp("us"), 2, [pa.py_buffer(b"\x02"), garbage])
    assert stored(values, pa.timestamp("us")).to_pylist() == [None, datetime(1970, 1, 1, microsecond=5)]  # noqa: DTZ001 - without zone


@given(st.datetimes(timezones=st.just(UTC)))
def test_times_keep_every_microsecond(instant: datetime) -> None:
    naive = instant.replace(tzinfo=None)
    assert stored(pa.array([naive], pa.timestamp("us")), pa.timestamp("us")).to_pylist() == [naive]
    found = stored(pa.array([instant], pa.timestamp("us", tz="UTC")), pa.timestamp("us", tz="UTC")).to_pylist()
    assert found == [instant]
    assert found[0].utcoffset() == timedelta(0)


@given(st.dates())
def test_dates_stay_as_they_are(day: date) -> None:
    assert stored(pa.array([day]), pa.date32()).to_pylist() == [day]


@given(st.lists(st.none() | st.decimals(allow_nan=False, allow_infinity=False, places=10, min_value=-(10**27), max_value=10**27)))
def test_decimals_come_exactly_from_their_text(values: list[Decimal | None]) -> None:
    found = decimals([None if value is None else f"{value:f}" for value in values])
    assert found == values


@given(st.integers(-(10**38) + 1, 10**38 - 1), st.integers(0, 38))
def test_all_38_digits_of_a_decimal_are_kept(unscaled: int, scale: int) -> None:
    value = Decimal((int(unscaled < 0), tuple(map(int, str(abs(unscaled)))), -scale))
    found = decimals([f"{value:f}"], pa.decimal128(38, scale))[0]
    assert found is not None
    assert found.as_tuple().exponent == -scale
    assert found == value


@pytest.mark.parametrize(
    "text",
    [
        "9999999999999999999999999999.9999999999",
        "-9999999999999999999999999999.9999999999",
        "0.0000000001",
        "-0.0000000001",
        "0.0000000000",
    ],
)
def test_the_extremes_of_a_numeric_are_kept(text: str) -> None:
    assert decimals([text, None]) == [Decimal(text), None]


@pytest.mark.parametrize(
    "text",
    ["NaN", "Infinity", "-Infinity", "10000000000000000000000000000.0000000000", "0.00000000001", "1.00000000005", "", "abc", "1e400"],
)
def test_a_text_that_is_no_value_of_the_decimal_is_refused(text: str) -> None:
    with pytest.raises(ValueRefused) as caught:
        stored(pa.array(["1.0000000000", text, None]), DECIMAL, name="amount")
    assert caught.value.message.startswith(
        "column 'amount' of prod/public/audit_logs: expected values that decimal128(38, 10) holds exactly"
    )
    assert caught.value.hint == "set columns: {amount: {store_as: text}} for this table in the config, and archive again"
    assert not caught.value.transient


@settings(max_examples=40)
@given(st.lists(st.none() | st.floats(width=64)))
def test_floats_keep_their_bits(values: list[float | None]) -> None:
    # Infinities and NaN are values of a float.
    given_ = pa.array(values, pa.float64(), from_pandas=False)
    found = stored(given_, pa.float64()).to_pylist()
    for one, other in zip(values, found, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert math.copysign(1, one) == math.copysign(1, other)
            assert one == other or (math.isnan(one) and math.isnan(other))


def test_the_drivers_wrapping_of_an_unknown_type_is_taken_off() -> None:
    opaque = pa.opaque(pa.string(), "numeric", "PostgreSQL")
    assert stored(pa.ExtensionArray.from_storage(opaque, pa.array(["1.5", None])), DECIMAL).to_pylist() == [Decimal("1.5"), None]


def test_a_uuid_is_the_same_whether_the_driver_says_so_or_hands_over_sixteen_bytes() -> None:
    plain = pa.array([bytes(range(16)), None], pa.binary(16))
    known = pa.ExtensionArray.from_storage(pa.uuid(), plain)
    assert stored(plain, pa.uuid()).equals(known)
    assert stored(known, pa.uuid()).equals(known)


def test_bytes_that_are_no_utf8_are_refused_as_text() -> None:
    with pytest.raises(ValueRefused, match="Invalid UTF8"):
        stored(pa.array([b"ok", b"\xff"], pa.binary()), pa.string())


def test_a_batch_takes_names_and_metadata_of_the_stored_schema() -> None:
    schema = pa.schema([pa.field("a", pa.int32(), nullable=False, metadata={"pg_type": "integer"}), pa.field("a ", pa.string())])
    batch = pa.RecordBatch.from_arrays([pa.array([1], pa.int32()), pa.array(["x"])], names=["?", "?"])
    assert to_stored(batch, schema, "d/s/t").schema.equals(schema, check_metadata=True)


def test_a_batch_with_another_number_of_columns_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="longer"):
        to_stored(pa.RecordBatch.from_arrays([pa.array([1])], names=["a"]), pa.schema([("a", pa.int64()), ("b", pa.int64())]), "d/s/t")
