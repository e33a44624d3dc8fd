"""When the xmin of an archived row can be believed to name the same row version today.

What belongs here: arithmetic on transaction ids. What does not: what is done with a version that is in doubt.
"""

import pyarrow as pa
import pyarrow.compute as pc

from archiver_assets.store.manifest import SourceFacts

_XID_SPACE = 2**32
WHILE_IT_RUNS = 2**24
"""Transaction ids that the server may give out while a purge runs, after `next_xid` was read."""


def doubtful(xmins: pa.Array, source: SourceFacts, next_xid: int, soon: int = WHILE_IT_RUNS) -> pa.BooleanArray:
    """Tell for each xmin (uint32) whether it was given out since the oldest transaction that ran at the snapshot, or will be `soon`.

    `source.snapshot` is `xmin:xmax:xip`, and that oldest one its xmin; all ids are 64 bits wide there, as is `next_xid`, the first that was
    not given out yet. Rows store them modulo 2^32, so they are compared so. A row that the snapshot saw has the id of what ran then, or
    came later, only if it was frozen an epoch ago. Which ids ran is not known: a snapshot names no subtransactions, and that of a standby
    nothing at all.
    """
    oldest, newest, _ = source.snapshot.split(":")
    first = int(oldest)
    if next_xid < int(newest):
        # The server went back in time: a crash lost transactions, or an older copy of its disk was put back.
        return pc.is_valid(xmins)
    ids = xmins.cast(pa.int64())
    age = pc.bit_wise_and(pc.subtract(ids, first % _XID_SPACE), _XID_SPACE - 1)
    return pc.less(age, next_xid + soon - first)
