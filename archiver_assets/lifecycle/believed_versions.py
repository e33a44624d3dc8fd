"""When the xmin of an archived row can be trusted to identify the same row version today.

What belongs here: arithmetic on transaction ids. What does not: how a doubtful version is handled.
"""

import pyarrow as pa
import pyarrow.compute as pc

from archiver_assets.store.manifest import SourceFacts

_XID_SPACE = 2**32
WHILE_IT_RUNS = 2**24
"""The number of transaction ids that the server may assign during a purge, after `next_xid` was read."""


def doubtful(xmins: pa.Array, source: SourceFacts, next_xid: int, soon: int = WHILE_IT_RUNS) -> pa.BooleanArray:
    """Return for each xmin (uint32) whether it was assigned since the oldest transaction running at the snapshot, or will be `soon`.

    `source.snapshot` is `xmin:xmax:xip`; its xmin is that oldest transaction. Its ids are 64 bits wide, as is `next_xid`, the first id not
    yet assigned. Rows store ids modulo 2^32, so ids are compared modulo 2^32. A row that the snapshot saw can have the id of a transaction
    running then, or later, only if the row was frozen an epoch ago. The running ids are unknown: a snapshot lists no subtransactions, and a
    standby's snapshot lists nothing.
    """
    oldest, newest, _ = source.snapshot.split(":")
    first = int(oldest)
    if next_xid < int(newest):
        # The server went back in time: a crash lost transactions, or an older copy of its disk was restored.
        return pc.is_valid(xmins)
    ids = xmins.cast(pa.int64())
    age = pc.bit_wise_and(pc.subtract(ids, first % _XID_SPACE), _XID_SPACE - 1)
    return pc.less(age, next_xid + soon - first)
