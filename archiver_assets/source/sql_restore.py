"""SQL that puts archived rows into a table and compares them there: for people (`lifecycle/restoring/restore.py`), and as a proof.

What belongs here, and how it is written: as in `sql.py`.
"""

from collections.abc import Sequence

from psycopg import sql

from archiver_assets.source.sql import (
    Days,
    HeldRows,
    Relation,
    any_held,
    given_rows,
    given_value,
    same_image,
    travels_as_text,
    trusted,
)


def lock_destination(relation: Relation, *, alone: bool) -> sql.Composed:
    """ROW EXCLUSIVE, as an INSERT takes it: nobody can alter, rename or drop the table, or add triggers. SHARE ROW EXCLUSIVE if `alone`."""
    mode = "SHARE ROW EXCLUSIVE" if alone else "ROW EXCLUSIVE"
    return sql.SQL("LOCK TABLE {} IN {} MODE").format(relation.identifier, trusted(mode))


def copy_in(relation: Relation, names: Sequence[str]) -> sql.Composed:
    """ROW EXCLUSIVE on the relation and the leaves that take the rows. Rules do not apply; triggers, defaults and constraints do."""
    return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv, ENCODING 'UTF8')").format(
        relation.identifier, sql.SQL(", ").join(map(sql.Identifier, names))
    )


# No table: to the end of the transaction nobody else creates a table for restored rows in this database.
LOCK_CREATION = "SELECT pg_advisory_xact_lock(hashtextextended('audit-archiver restore', 0))"


def create_table(relation: Relation, columns: Sequence[tuple[str, str, bool]], key: Sequence[str]) -> sql.Composed:
    """Create a table of `columns` (name, type, whether it is NOT NULL) with that primary key. The types are trusted."""
    lines = [
        sql.SQL("{} {}{}").format(sql.Identifier(name), trusted(pg_type), trusted(" NOT NULL" if not_null else ""))
        for name, pg_type, not_null in columns
    ]
    lines.append(sql.SQL("PRIMARY KEY ({})").format(sql.SQL(", ").join(map(sql.Identifier, key))))
    return sql.SQL("CREATE TABLE {} ({})").format(relation.identifier, sql.SQL(", ").join(lines))


# Catalog only. The server's own parser says whether a text is the name of a type, with length or precision, and nothing more.
NAMES_A_TYPE = "SELECT $1::text::regtype"


# Catalog only: the table itself, and those above and below it in a partitioned table.
FAMILY = """
    SELECT n.nspname AS schema, c.relname AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = $1::oid OR c.oid IN (SELECT relid FROM pg_partition_tree($1::oid))
       OR c.oid IN (SELECT relid FROM pg_partition_ancestors($1::oid))
"""


def advance_sequence(sequence: Relation) -> sql.Composed:
    """Let a sequence go on after `$1` if it has not come so far. Needs SELECT and UPDATE on it; a rollback does not take it back.

    One that was never asked, or set back, will give its `last_value` itself.
    """
    return sql.SQL("SELECT setval({}::regclass, $1::bigint) FROM {} AS s WHERE s.last_value - (NOT s.is_called)::int < $1::bigint").format(
        sql.Literal(sequence.identifier.as_string()), sequence.identifier
    )


def switch_trigger(table: Relation, name: str, mode: str) -> sql.Composed:
    """`DISABLE`, `ENABLE` or `ENABLE ALWAYS` a trigger of this table alone. SHARE ROW EXCLUSIVE: nobody else writes. Needs ownership."""
    return sql.SQL("ALTER TABLE ONLY {} {} TRIGGER {}").format(table.identifier, trusted(mode), sql.Identifier(name))


# No lock of its own: deferred constraints are checked, and deferred triggers fire, now and no longer at the commit.
FIRE_DEFERRED = "SET CONSTRAINTS ALL IMMEDIATE"


RestoredColumns = Sequence[tuple[str, str, str]]
"""Names of columns, their types in a relation, and their types in the archive."""


def find_rows(relation: Relation, key: Sequence[str], columns: RestoredColumns) -> sql.Composed:
    """Of the rows in the bound arrays, one array a column, find those whose key the relation has.

    The answer has a row for each: its `position` from 1, and whether the relation's row is the `same`, byte by byte; where the types
    differ, whether it has the archived value and no more. The archive's types are names of types and nothing else. ACCESS SHARE. Needs the
    unique index on the key.
    """
    return sql.SQL("SELECT given.position, ({}) AS same FROM {} AS t JOIN {} ON {}").format(
        _same_restored(columns), relation.identifier, given_rows(_bound(columns), xmin=False, ordinality=True), _restored_key(key, columns)
    )


def delete_same(relation: Relation, key: Sequence[str], columns: RestoredColumns, held: Sequence[HeldRows]) -> sql.Composed:
    """Delete the rows that are those of the bound arrays, as `find_rows` compares them, and not `held`. Locks as `delete_equal`."""
    return sql.SQL("DELETE FROM {} AS t USING {} WHERE {} AND {} AND NOT {}").format(
        relation.identifier,
        given_rows(_bound(columns), xmin=False),
        _restored_key(key, columns),
        _same_restored(columns),
        any_held(held),
    )


def _bound(columns: RestoredColumns) -> list[tuple[str, str]]:
    return [(name, pg_type if pg_type == archived else "text") for name, pg_type, archived in columns]


def _restored_key(key: Sequence[str], columns: RestoredColumns) -> sql.Composed:
    return sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier("t", name), given_value(pg_type, position))
        if pg_type == archived
        else sql.SQL("{} = {} AND {}").format(
            sql.Identifier("t", name), _cast("given", f"column{position}", pg_type), _kept(f"column{position}", pg_type, archived)
        )
        for position, (name, pg_type, archived) in enumerate(columns)
        if name in key
    )


def _kept(given: str, pg_type: str, archived: str) -> sql.Composed:
    """Tell whether a column's type holds all of a given value: a key that it cuts off is another one, which no COPY can put there."""
    there = _cast("given", given, pg_type)
    if travels_as_text(archived):
        return sql.SQL("{}::text IS NOT DISTINCT FROM {}").format(there, sql.Identifier("given", given))
    return sql.SQL("record_image_eq(ROW({}::{}), ROW({}))").format(there, trusted(archived), _cast("given", given, archived))


def _same_restored(columns: RestoredColumns) -> sql.Composed:
    numbered = list(enumerate(columns))
    same: list[sql.Composable] = []
    if kept := [(position, name, pg_type) for position, (name, pg_type, archived) in numbered if pg_type == archived]:
        same.append(same_image([(name, pg_type) for _, name, pg_type in kept], [position for position, _, _ in kept]))
    return sql.SQL(" AND ").join(
        [*same, *(_same_retyped(position, *column) for position, column in numbered if column[1] != column[2])] or [sql.SQL("true")]
    )


def _same_retyped(position: int, name: str, pg_type: str, archived: str) -> sql.Composed:
    """Compare a value of another type with the archived one: as the text that it is, or taken back to the archived type.

    Either can cut off what the column's own type has room for, so that the value has to be the one, too, which a COPY of the archived text
    stores in that type. That alone would not do: both would have been rounded to it.
    """
    given, text = f"column{position}", _cast("t", name, "text")
    if _is_textual(pg_type) and not (_is_textual(archived) or travels_as_text(archived)):
        return sql.SQL("{} IS NOT DISTINCT FROM {}::text").format(text, _cast("given", given, archived))
    if travels_as_text(archived):
        same = sql.SQL("{} IS NOT DISTINCT FROM {}").format(text, sql.Identifier("given", given))
    else:
        same = sql.SQL("record_image_eq(ROW({}), ROW({}))").format(_cast("t", name, archived), _cast("given", given, archived))
    return sql.SQL("{} AND record_image_eq(ROW({}), ROW({}))").format(same, sql.Identifier("t", name), _cast("given", given, pg_type))


def _cast(alias: str, name: str, pg_type: str) -> sql.Composed:
    return sql.SQL("{}::{}").format(sql.Identifier(alias, name), trusted(pg_type))


def _is_textual(pg_type: str) -> bool:
    return pg_type in {"text", "name"} or pg_type.startswith("character")


PROOF = Relation("pg_temp", "archiver_proof")

# No lock but on the temporary table itself, which the end of the transaction drops.
ANALYZE_PROOF = "ANALYZE pg_temp.archiver_proof"
# No lock. From here on the transaction writes to temporary tables alone: a domain's CHECK may call a function, and that runs as our role.
ONLY_PROOF = "SET TRANSACTION READ ONLY"


def create_proof(columns: Sequence[tuple[str, str]]) -> sql.Composed:
    """Create the temporary table of that name for columns (names and types) of a table as it is. Needs TEMPORARY on the database."""
    fields = [sql.SQL("{} {}").format(sql.Identifier(name), trusted(pg_type)) for name, pg_type in columns]
    return sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP").format(sql.Identifier(PROOF.name), sql.SQL(", ").join(fields))


def compare_proof(days: Days, key: Sequence[str], columns: Sequence[tuple[str, str]], xmin: str) -> sql.Composed:
    """Compare, byte by byte, the rows in range with those of the temporary table that have their key and version.

    The answer has for the column at each position the number of rows in which it differs, as `differs0`. ACCESS SHARE. Wants an index that
    begins with the timestamp.
    """
    fields = [
        sql.SQL("count(*) FILTER (WHERE NOT ({})) AS {}").format(_same_stored(name, pg_type), sql.Identifier(f"differs{position}"))
        for position, (name, pg_type) in enumerate(columns)
    ]
    same_key = sql.SQL(" AND ").join(sql.SQL("t.{0} = given.{0}").format(sql.Identifier(name)) for name in key)
    return sql.SQL("SELECT {} FROM {} AS t JOIN {} AS given ON {} AND t.xmin::text::bigint = {} WHERE {}").format(
        sql.SQL(", ").join(fields),
        days.relation.identifier,
        PROOF.identifier,
        same_key,
        sql.Identifier("given", xmin),
        days.condition("t"),
    )


def copy_proof(columns: Sequence[str], xmin: str) -> sql.Composed:
    """Copy the temporary table's rows that have a version out, as COPY's text: that of the types' own output functions, and no cast's."""
    names = sql.SQL(", ").join(map(sql.Identifier, [*columns, xmin]))
    return sql.SQL("COPY (SELECT {} FROM {} WHERE {} IS NOT NULL) TO STDOUT").format(names, PROOF.identifier, sql.Identifier(xmin))


def _same_stored(name: str, pg_type: str) -> sql.Composed:
    same = "t.{0}::text IS NOT DISTINCT FROM given.{0}::text" if travels_as_text(pg_type) else "record_image_eq(ROW(t.{0}), ROW(given.{0}))"
    return sql.SQL(same).format(sql.Identifier(name))
