"""The content digest: SHA-256 over the values of a table, the same before encoding and after decoding.

What belongs here: the canonical bytes of Arrow values. What does not: files and their bytes.

The digest depends only on names, types, values and the order of rows; not on chunking, validity bitmaps, dictionaries or the contents of
null slots. Each column feeds up to three running hashes: validity (one byte per row), lengths (8 bytes per value, variable-width types
only) and data (the little-endian bytes of fixed-width values, or the bytes of variable-width ones; nulls add none). Floats are hashed by
their bits, so -0 and 0 differ, and so do NaNs with different payloads.
"""

import hashlib
import json
from collections.abc import Callable, Iterable

import pyarrow as pa
import pyarrow.compute as pc

_Hash = Callable[[bytes | memoryview], None]


class ContentDigest:
    """A running digest over record batches of one schema, in the order of the rows."""

    def __init__(self, schema: pa.Schema) -> None:
        """Start without rows."""
        self._schema = schema
        self._rows = 0
        self._columns = [[hashlib.sha256() for _ in range(3)] for _ in schema]

    def update(self, batch: pa.RecordBatch) -> None:
        """Add the rows of `batch` to the digest.

        Raises TypeError for a type without a canonical form, and ValueError for a different schema.
        """
        if not batch.schema.equals(self._schema):
            message = f"expected a batch of the schema {self._schema}, found {batch.schema}"
            raise ValueError(message)
        self._rows += batch.num_rows
        for column, (validity, lengths, data) in zip(batch.columns, self._columns, strict=True):
            _take(column, validity.update, lengths.update, data.update)

    def result(self) -> str:
        """Return `sha256:` and 64 hex digits."""
        facts = [
            [field.name, str(field.type), *(part.hexdigest() for part in parts)]
            for field, parts in zip(self._schema, self._columns, strict=True)
        ]
        canonical = json.dumps([self._rows, facts], ensure_ascii=True, separators=(",", ":"))
        return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def content_digest(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> str:
    """Return the digest of all `batches` of one schema, in their order."""
    digest = ContentDigest(schema)
    for batch in batches:
        digest.update(batch)
    return digest.result()


def _take(column: pa.Array, validity: _Hash, lengths: _Hash, data: _Hash) -> None:
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    _take_validity(column, validity)
    if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
        _take_variable(column, lengths, data)
    elif pa.types.is_boolean(column.type):
        _take_fixed(column.cast(pa.uint8()), data)
    elif pa.types.is_primitive(column.type) or pa.types.is_decimal(column.type) or pa.types.is_fixed_size_binary(column.type):
        _take_fixed(column, data)
    else:
        message = f"no canonical form for the Arrow type {column.type}"
        raise TypeError(message)


def _take_validity(column: pa.Array, validity: _Hash) -> None:
    flags = b"\x01" * len(column) if column.null_count == 0 else _bytes_of(column.is_valid().cast(pa.uint8()), 1)
    validity(flags)


def _take_variable(column: pa.Array, lengths: _Hash, data: _Hash) -> None:
    present = column.drop_null() if column.null_count else column
    lengths(_bytes_of(pc.binary_length(present).cast(pa.int64()), 8))
    _, offsets, values = present.buffers()
    if values is None or len(present) == 0:
        return
    bounds = memoryview(offsets).cast("i")
    data(memoryview(values)[bounds[present.offset] : bounds[present.offset + len(present)]])


def _take_fixed(column: pa.Array, data: _Hash) -> None:
    width = column.type.bit_width // 8
    present = column.drop_null() if column.null_count else column
    data(_bytes_of(present, width))


def _bytes_of(column: pa.Array, width: int) -> memoryview:
    buffer = column.buffers()[1]
    if buffer is None:
        return memoryview(b"")
    return memoryview(buffer)[column.offset * width : (column.offset + len(column)) * width]
