"""Tables that are only archived (`purge: false`). Their rows are never deleted, so remaining rows do not show which days are still to do.

What belongs here: refusing to delete, and finding the days that need no further archive. What does not: walking over the other days
(`backlog.py`).

This module does not import Arrow, because a code server calls `done_days` on every tick of such a table.
"""

from datetime import date

from archiver_assets.config import TableConfig
from archiver_assets.errors import TableRefused
from archiver_assets.lifecycle.reporting.archive_totals import live_days
from archiver_assets.store.keys import TableKeys
from archiver_assets.store.objects import ObjectStore


def require_purge(table: TableConfig) -> None:
    """Raise TableRefused for a table that is only archived. All code that deletes calls this before it reads or writes anything."""
    if not table.purge:
        message = f"expected purge: true in the config of {table.label}, found purge: false: its rows are never deleted"
        raise TableRefused(message, hint="run only its archive; or set purge: true, and the next runs purge every expired day")


def done_days(store: ObjectStore, keys: TableKeys, table: TableConfig) -> frozenset[date]:
    """Return the days that need no run although they have rows: for a table that is only archived, the days that have a live generation.

    For any other table, return the empty set without a request: its remaining rows show what is to do. As in `archiver list`, a generation
    is live if it has a manifest and no rejection. Raises StoreError and StoreUnavailable.
    """
    return frozenset() if table.purge else live_days(store, keys)
