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
    """Tell for each xmin (uint32) whether it was running at the snapshot, or given out from then to `next_xid` (64 bits) and `soon` more.

    `source.snapshot` is `xmin:xmax:xip`, 64 bits wide each; rows store ids modulo 2^32, so they are compared so. A row that the snapshot
    saw has such an xmin only if it was frozen an epoch ago. A standby's snapshot does not say which transactions were running: all from
    its xmin on are in doubt.
    """
    oldest, newest, running = source.snapshot.split(":")
    first = int(newest) if source.read_from == "primary" else int(oldest)
    if next_xid < int(newest):
        # The server went back in time: a crash lost transactions, or an older copy of its disk was put back.
        return pc.is_valid(xmins)
    ids = xmins.cast(pa.int64())
    age = pc.bit_wise_and(pc.subtract(ids, first % _XID_SPACE), _XID_SPACE - 1)
    in_progress = pa.array([int(xid) % _XID_SPACE for xid in running.split(",") if xid], pa.int64())
    return pc.or_(pc.less(age, next_xid + soon - first), pc.is_in(ids, in_progress))
