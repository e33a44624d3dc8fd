"""Row versions as bytes of one width, equal for a leaf on the server and for an object, so that millions can be compared.

What belongs here: that form, PostgreSQL's own binary one, and reading it from a leaf. What does not: what a version proves.

A key has this form if all its columns have a binary form of fixed width; the server compares others (`deleting.count_versions`).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from archiver_assets.source import sql, sql_purge
from archiver_assets.source.catalog import Connection, Table

Identities = npt.NDArray[np.bytes_]
"""One row version each, all of one width. NumPy ignores trailing zero bytes, which does not change such comparisons."""

_PAGES = 8192
"""Pages of a leaf that are read at once: 64 MiB, of which only keys and xmins are transferred."""
_MICROSECONDS_TO_2000 = 946_684_800_000_000
_DAYS_TO_2000 = 10_957


@dataclass(frozen=True)
class Part:
    """The versions in some pages of a leaf; `inside` counts those whose timestamps lie in the requested range."""

    versions: Identities
    inside: int


def have_one_width(kinds: Iterable[pa.DataType | None]) -> bool:
    """Return whether a key's columns all have a form of fixed width. Types that travel as text are None, and have no such form."""
    return all(kind in _FORMS for kind in kinds)


def of_batch(versions: pa.RecordBatch) -> Identities:
    """Return the versions of a batch, which has the key's columns, of types with a fixed width, and `_xmin`."""
    return _joined(np.hstack([_FORMS[column.type].encode(column) for column in versions.columns]))


def of_leaf(connection: Connection, table: Table, days: sql.Days, leaf: sql.Relation) -> Iterator[Part]:
    """Yield the versions of all rows of a leaf, in the order of its pages. The caller prevents writes to the leaf."""
    forms = [(column.name, _FORMS[column.field.type]) for column in table.key]
    width = sum(form.width for _, form in forms) + 4
    pages = sum(int(row["pages"]) for row in connection.execute(sql_purge.leaf_pages(leaf)))
    statement = sql_purge.leaf_versions(days, leaf, [(name, form.send) for name, form in forms])
    for first in range(0, pages, _PAGES):
        row = connection.execute(statement, [f"({first},0)", f"({first + _PAGES},0)"], binary=True).fetchall()[0]
        raw = np.frombuffer(row["versions"] or b"", np.uint8).reshape(row["rows"], width)
        yield Part(_joined(raw), row["inside"])


def _joined(raw: npt.NDArray[np.uint8]) -> Identities:
    return np.ascontiguousarray(raw).view(f"S{raw.shape[1]}").ravel()


@dataclass(frozen=True)
class _Form:
    """The binary form of a type: its width in bytes, the PostgreSQL function that writes it, and the encoder for an object's column."""

    width: int
    send: str
    encode: Callable[[pa.Array], npt.NDArray[np.uint8]]


def _numbers(kind: str, offset: int = 0) -> Callable[[pa.Array], npt.NDArray[np.uint8]]:
    def encode(column: pa.Array) -> npt.NDArray[np.uint8]:
        integers = column.cast(pa.int32() if pa.types.is_date(column.type) else pa.int64())
        numbers: npt.NDArray[np.integer] = (integers.to_numpy() - offset).astype(kind)
        return numbers.view(np.uint8).reshape(len(numbers), numbers.dtype.itemsize)

    return encode


def _uuids(column: pa.Array) -> npt.NDArray[np.uint8]:
    storage = column.storage
    return np.frombuffer(storage.buffers()[1], np.uint8)[16 * storage.offset :][: 16 * len(storage)].reshape(len(storage), 16)


_FORMS = {
    pa.int16(): _Form(2, "int2send", _numbers(">i2")),
    pa.int32(): _Form(4, "int4send", _numbers(">i4")),
    pa.int64(): _Form(8, "int8send", _numbers(">i8")),
    pa.uint32(): _Form(4, "xidsend", _numbers(">u4")),
    pa.date32(): _Form(4, "date_send", _numbers(">i4", _DAYS_TO_2000)),
    pa.timestamp("us"): _Form(8, "timestamp_send", _numbers(">i8", _MICROSECONDS_TO_2000)),
    pa.timestamp("us", tz="UTC"): _Form(8, "timestamptz_send", _numbers(">i8", _MICROSECONDS_TO_2000)),
    pa.uuid(): _Form(16, "uuid_send", _uuids),
}
