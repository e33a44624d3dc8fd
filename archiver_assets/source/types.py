"""How a column's PostgreSQL type travels and is stored: as an exact Arrow type, or as PostgreSQL's own text.

What belongs here: the choice of the type, from the catalog alone so that it never depends on the values of one day, and the exact
conversion of what the driver returns. What does not: SQL and connections.

A type is exact if all its values were seen to pass through the driver bit for bit. The driver silently wraps infinite timestamps and dates,
and years above 294246, to values below 4714 BC, PostgreSQL's minimum: such values are detected and refused. Other types (arrays, whose
dimensions the driver drops; time, whose 24:00 it rejects; oid, money, interval, inet, ranges, enums, domains, composites) travel as text
under the session's pinned settings.
"""

import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from archiver_assets.errors import ValueRefused
from archiver_assets.source import numerics

# 4714-11-24 BC, PostgreSQL's minimum timestamp and date, counted from 1970-01-01.
LEAST_TIMESTAMP_US = -210_866_803_200_000_000
LEAST_DATE_DAYS = -2_440_588

_EXACT: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "text": pa.string(),
    "varchar": pa.string(),
    "bpchar": pa.string(),
    "name": pa.string(),
    "json": pa.string(),
    "jsonb": pa.string(),
    "bytea": pa.binary(),
    "uuid": pa.uuid(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", tz="UTC"),
}
_NUMERIC = re.compile(r"numeric\((\d+),(-?\d+)\)")
_MAX_DECIMAL_DIGITS = 38
_XID = pa.opaque(pa.binary(), "xid", "PostgreSQL")
_XID_BYTES = 4


def exact_type(builtin_type: str, pg_type: str) -> pa.DataType | None:
    """Return the Arrow type that holds every storable value of a type exactly, or None if only text does.

    `builtin_type` is the type's name in pg_catalog (empty for all others), `pg_type` the type as PostgreSQL writes it, with precision.
    """
    if builtin_type == "numeric":
        return _decimal(pg_type)
    return _EXACT.get(builtin_type)


def _decimal(pg_type: str) -> pa.DataType | None:
    found = _NUMERIC.fullmatch(pg_type)
    if not found:
        return None
    precision, scale = int(found[1]), int(found[2])
    return pa.decimal128(precision, scale) if precision <= _MAX_DECIMAL_DIGITS and 0 <= scale <= precision else None


def to_stored(batch: pa.RecordBatch, schema: pa.Schema, table: str) -> pa.RecordBatch:
    """Return the driver's `batch` as a batch of `schema` with the same values.

    Raises ValueRefused, naming the column of `table`, for a value that the stored type cannot hold.
    """
    columns = [_convert(column, field, table) for column, field in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _convert(column: pa.Array, field: pa.Field, table: str) -> pa.Array:
    if isinstance(column, pa.ExtensionArray) and column.type != field.type:
        column = _numbers(column.storage) if column.type == _XID else column.storage
    if column.type != field.type:
        sent = pa.types.is_binary(column.type) and numerics.fits(field.type)
        try:
            column = numerics.to_decimals(column, field.type) if sent else pc.cast(column, field.type)
        except (pa.ArrowInvalid, ValueError) as error:
            raise _refused(field, table, str(error).splitlines()[0]) from error
    check = _CHECKS.get(field.type)
    if check is not None and check(column):
        raise _refused(field, table, "an infinite value, or a year above 294246")
    return column


def _numbers(xids: pa.BinaryArray) -> pa.Array:
    """Return xids as numbers. PostgreSQL sends each as four bytes, most significant first, and none is null."""
    _, offsets, data = xids.buffers()
    bounds = np.frombuffer(offsets, np.int32, len(xids) + 1, xids.offset * 4)
    if xids.null_count or (np.diff(bounds) != _XID_BYTES).any():
        message = f"expected xids of {_XID_BYTES} bytes each, found others"
        raise TypeError(message)
    return pa.array(np.frombuffer(data, ">u4", len(xids), bounds[0]).astype(np.uint32) if len(xids) else [], pa.uint32())


def _below(least: int, integer: pa.DataType) -> Callable[[pa.Array], bool]:
    def check(column: pa.Array) -> bool:
        smallest = pc.min(column.cast(integer)).as_py()
        return smallest is not None and smallest < least

    return check


_CHECKS: dict[pa.DataType, Callable[[pa.Array], bool]] = {
    pa.date32(): _below(LEAST_DATE_DAYS, pa.int32()),
    pa.timestamp("us"): _below(LEAST_TIMESTAMP_US, pa.int64()),
    pa.timestamp("us", tz="UTC"): _below(LEAST_TIMESTAMP_US, pa.int64()),
}


def _refused(field: pa.Field, table: str, found: str) -> ValueRefused:
    message = f"column {field.name!r} of {table}: expected values that {field.type} holds exactly, found {found}"
    return ValueRefused(message, hint=f"set columns: {{{field.name}: {{store_as: text}}}} for this table in the config, and archive again")
