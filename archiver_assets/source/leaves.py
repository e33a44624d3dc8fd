"""Leaves of a natively partitioned table that can be dropped instead of emptied.

What belongs here: which leaves hold whole days, and the transaction that proves, detaches and drops a leaf. What does not: the proof of its
rows (`lifecycle/purging/dropping.py`).

Only leaves directly below the table are considered, by RANGE on the timestamp column alone and with two finite bounds. The bounds of a
default partition, of sub-partitions and of other keys do not show which days may come; such leaves are emptied by deletes, and stay.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime

import psycopg

from archiver_assets.source import sql, sql_catalog, sql_purge
from archiver_assets.source.catalog import Connection
from archiver_assets.source.deleting import Target, as_it_is_now
from archiver_assets.source.error_text import said

_LOCK_MILLISECONDS = 500
"""Less than deadlock_timeout (1 s by default): in a deadlock this session always gives up, never the other one."""
_STATEMENT_MILLISECONDS = 300_000
_IDLE_MILLISECONDS = 30_000
"""How long the proof may take between two statements, as for a store of holds that does not answer: then the server frees the locks."""

_REFUSALS = (
    psycopg.errors.DependentObjectsStillExist,
    psycopg.errors.ForeignKeyViolation,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.ObjectInUse,
    psycopg.errors.ObjectNotInPrerequisiteState,
    psycopg.errors.QueryCanceled,
    psycopg.errors.UndefinedTable,
)


@dataclass(frozen=True)
class DayLeaf:
    """A leaf with the bounds `[lower, upper)`, as the server writes them.

    It lies `inside` the requested days, or all of it has `expired`, or both.
    """

    oid: int
    relation: sql.Relation
    lower: str
    upper: str
    inside: bool
    expired: bool


class LeafBusy(Exception):
    """The leaf or the table is in use, so that the locks of a drop were not granted in time."""


class LeafKept(Exception):
    """The server or the catalog reports that the leaf cannot be dropped."""


def day_leaves(connection: Connection, target: Target, expired: datetime | date) -> list[DayLeaf]:
    """Return the leaves inside the range of `target`, or with an upper bound at or before `expired`, in the order of their bounds.

    `expired` has the type of the timestamp column. A leaf that is being detached is left out.
    """
    statement = sql_catalog.day_leaves(target.days, target.table.timestamp.pg_type, expired)
    rows = connection.execute(statement, [target.table.oid, target.table.timestamp.name])
    return [
        DayLeaf(row["oid"], sql.Relation(row["schema"], row["name"]), row["lower"], row["upper"], row["inside"], row["expired"])
        for row in rows
    ]


def is_empty(connection: Connection, leaf: DayLeaf) -> bool:
    """Return whether the session sees no row in the leaf."""
    return not connection.execute(sql_purge.first_of_leaf(leaf.relation)).fetchall()


def drop_leaf(connection: Connection, target: Target, leaf: DayLeaf, proves: Callable[[Target], bool]) -> bool:
    """Detach and drop a leaf if `proves` returns true, and return whether it was dropped.

    `proves` is called once nobody else can read or write the leaf. One READ COMMITTED transaction: the proof sees everything that was
    committed before the lock, and a crash leaves the leaf in place.

    Raises LeafBusy; LeafKept; and SourceChanged or TableRefused if the table is not as it was proven. In each case nothing is dropped.
    """
    try:
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE")
            connection.execute(sql_purge.batch_limits(_LOCK_MILLISECONDS, _STATEMENT_MILLISECONDS))
            connection.execute(sql_purge.idle_limit(_IDLE_MILLISECONDS))
            connection.execute(sql_purge.lock_table_for_delete(target.table.relation))
            target = as_it_is_now(connection, target)
            connection.execute(sql_purge.lock_leaf(leaf.relation))
            _require_same(connection, target, leaf)
            if not proves(target):
                return False
            connection.execute(sql_purge.detach_leaf(target.table.relation, leaf.relation))
            connection.execute(sql_purge.drop_leaf(leaf.relation))
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
        raise LeafBusy(said(error)) from error
    except _REFUSALS as error:
        raise LeafKept(said(error)) from error
    return True


def rows_of(connection: Connection, leaf: DayLeaf) -> int:
    """Return how many rows of the leaf the session sees."""
    return int(connection.execute(sql_purge.count_leaf(leaf.relation)).fetchall()[0]["rows"])


def _require_same(connection: Connection, target: Target, leaf: DayLeaf) -> None:
    row = connection.execute(sql_catalog.LEAF_BOUNDS, [leaf.oid, target.table.oid]).fetchone()
    found = row and (row["schema"], row["name"], row["lower"], row["upper"])
    if found != (leaf.relation.schema, leaf.relation.name, leaf.lower, leaf.upper):
        message = f"leaf {leaf.relation.name} of {target.config.label} was detached, renamed or given different bounds"
        raise LeafKept(message)
