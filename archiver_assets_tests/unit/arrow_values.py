"""Random record batches of every type that the archive stores, and the same rows in other clothes.

What belongs here: generators that tests of the digest and of Parquet share. What does not: expectations.
"""

from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from archiver_assets.source.types import _EXACT

DECIMALS = {"numeric(38,10)": pa.decimal128(38, 10), "numeric(3,0)": pa.decimal128(3, 0), "numeric(38,38)": pa.decimal128(38, 38)}
TYPES: dict[str, pa.DataType] = {**_EXACT, **DECIMALS}
XMIN = pa.field("_xmin", pa.uint32(), nullable=False, metadata={"pg_type": "xid"})

_TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=6)
_FIXED = {pa.int16(): 2, pa.int32(): 4, pa.int64(): 8, pa.float32(): 4, pa.float64(): 8, pa.date32(): 4, pa.uint32(): 4}


def schema_of(types: list[str]) -> pa.Schema:
    """Return a table's stored schema: a column for each type, and `_xmin`."""
    fields = [pa.field(f"c{number} {name}", TYPES[name], metadata={"pg_type": name}) for number, name in enumerate(types)]
    return pa.schema([*fields, XMIN])


def _bits(width: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=width, max_size=width)


@st.composite
def arrays(draw: st.DrawFn, kind: pa.DataType, rows: int, *, nulls: bool = True) -> pa.Array:
    """Draw an array by its bits, so that NaN payloads, -0 and extremes come up."""
    missing = draw(st.lists(st.booleans(), min_size=rows, max_size=rows)) if nulls else [False] * rows
    if pa.types.is_string(kind):
        values: list[Any] = draw(st.lists(_TEXT, min_size=rows, max_size=rows))
    elif pa.types.is_boolean(kind):
        values = draw(st.lists(st.booleans(), min_size=rows, max_size=rows))
    elif pa.types.is_decimal(kind):
        limit = 10**kind.precision - 1
        numbers = draw(st.lists(st.integers(-limit, limit), min_size=rows, max_size=rows))
        values = [Decimal((int(number < 0), tuple(map(int, str(abs(number)))), -kind.scale)) for number in numbers]
    elif pa.types.is_binary(kind):
        values = draw(st.lists(st.binary(max_size=6), min_size=rows, max_size=rows))
    elif isinstance(kind, pa.UuidType):
        values = draw(st.lists(_bits(16), min_size=rows, max_size=rows))
    else:
        width = 8 if pa.types.is_timestamp(kind) else _FIXED[kind]
        return _fixed(kind, draw(st.lists(_bits(width), min_size=rows, max_size=rows)), missing)
    return pa.array([None if gone else value for value, gone in zip(values, missing, strict=True)], kind)


def _fixed(kind: pa.DataType, values: list[bytes], missing: list[bool]) -> pa.Array:
    present = sum((not gone) << number for number, gone in enumerate(missing))
    bitmap = pa.py_buffer(present.to_bytes((len(missing) + 7) // 8 or 1, "little"))
    return pa.Array.from_buffers(kind, len(missing), [bitmap if any(missing) else None, pa.py_buffer(b"".join(values))])


@st.composite
def batches(draw: st.DrawFn, *, min_rows: int = 0, types: st.SearchStrategy[list[str]] | None = None) -> pa.RecordBatch:
    """Draw a record batch of some types and `_xmin`."""
    schema = schema_of(draw(types if types is not None else st.lists(st.sampled_from(sorted(TYPES)), min_size=1, max_size=4)))
    rows = draw(st.integers(min_rows, 12))
    return pa.RecordBatch.from_arrays([draw(arrays(field.type, rows, nulls=field.nullable)) for field in schema], schema=schema)


def cut(batch: pa.RecordBatch, at: list[int]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of `batch` in slices that begin at the given rows."""
    for start, end in pairwise([0, *sorted(number % (batch.num_rows + 1) for number in at), batch.num_rows]):
        yield batch.slice(start, end - start)


def rebuilt(column: pa.Array, *, bitmap: bool, garbage: bytes) -> pa.Array:
    """Return the fixed-width values of a column that is no slice, with a bitmap even without nulls, and garbage in the slots of nulls."""
    width = column.type.bit_width // 8
    values = column.buffers()[1]
    data = bytearray(memoryview(values)[: len(column) * width] if values else b"")
    valid = column.is_valid().to_pylist()
    for number, present in enumerate(valid):
        if not present:
            data[number * width : (number + 1) * width] = (garbage * width)[:width]
    bits = sum(present << number for number, present in enumerate(valid)).to_bytes(len(valid) // 8 + 1, "little")
    needed = bitmap or not all(valid)
    return pa.Array.from_buffers(column.type, len(valid), [pa.py_buffer(bits) if needed else None, pa.py_buffer(bytes(data))])
