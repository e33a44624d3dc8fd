"""Arrays bound in PostgreSQL's binary format, at a fraction of the cost of writing and parsing them as text.

What belongs here: that format, and its registration with the driver. What does not: arrays of any type, which travel as text
(`literals.py`).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg.adapt import Buffer, Dumper
from psycopg.pq import Format

_XID = 28
_XID_ARRAY = 1011
_HEADER = 5


@dataclass(frozen=True)
class XidArray:
    """Transaction ids, bound as an array of `xid` with subscripts from 1."""

    xids: npt.NDArray[np.uint32]


class _XidArrayDumper(Dumper):
    format = Format.BINARY
    oid = _XID_ARRAY

    def dump(self, obj: XidArray) -> Buffer:
        # array_recv reads the number of dimensions, the null flag, the element type, the length and the first subscript; then each value
        # after its length in bytes.
        words = np.empty(_HEADER + 2 * len(obj.xids), ">i4")
        words[:_HEADER] = 1, 0, _XID, len(obj.xids), 1
        words[_HEADER::2] = 4
        words[_HEADER + 1 :: 2] = obj.xids.view(np.int32)
        return words.view(np.uint8).data


psycopg.adapters.register_dumper(XidArray, _XidArrayDumper)
