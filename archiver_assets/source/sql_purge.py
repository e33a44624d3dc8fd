"""SQL that deletes rows or drops leaves of a configured table, one function per statement.

What belongs here: the statements of a purge's transactions, each described with the lock it takes and the index it needs. What does not:
running them (`deleting.py`, `leaves.py`), and the terms that they share with other SQL (`sql.py`).
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
    """Lock the table and its leaves in ROW EXCLUSIVE mode, as a DELETE does.

    Nobody can then alter or rename them, or add triggers or foreign keys.
    """
    return sql.SQL("LOCK TABLE {} IN ROW EXCLUSIVE MODE").format(relation.identifier)


def batch_limits(lock_milliseconds: int, milliseconds: int) -> sql.Composed:
    """Set lock_timeout, and statement_timeout unless the session's is shorter, until the end of the transaction. Takes no lock."""
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

    In this order, waiting for the table is limited by the session's settings, and only waiting for rows by `lock_milliseconds`. After that
    no statement may take longer than `milliseconds`. Must not be prepared. SET LOCAL takes 0.4 ms less than what `batch_limits` does.
    """
    return sql.SQL(
        "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE; {}; SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}"
    ).format(lock_table_for_delete(relation), sql.Literal(lock_milliseconds), sql.Literal(milliseconds))


def delete_versions(days: Days, key: Sequence[tuple[str, str]], pg_type: str, held: Sequence[HeldRows]) -> sql.Composed:
    """Delete the rows whose key and xmin are in the bound arrays, if still in range and not `held`; `key` gives names and types.

    After these arrays, bind the leaves (oids) in which a row version still means what it meant when it was archived, then the least and the
    greatest timestamp of the versions, as text of the column's `pg_type`. The two timestamps exclude no version. They let the server read
    a batch's rows in one pass over that range of the timestamp index, with a hash join, instead of descending the key's index for each row,
    where the planner finds that cheaper. For this choice it must plan with the values.

    ROW EXCLUSIVE, and a row lock on each deleted row. Needs the unique index on the key. In READ COMMITTED, a row that another transaction
    changes while this statement waits for it is checked again, with its new xmin, and stays.
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
    """Delete as `delete_versions` does, for a key of one integer column whose numbers lie close together.

    Most audit tables number their rows. Bind an array of the xmins of all numbers from `$2` to `$3`, with 0, which no row has, for a number
    that was not archived; then the leaves, or the only leaf. A row's version is then looked up by position, which costs next to nothing
    compared with the deletion; the join of `delete_versions` costs half as much as the deletion, or more.

    Locks as `delete_versions`. Uses the unique index on the key: it reads the range of the numbers. Composed once for many batches.
    """
    # CASE, because the planner may reorder other conditions, and a number far outside would not be a valid subscript.
    return sql.SQL(
        "DELETE FROM {table} AS t WHERE {number} >= $2::bigint AND {number} <= $3::bigint"
        " AND CASE WHEN {number} BETWEEN $2::bigint AND $3::bigint THEN t.xmin = ($1::xid[])[{number} - $2::bigint + 1] ELSE false END"
        " AND {leaves} AND {range} AND NOT {held}"
    ).format(
        table=days.relation.identifier,
        number=sql.Identifier("t", column),
        # Searching an array for every row costs five times as much.
        leaves=trusted("t.tableoid = $4::oid") if one_leaf else _in_leaves(4),
        range=days.condition("t"),
        held=any_held(held),
    )


def _given_versions(key: Sequence[tuple[str, str]]) -> sql.Composed:
    # Set-returning functions in a SELECT list expand arrays row by row; in FROM, each would first be stored as a whole.
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
    """Delete the rows that equal, byte by byte, those of the bound arrays, and are not `held`.

    `columns` gives names and types, one array each. Compares images or PostgreSQL's text, not values, for which 1.0 equals 1.00 and 0
    equals -0. Locks as `delete_versions`: a row that changes while this statement waits for it is compared again, and stays if it now
    differs.
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
    """Find the keys in the bound arrays (keys, xmins, then the leaves) for which the table has a row.

    The result has a row for each: its `position` from 1, whether the row is the `same` version, whether it is `inside` the range, and
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
    """Lock the leaf in ACCESS EXCLUSIVE mode: nobody else reads or writes it.

    Earlier transactions that did have ended, so that the rows in the leaf are committed.
    """
    return sql.SQL("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE").format(leaf.identifier)


def count_leaf(leaf: Relation) -> sql.Composed:
    """Count the leaf's rows. ACCESS SHARE."""
    return sql.SQL("SELECT count(*) AS rows FROM ONLY {}").format(leaf.identifier)


def leaf_pages(leaf: Relation) -> sql.Composed:
    """Count the leaf's pages, in one row. ACCESS SHARE while it reads the size."""
    return sql.SQL("SELECT pg_relation_size({}::regclass) / current_setting('block_size')::bigint AS pages").format(
        sql.Literal(leaf.identifier.as_string())
    )


def leaf_versions(days: Days, leaf: Relation, key: Sequence[tuple[str, str]]) -> sql.Composed:
    """Read the versions of the leaf's rows with a ctid in `[$1, $2)`, all as one value.

    `key` gives names and the functions that write a value's binary form. The result has the `rows`, how many of them are `inside` the
    range, and the `versions`, NULL if there are no rows. ACCESS SHARE; reads only the pages of these rows.
    """
    parts = [sql.SQL("{}({})").format(sql.Identifier("pg_catalog", send), sql.Identifier("t", name)) for name, send in key]
    return sql.SQL(
        "SELECT count(*) AS rows, count(*) FILTER (WHERE {}) AS inside, string_agg({} || xidsend(t.xmin), ''::bytea) AS versions"
        " FROM ONLY {} AS t WHERE t.ctid >= $1::tid AND t.ctid < $2::tid"
    ).format(days.condition("t"), sql.SQL(" || ").join(parts), leaf.identifier)


def first_of_leaf(leaf: Relation) -> sql.Composed:
    """Return one row if the leaf has any. ACCESS SHARE."""
    return sql.SQL("SELECT 1 FROM ONLY {} LIMIT 1").format(leaf.identifier)


def count_versions(days: Days, leaf: Relation, key: Sequence[tuple[str, str]]) -> sql.Composed:
    """Count the leaf's rows whose key and xmin are in the bound arrays, all different, as in `delete_versions`. ACCESS SHARE."""
    return sql.SQL("SELECT count(*) AS rows FROM ONLY {} AS t JOIN {} ON {} AND {} AND {}").format(
        leaf.identifier, given_rows(key, xmin=True), _same_key(key), _same_version(key), days.condition("t")
    )


def detach_leaf(relation: Relation, leaf: Relation) -> sql.Composed:
    """Detach the leaf. Takes ACCESS EXCLUSIVE on the table too, from here to the end of the transaction."""
    return sql.SQL("ALTER TABLE {} DETACH PARTITION {}").format(relation.identifier, leaf.identifier)


def drop_leaf(leaf: Relation) -> sql.Composed:
    """Drop the leaf. ACCESS EXCLUSIVE. The server refuses while views or foreign keys depend on the leaf."""
    return sql.SQL("DROP TABLE {} RESTRICT").format(leaf.identifier)


def _same_key(key: Sequence[tuple[str, str]]) -> sql.Composed:
    return equal((name, pg_type, position) for position, (name, pg_type) in enumerate(key))


def _same_version(key: Sequence[tuple[str, str]]) -> sql.Composed:
    return sql.SQL("(t.xmin = given.stored_xmin AND {})").format(_in_leaves(len(key) + 2))  # after the arrays of keys and xmins


def _in_leaves(number: int) -> sql.Composed:
    return sql.SQL("t.tableoid = ANY ({}::oid[])").format(trusted(f"${number}"))
