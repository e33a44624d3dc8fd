"""Deletes rows that an object holds, and counts what became of them.

What belongs here: one transaction for one batch of rows, each proven by version or by equality of every column. What does not: which rows
an object holds, whether it is proven, and when to delete (`lifecycle`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from archiver_assets.config import TableConfig
from archiver_assets.errors import SourceChanged, SourceError, SourceTimeout
from archiver_assets.source import sql, sql_purge, sql_restore
from archiver_assets.source.bindings import XidArray
from archiver_assets.source.catalog import XMIN, Connection, Leaf, Table, read_table
from archiver_assets.source.catalog_versions import Footprint
from archiver_assets.source.literals import to_array_text, to_input_text
from archiver_assets.source.session import committed
from archiver_assets.source.strain import count_blocked

_ROW_LOCK_MILLISECONDS = 5_000
_SECOND_LOCK_MILLISECONDS = 200
_BATCH_MILLISECONDS = 300_000
"""The time limit of one statement of a batch, which bounds how long it holds row locks."""
_NUMBERS_PER_ROW = 4
"""Xmins are bound by position while the range of a batch's key has fewer numbers per row than this."""


@dataclass(frozen=True)
class Deleted:
    """What became of rows: deleted `by_version` or `by_content`, `changed` (the key has another row), `gone` before, or `locked`.

    `elsewhere` counts rows that are the archived versions but lie outside the range, so they were not deleted. `held` counts rows in range
    that a legal hold keeps; those with another version may or may not equal the archived row. `locked` rows were locked by others.
    `blocked` counts not rows but other sessions that waited for ours when the batch was done, just before its commit, if they were counted.
    """

    by_version: int = 0
    by_content: int = 0
    changed: int = 0
    gone: int = 0
    locked: int = 0
    elsewhere: int = 0
    blocked: int = 0
    held: int = 0

    def __add__(self, other: "Deleted") -> "Deleted":
        """Return the sum of each number."""
        return Deleted(**{name: getattr(self, name) + getattr(other, name) for name in Deleted.__dataclass_fields__})


@dataclass(frozen=True)
class Target:
    """The table to delete from, as it was when the purge proved its generation, and the leaves in which row versions are believed.

    Other leaves may be attached or detached while the purge runs; the columns, the key and the table itself must not change.
    """

    config: TableConfig
    table: Table
    days: sql.Days
    leaves: tuple[Leaf, ...]
    statement_timeout_seconds: int = _BATCH_MILLISECONDS // 1000
    footprint: Footprint = field(default_factory=Footprint, compare=False, repr=False)

    @property
    def milliseconds(self) -> int:
        """What one statement of a batch may take: no longer than the session allows."""
        return min(_BATCH_MILLISECONDS, 1000 * self.statement_timeout_seconds)

    @property
    def key(self) -> list[tuple[str, str]]:
        """Names and types of the key's columns."""
        return [(column.name, column.pg_type) for column in self.table.key]


ReadHolds = Callable[[], Sequence[sql.HeldRows]]
"""Reads the rows that are held now, at each call."""

Looks = Callable[[], bool]
"""Returns whether it is time to count the other sessions that wait for ours."""


@dataclass(frozen=True)
class Batch:
    """Rows of an object: `versions` has the key's columns, the timestamp and `_xmin`.

    `believed` marks the rows whose version certainly identifies the archived row. `content` returns the whole rows `[start, stop)` of the
    batch; it is called only for rows whose version does not decide.
    """

    versions: pa.RecordBatch
    believed: pa.BooleanArray
    content: Callable[[int, int], pa.RecordBatch]

    def part(self, start: int, stop: int) -> "Batch":
        """Return the rows `[start, stop)` as a batch of their own."""
        return Batch(
            self.versions.slice(start, stop - start),
            self.believed.slice(start, stop - start),
            lambda first, last: self.content(start + first, start + last),
        )


def delete_rows(connection: Connection, target: Target, batch: Batch, read_holds: ReadHolds, looks: Looks) -> Deleted:
    """Delete the rows of `batch` that are in the table, in range, not held, and proven to be the object's, in one transaction.

    A row is deleted by its version where that is believed, else if it equals the object's row byte by byte. Rows that others keep locked
    for longer than 5 seconds are left, which takes further transactions. All transactions are READ COMMITTED, and holds are read before
    each. Before each commit, if `looks` returns true, the other sessions that wait for ours are counted.

    Raises SourceTimeout if the batch takes too long, HoldsUnreadable, SourceChanged or TableRefused if the table is not as it was proven
    (it is checked under the lock of the DELETE), and SourceError if a row version that should be deleted would remain. The failed
    transaction deletes nothing.
    """
    try:
        return _delete_at_once(connection, target, batch, read_holds, looks, _ROW_LOCK_MILLISECONDS)
    except _RowsLocked:
        return _delete_unlocked(connection, target, batch, read_holds, looks)


class _RowsLocked(Exception):
    """A row of the batch stayed locked."""


def _delete_unlocked(connection: Connection, target: Target, batch: Batch, read_holds: ReadHolds, looks: Looks) -> Deleted:
    # In halves: finding locked rows with SKIP LOCKED would need the right to UPDATE.
    rows = batch.versions.num_rows
    try:
        return _delete_at_once(connection, target, batch, read_holds, looks, _SECOND_LOCK_MILLISECONDS)
    except _RowsLocked:
        if rows == 1:
            return Deleted(locked=1)
    parts = (batch.part(0, rows // 2), batch.part(rows // 2, rows))
    first, second = (_delete_unlocked(connection, target, part, read_holds, looks) for part in parts)
    return first + second


def _delete_at_once(
    connection: Connection, target: Target, batch: Batch, read_holds: ReadHolds, looks: Looks, lock_milliseconds: int
) -> Deleted:
    held = read_holds()
    with committed(connection):
        connection.execute(sql_purge.begin_batch(target.table.relation, lock_milliseconds, target.milliseconds), prepare=False)
        target = as_it_is_now(connection, target)
        try:
            deleted = _delete(connection, target, batch, held)
        except psycopg.errors.LockNotAvailable as error:
            raise _RowsLocked from error
        except psycopg.errors.QueryCanceled as error:
            raise _timed_out(target, batch) from error
        return replace(deleted, blocked=count_blocked(connection)) if looks() else deleted


def _timed_out(target: Target, batch: Batch) -> SourceTimeout:
    limit = f"{target.milliseconds // 1000} s"
    message = f"{target.config.label}: expected a batch of {batch.versions.num_rows} rows to be deleted within {limit}, found it cancelled"
    hint = f"lower batch_size (now {target.config.batch_size}), and find out what slows the DELETE, or who cancelled it"
    return SourceTimeout(message, hint=f"{hint}; the failed transaction deleted nothing, and the next purge continues with it")


def as_it_is_now(connection: Connection, target: Target) -> Target:
    """Return the target with those of its believed leaves that the table still has, unchanged. The caller holds the DELETE's lock.

    Raises SourceChanged or TableRefused if the table is not as it was proven.
    """
    if target.footprint.is_unchanged(connection) or target.footprint.proves(connection, target.config, target.table):
        return target
    table = read_table(connection, target.config)
    if replace(table, leaves=()) != replace(target.table, leaves=()):
        message = f"table {target.config.label} was altered or replaced while its rows were being purged"
        raise SourceChanged(message, hint="run the purge again; the failed transaction deleted nothing")
    return replace(target, leaves=tuple(leaf for leaf in target.leaves if leaf in table.leaves))


def _delete(connection: Connection, target: Target, batch: Batch, held: Sequence[sql.HeldRows]) -> Deleted:
    rows = batch.versions.num_rows
    believed = batch.versions if batch.believed.true_count == rows else batch.versions.filter(batch.believed)
    by_version = 0
    if believed.num_rows:
        by_version = _delete_believed(connection, target, believed, held)
        if by_version == rows:
            return Deleted(by_version)
    left = _find(connection, target, batch, held)
    inside = [position for position, found in left.items() if found.inside and not found.held]
    by_content = _delete_equal(connection, target, batch, inside, held)
    if by_content:
        left = _find(connection, target, batch, held)
    return _count(target, left, batch.believed, Deleted(by_version, by_content, gone=rows - by_version - by_content - len(left)))


def _delete_believed(connection: Connection, target: Target, versions: pa.RecordBatch, held: Sequence[sql.HeldRows]) -> int:
    numbered = _numbered(target, versions)
    if numbered is not None:
        # Prepared: the server plans for the range, until it finds that a plan for any range costs no more.
        statement = sql_purge.delete_numbered(target.days, target.key[0][0], held, one_leaf=len(target.leaves) == 1)
        return connection.execute(statement, numbered, prepare=True).rowcount
    timestamp = target.table.timestamp
    extremes = pc.min_max(versions.column(timestamp.name))
    bounds = [text for name in ("min", "max") for text in to_input_text(pa.repeat(extremes[name], 1))]
    # Not prepared: a plan for unknown arrays and an unknown range would expect ten rows.
    statement = sql_purge.delete_versions(target.days, target.key, timestamp.pg_type, held)
    return connection.execute(statement, [*_versions(target, versions), *bounds], prepare=False).rowcount


def _numbered(target: Target, versions: pa.RecordBatch) -> list[object] | None:
    """Return what `sql_purge.delete_numbered` binds; None if the key is not one integer column, or its numbers lie too far apart."""
    if len(target.key) != 1 or not pa.types.is_integer(versions.column(target.key[0][0]).type):
        return None
    numbers = versions.column(target.key[0][0]).to_numpy().astype(np.int64, copy=False)
    first, last = int(numbers.min()), int(numbers.max())
    if last - first >= _NUMBERS_PER_ROW * len(numbers):
        return None
    xmins = np.zeros(last - first + 1, np.uint32)
    xmins[numbers - first] = versions.column(XMIN).to_numpy()
    leaves = [leaf.oid for leaf in target.leaves]
    return [XidArray(xmins), first, last, leaves[0] if len(leaves) == 1 else leaves]


@dataclass(frozen=True)
class _Found:
    same: bool
    inside: bool
    held: bool


def _find(connection: Connection, target: Target, batch: Batch, held: Sequence[sql.HeldRows]) -> dict[int, _Found]:
    """Return what the table has under the batch's keys, by the position in the batch."""
    found = connection.execute(sql_purge.find_keys(target.days, target.key, held), _versions(target, batch.versions))
    return {row["position"] - 1: _Found(row["same"], row["inside"], row["held"]) for row in found}


def _count(target: Target, left: dict[int, _Found], believed: pa.BooleanArray, deleted: Deleted) -> Deleted:
    held = sum(found.inside and found.held for found in left.values())
    left = {position: found for position, found in left.items() if not (found.inside and found.held)}
    same = {position: found for position, found in left.items() if found.same and believed[position].as_py()}
    stuck = sum(found.inside for found in same.values())
    if stuck:
        message = f"{stuck} archived row versions of {target.config.label} could not be deleted"
        raise SourceError(message, hint="find out what prevents their deletion; the failed transaction deleted nothing")
    inside = sum(found.inside for found in left.values())
    moved = len(left) - inside - len(same)
    return deleted + Deleted(changed=inside, elsewhere=len(same), gone=moved, held=held)


def _delete_equal(connection: Connection, target: Target, batch: Batch, positions: Sequence[int], held: Sequence[sql.HeldRows]) -> int:
    if not positions:
        return 0
    first, last = min(positions), max(positions) + 1
    rows = batch.content(first, last).take(pa.array([position - first for position in positions]))
    columns = [(column.name, column.pg_type) for column in target.table.columns]
    arrays = [to_array_text(rows.column(name)) for name, _ in columns]
    return connection.execute(sql_purge.delete_equal(target.days, [name for name, _ in target.key], columns, held), arrays).rowcount


@dataclass(frozen=True)
class Foreseen:
    """What `delete_rows` would do with a batch, as the session sees the table, and the positions of the rows it would delete."""

    rows: Deleted
    by_version: frozenset[int]
    by_content: frozenset[int]


def foresee(connection: Connection, target: Target, batch: Batch, held: Sequence[sql.HeldRows]) -> Foreseen:
    """Return what `delete_rows` would do, without doing it. Rows that others have locked are treated like any other."""
    left = _find(connection, target, batch, held)
    inside = [position for position, found in left.items() if found.inside and not found.held]
    believed = batch.believed.to_pylist()
    by_version = frozenset(position for position in inside if left[position].same and believed[position])
    by_content = _find_equal(connection, target, batch, sorted(set(inside) - by_version))
    stay = {position: found for position, found in left.items() if position not in by_version | by_content}
    gone = Deleted(len(by_version), len(by_content), gone=batch.versions.num_rows - len(left))
    return Foreseen(_count(target, stay, batch.believed, gone), by_version, by_content)


def _find_equal(connection: Connection, target: Target, batch: Batch, positions: Sequence[int]) -> frozenset[int]:
    if not positions:
        return frozenset()
    first, last = positions[0], positions[-1] + 1
    rows = batch.content(first, last).take(pa.array([position - first for position in positions]))
    columns = [(column.name, column.pg_type, column.pg_type) for column in target.table.columns]
    arrays = [to_array_text(rows.column(name)) for name, _, _ in columns]
    statement = sql_restore.find_rows(target.table.relation, [name for name, _ in target.key], columns)
    found = connection.execute(statement, arrays)
    return frozenset(positions[row["position"] - 1] for row in found if row["same"])


def count_versions(connection: Connection, target: Target, leaf: sql.Relation, batch: Batch) -> int:
    """Count the rows of a leaf that match the believed versions of `batch`, which must all be different."""
    believed = batch.versions.filter(batch.believed)
    if not believed.num_rows:
        return 0
    return int(
        connection.execute(sql_purge.count_versions(target.days, leaf, target.key), _versions(target, believed)).fetchall()[0]["rows"]
    )


def _versions(target: Target, versions: pa.RecordBatch) -> list[object]:
    arrays = [to_array_text(versions.column(name)) for name in (*(name for name, _ in target.key), XMIN)]
    return [*arrays, [leaf.oid for leaf in target.leaves]]
