"""Leaves of a natively partitioned table that can be dropped in place of being emptied.

What belongs here: which leaves hold whole days, and the one transaction in which a leaf is proven, detached and dropped. What does not:
what proves its rows (`lifecycle/purging/dropping.py`).

Only leaves right below the table, of a RANGE on the timestamp column alone and with two finite bounds, are looked at: of a default
partition, of sub-partitions and of other keys the bounds do not say which days may come. Those are emptied by deletes, and stay.
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
"""Less than deadlock_timeout (1 s by default): whoever waits for us in a circle never loses, we do."""
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

    It lies `inside` the days that were asked for, or all of it has `expired`, or both.
    """

    oid: int
    relation: sql.Relation
    lower: str
    upper: str
    inside: bool
    expired: bool


class LeafBusy(Exception):
    """Others use the leaf, or the table, so that the locks of a drop were not granted in time."""


class LeafKept(Exception):
    """The server, or the catalog, says that the leaf cannot be dropped."""


def day_leaves(connection: Connection, target: Target, expired: datetime | date) -> list[DayLeaf]:
    """Return the leaves that lie inside the range of `target`, or whose upper bound is not above `expired`; in the order of their bounds.

    `expired` has the type of the timestamp column. A leaf that somebody is detaching is not among them.
    """
    statement = sql_catalog.day_leaves(target.days, target.table.timestamp.pg_type, expired)
    rows = connection.execute(statement, [target.table.oid, target.table.timestamp.name])
    return [
        DayLeaf(row["oid"], sql.Relation(row["schema"], row["name"]), row["lower"], row["upper"], row["inside"], row["expired"])
        for row in rows
    ]


def is_empty(connection: Connection, leaf: DayLeaf) -> bool:
    """Tell whether the session sees no row in the leaf."""
    return not connection.execute(sql_purge.first_of_leaf(leaf.relation)).fetchall()


def drop_leaf(connection: Connection, target: Target, leaf: DayLeaf, proves: Callable[[Target], bool]) -> bool:
    """Detach and drop a leaf if `proves`, which is asked when nobody else can read or write it any more; return whether it did.

    One READ COMMITTED transaction: what was committed before the lock is seen by the proof, and a crash leaves the leaf where it was.

    Raises LeafBusy; LeafKept; and SourceChanged or TableRefused where the table is not as it was proven. Then nothing was dropped.
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
    """Count the rows of the leaf that the session sees."""
    return int(connection.execute(sql_purge.count_leaf(leaf.relation)).fetchall()[0]["rows"])


def _require_same(connection: Connection, target: Target, leaf: DayLeaf) -> None:
    row = connection.execute(sql_catalog.LEAF_BOUNDS, [leaf.oid, target.table.oid]).fetchone()
    found = row and (row["schema"], row["name"], row["lower"], row["upper"])
    if found != (leaf.relation.schema, leaf.relation.name, leaf.lower, leaf.upper):
        message = f"leaf {leaf.relation.name} of {target.config.label} was detached, renamed or given other bounds"
        raise LeafKept(message)
