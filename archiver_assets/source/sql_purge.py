"""SQL that deletes rows, or drops leaves, of a configured table, one function a statement.

What belongs here: what a purge's transactions consist of, each statement commented with the lock it takes and the index it needs. What does
not: running them (`deleting.py`, `leaves.py`), and the terms that they share with others (`sql.py`).
"""

from collections.abc import Sequence
from functools import lru_cache

from psycopg import sql

from archiver_assets.source.sql import (
    Days,
    HeldRows,
    Relation,
    any_held,
    bound_types,
    equal,
    given_rows,
    joined_by,
    same_image,
    trusted,
)


def lock_table_for_delete(relation: Relation) -> sql.Composed:
    """ROW EXCLUSIVE on the table and its leaves, as a DELETE takes it: nobody can alter or rename them, or add triggers or foreign keys."""
    return sql.SQL("LOCK TABLE {} IN ROW EXCLUSIVE MODE").format(relation.identifier)


def batch_limits(lock_milliseconds: int, milliseconds: int) -> sql.Composed:
    """To the end of the transaction let no statement wait for a lock, or take, longer than this or than the session allows. No lock."""
    return sql.SQL(
        "SELECT set_config('lock_timeout', {lock}, true), set_config('statement_timeout', least("
        "{most}, nullif(extract(epoch FROM current_setting('statement_timeout')::interval) * 1000, 0)::bigint)::text, true)"
    ).format(lock=sql.Literal(str(lock_milliseconds)), most=sql.Literal(milliseconds))


def idle_limit(milliseconds: int) -> sql.Composed:
    """To the end of the transaction let the server end a session that sends no statement for so long. No lock."""
    return sql.SQL("SELECT set_config('idle_in_transaction_session_timeout', {}, true)").format(sql.Literal(str(milliseconds)))


@lru_cache(maxsize=8)
def begin_batch(relation: Relation, lock_milliseconds: int, milliseconds: int) -> sql.Composed:
    """Begin a READ COMMITTED transaction, in one round trip, with the lock of `lock_table_for_delete`, then the limits of a batch.

    In this order, so that the table is waited for as long as the session says, and only rows for `lock_milliseconds`. Not to be prepared.
    """
    return sql.SQL("BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE; {}; {}").format(
        lock_table_for_delete(relation), batch_limits(lock_milliseconds, milliseconds)
    )


def delete_versions(days: Days, key: Sequence[tuple[str, str]], pg_type: str, held: Sequence[HeldRows]) -> sql.Composed:
    """Delete the rows whose key and xmin are in the bound arrays, if still in range and not `held`; `key` gives names and types.

    After the arrays comes that of the leaves (oid) in which a row version means what it meant when it was archived, then the least and the
    greatest timestamp of the versions, as text of the column's `pg_type`. These two say nothing new of a version; they let the server read
    a batch's rows by one pass over their stretch of the index on the timestamp, and a hash join, in place of a descent of the key's index
    for each, where the planner finds that cheaper. To know, it must be planned with the values.

    ROW EXCLUSIVE, and a row lock on each row that it deletes. Needs the unique index on the key. In READ COMMITTED a row that another
    transaction changes while this statement waits for it is checked again, with its new xmin, and stays.
    """
    return sql.SQL("DELETE FROM {} AS t USING {} WHERE {} AND {} AND {} AND {} AND NOT {}").format(
        days.relation.identifier,
        _given_versions(key),
        _same_key(key),
        _same_version(key),
        _between(days, pg_type, len(key) + 3),
        days.condition("t"),
        any_held(held),
    )


def delete_numbered(days: Days, column: str, held: Sequence[HeldRows], *, one_leaf: bool) -> sql.Composed:
    """Delete as `delete_versions` does, where the key is one column of integers that lie close together.

    Most audit tables number their rows. Bound are the xmins of all numbers from `$2` to `$3`, as an array, with 0, which no row has, where
    a number was not archived; and the leaves, or the only one of them. So a row's version is looked up by its place, which costs next to
    nothing beside the deletion, while the join of `delete_versions` costs half as much as that, or more.

    Locks as `delete_versions`. Wants the unique index on the key: it reads the numbers' stretch of it. Composed once for many batches.
    """
    # CASE, because the order of other conditions is the planner's, and a number far away would be no subscript.
    return sql.SQL(
        "DELETE FROM {table} AS t WHERE {number} >= $2::bigint AND {number} <= $3::bigint"
        " AND CASE WHEN {number} BETWEEN $2::bigint AND $3::bigint THEN t.xmin = ($1::xid[])[{number} - $2::bigint + 1] ELSE false END"
        " AND {leaves} AND {range} AND NOT {held}"
    ).format(
        table=days.relation.identifier,
        number=sql.Identifier("t", column),
        # An array costs five times as much to look through, for every row.
        leaves=trusted("t.tableoid = $4::oid") if one_leaf else _in_leaves(4),
        range=days.condition("t"),
        held=any_held(held),
    )


def _given_versions(key: Sequence[tuple[str, str]]) -> sql.Composed:
    # As set-returning functions of a SELECT arrays are spread row by row; as functions in FROM each would be stored whole first.
    arrays = [f"unnest(${number}::{pg_type}[])" for number, pg_type in enumerate(bound_types(key, xmin=True), start=1)]
    names = [*(f"column{position}" for position in range(len(key))), "stored_xmin"]
    fields = sql.SQL(", ").join(
        sql.SQL("{} AS {}").format(trusted(array), sql.Identifier(name)) for array, name in zip(arrays, names, strict=True)
    )
    return sql.SQL("(SELECT {}) AS given").format(fields)


def _between(days: Days, pg_type: str, number: int) -> sql.Composed:
    return sql.SQL("{column} >= {first} AND {column} <= {last}").format(
        column=sql.Identifier("t", days.column),
        first=trusted(f"${number}::{pg_type}"),
        last=trusted(f"${number + 1}::{pg_type}"),
    )


def delete_equal(days: Days, key: Sequence[str], columns: Sequence[tuple[str, str]], held: Sequence[HeldRows]) -> sql.Composed:
    """Delete the rows that are, byte by byte, those of the bound arrays, one array a column, and not `held`; `columns` gives names, types.

    Images, or PostgreSQL's text, are compared and not values, for which 1.0 equals 1.00 and 0 equals -0. Locks as `delete_versions`: a row
    that changes while this statement waits for it is compared again, and stays if it is another one now.
    """
    return sql.SQL("DELETE FROM {} AS t USING {} WHERE {} AND {} AND {} AND NOT {}").format(
        days.relation.identifier,
        given_rows(columns, xmin=False),
        joined_by(key, columns),
        same_image(columns, range(len(columns))),
        days.condition("t"),
        any_held(held),
    )


def find_keys(days: Days, key: Sequence[tuple[str, str]], held: Sequence[HeldRows]) -> sql.Composed:
    """Of the keys and xmins in the bound arrays (the last is that of the leaves), find those of which the table has a row.

    The answer has a row for each: its `position` from 1, whether the row is the `same` version, whether it is `inside` the range, and
    whether it is `held`. ACCESS SHARE. Needs the unique index on the key.
    """
    return sql.SQL("SELECT given.position, {} AS same, {} AS inside, {} AS held FROM {} AS t JOIN {} ON {}").format(
        _same_version(key),
        days.condition("t"),
        any_held(held),
        days.relation.identifier,
        given_rows(key, xmin=True, ordinality=True),
        _same_key(key),
    )


def lock_leaf(leaf: Relation) -> sql.Composed:
    """ACCESS EXCLUSIVE: nobody reads or writes the leaf, and whoever did has ended, so that what it holds is committed."""
    return sql.SQL("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE").format(leaf.identifier)


def count_leaf(leaf: Relation) -> sql.Composed:
    """ACCESS SHARE."""
    return sql.SQL("SELECT count(*) AS rows FROM ONLY {}").format(leaf.identifier)


def leaf_pages(leaf: Relation) -> sql.Composed:
    """Count the leaf's pages, in one row. ACCESS SHARE, for as long as it looks."""
    return sql.SQL("SELECT pg_relation_size({}::regclass) / current_setting('block_size')::bigint AS pages").format(
        sql.Literal(leaf.identifier.as_string())
    )


def leaf_versions(days: Days, leaf: Relation, key: Sequence[tuple[str, str]]) -> sql.Composed:
    """Read the versions of the leaf's rows from one place, `$1`, up to another, `$2`: all of them as one value.

    `key` gives names and the functions that write a value's binary form. The answer has the `rows`, how many of them are `inside` the
    range, and the `versions`, NULL for no rows. ACCESS SHARE; reads only the pages between.
    """
    parts = [sql.SQL("{}({})").format(sql.Identifier("pg_catalog", send), sql.Identifier("t", name)) for name, send in key]
    return sql.SQL(
        "SELECT count(*) AS rows, count(*) FILTER (WHERE {}) AS inside, string_agg({} || xidsend(t.xmin), ''::bytea) AS versions"
        " FROM ONLY {} AS t WHERE t.ctid >= $1::tid AND t.ctid < $2::tid"
    ).format(days.condition("t"), sql.SQL(" || ").join(parts), leaf.identifier)


def first_of_leaf(leaf: Relation) -> sql.Composed:
    """ACCESS SHARE; one row, if there is any."""
    return sql.SQL("SELECT 1 FROM ONLY {} LIMIT 1").format(leaf.identifier)


def count_versions(days: Days, leaf: Relation, key: Sequence[tuple[str, str]]) -> sql.Composed:
    """Count the leaf's rows whose key and xmin are in the bound arrays, all different, as for `delete_versions`. ACCESS SHARE."""
    return sql.SQL("SELECT count(*) AS rows FROM ONLY {} AS t JOIN {} ON {} AND {} AND {}").format(
        leaf.identifier, given_rows(key, xmin=True), _same_key(key), _same_version(key), days.condition("t")
    )


def detach_leaf(relation: Relation, leaf: Relation) -> sql.Composed:
    """ACCESS EXCLUSIVE on the table too, for as long as the catalog is changed."""
    return sql.SQL("ALTER TABLE {} DETACH PARTITION {}").format(relation.identifier, leaf.identifier)


def drop_leaf(leaf: Relation) -> sql.Composed:
    """ACCESS EXCLUSIVE. Refused by the server while views or foreign keys depend on the leaf."""
    return sql.SQL("DROP TABLE {} RESTRICT").format(leaf.identifier)


def _same_key(key: Sequence[tuple[str, str]]) -> sql.Composed:
    return equal((name, pg_type, position) for position, (name, pg_type) in enumerate(key))


def _same_version(key: Sequence[tuple[str, str]]) -> sql.Composed:
    return sql.SQL("(t.xmin = given.stored_xmin AND {})").format(_in_leaves(len(key) + 2))  # after the arrays of keys and xmins


def _in_leaves(number: int) -> sql.Composed:
    return sql.SQL("t.tableoid = ANY ({}::oid[])").format(trusted(f"${number}"))
