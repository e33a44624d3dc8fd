"""Tables that are archived only (`purge: false`): no row of theirs is ever deleted, so that rows no longer say which days are still to do.

What belongs here: refusing to delete, and which days want no archive any more. What does not: the walk over the other days (`backlog.py`).

Imports no Arrow: a code server asks for these days in each tick of such a table.
"""

from datetime import date

from archiver_assets.config import TableConfig
from archiver_assets.errors import TableRefused
from archiver_assets.lifecycle.reporting.archive_totals import live_days
from archiver_assets.store.keys import TableKeys
from archiver_assets.store.objects import ObjectStore


def require_purge(table: TableConfig) -> None:
    """Raise TableRefused for a table that is archived only. Whatever deletes calls it, before it reads or writes anything."""
    if not table.purge:
        message = f"expected purge: true in the config of {table.label}, found purge: false: no row of it is ever deleted"
        raise TableRefused(message, hint="archive it alone; or set purge: true, and let the next runs purge all that waits")


def done_days(store: ObjectStore, keys: TableKeys, table: TableConfig) -> frozenset[date]:
    """Return the days that want no run although they have rows: of a table that is archived only, those that the archive has.

    None, and without a request, for any other table: its rows say themselves what is to do. A generation counts as it does for `list`:
    a manifest, and no rejection. Raises StoreError and StoreUnavailable.
    """
    return frozenset() if table.purge else live_days(store, keys)
