"""SQL that loads archived rows into a table and compares them there: for users (`lifecycle/restoring/restore.py`), and as a proof.

What belongs here, and its conventions: see `sql.py`.
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
    """ROW EXCLUSIVE, as for INSERT: no session can alter, rename or drop the table, or add triggers. SHARE ROW EXCLUSIVE if `alone`."""
    mode = "SHARE ROW EXCLUSIVE" if alone else "ROW EXCLUSIVE"
    return sql.SQL("LOCK TABLE {} IN {} MODE").format(relation.identifier, trusted(mode))


def copy_in(relation: Relation, names: Sequence[str]) -> sql.Composed:
    """ROW EXCLUSIVE on the relation and the leaves that receive the rows. Rules do not apply; triggers, defaults and constraints do."""
    return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv, ENCODING 'UTF8')").format(
        relation.identifier, sql.SQL(", ").join(map(sql.Identifier, names))
    )


# No table. Until the transaction ends, no other restore creates a table for restored rows in this database.
LOCK_CREATION = "SELECT pg_advisory_xact_lock(hashtextextended('audit-archiver restore', 0))"


def create_table(relation: Relation, columns: Sequence[tuple[str, str, bool]], key: Sequence[str]) -> sql.Composed:
    """Create a table with `columns` (name, type, whether NOT NULL) and that primary key. The types are trusted."""
    lines = [
        sql.SQL("{} {}{}").format(sql.Identifier(name), trusted(pg_type), trusted(" NOT NULL" if not_null else ""))
        for name, pg_type, not_null in columns
    ]
    lines.append(sql.SQL("PRIMARY KEY ({})").format(sql.SQL(", ").join(map(sql.Identifier, key))))
    return sql.SQL("CREATE TABLE {} ({})").format(relation.identifier, sql.SQL(", ").join(lines))


# Catalog only. The server's own parser decides whether a text is only a type name, with length or precision.
NAMES_A_TYPE = "SELECT $1::text::regtype"


# Catalog only. The table itself, and its ancestors and descendants in a partitioned table.
FAMILY = """
    SELECT n.nspname AS schema, c.relname AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = $1::oid OR c.oid IN (SELECT relid FROM pg_partition_tree($1::oid))
       OR c.oid IN (SELECT relid FROM pg_partition_ancestors($1::oid))
"""


def advance_sequence(sequence: Relation) -> sql.Composed:
    """Advance a sequence past `$1` if it is behind. Needs SELECT and UPDATE on it; a rollback does not undo this.

    A sequence that was never used, or was reset, returns its `last_value` next.
    """
    return sql.SQL("SELECT setval({}::regclass, $1::bigint) FROM {} AS s WHERE s.last_value - (NOT s.is_called)::int < $1::bigint").format(
        sql.Literal(sequence.identifier.as_string()), sequence.identifier
    )


def switch_trigger(table: Relation, name: str, mode: str) -> sql.Composed:
    """`DISABLE`, `ENABLE` or `ENABLE ALWAYS` a trigger of this table alone. SHARE ROW EXCLUSIVE blocks other writers. Needs ownership."""
    return sql.SQL("ALTER TABLE ONLY {} {} TRIGGER {}").format(table.identifier, trusted(mode), sql.Identifier(name))


# No lock of its own. Deferred constraints are checked, and deferred triggers fire, now instead of at the commit.
FIRE_DEFERRED = "SET CONSTRAINTS ALL IMMEDIATE"


RestoredColumns = Sequence[tuple[str, str, str]]
"""Columns: the name, the type in a relation, and the type in the archive."""


def find_rows(relation: Relation, key: Sequence[str], columns: RestoredColumns) -> sql.Composed:
    """Among the rows in the bound arrays, one array per column, find those whose key is in the relation.

    Returns a row for each: its `position` from 1, and whether the relation's row is the `same`, byte by byte; if the types differ, whether
    it has exactly the archived value. The archive's types must be type names and nothing else. ACCESS SHARE. Needs the unique index on the
    key.
    """
    return sql.SQL("SELECT given.position, ({}) AS same FROM {} AS t JOIN {} ON {}").format(
        _same_restored(columns), relation.identifier, given_rows(_bound(columns), xmin=False, ordinality=True), _restored_key(key, columns)
    )


def delete_same(relation: Relation, key: Sequence[str], columns: RestoredColumns, held: Sequence[HeldRows]) -> sql.Composed:
    """Delete the rows that equal those in the bound arrays, as `find_rows` compares them, and are not `held`. Locks as `delete_equal`."""
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
    """Whether a column's type stores a given value completely: a truncated key would be a different key, which no COPY can store."""
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
    """Compare a value of another type with the archived one, as text or converted back to the archived type.

    Either conversion can truncate what the column's own type can store, so the value must also equal what a COPY of the archived text
    stores in that type. The second check alone is insufficient: both values would be rounded to that type.
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

# No lock except on the temporary table, which is dropped when the transaction ends.
ANALYZE_PROOF = "ANALYZE pg_temp.archiver_proof"
# No lock. From here on the transaction can write only to temporary tables: a domain's CHECK may call a function, which runs as our role.
ONLY_PROOF = "SET TRANSACTION READ ONLY"


def create_proof(columns: Sequence[tuple[str, str]]) -> sql.Composed:
    """Create the temporary table with the columns (names and types) of a table in its current state. Needs TEMPORARY on the database."""
    fields = [sql.SQL("{} {}").format(sql.Identifier(name), trusted(pg_type)) for name, pg_type in columns]
    return sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP").format(sql.Identifier(PROOF.name), sql.SQL(", ").join(fields))


def compare_proof(days: Days, key: Sequence[str], columns: Sequence[tuple[str, str]], xmin: str) -> sql.Composed:
    """Compare, byte by byte, the rows in range with the temporary table's rows of the same key and version.

    Returns, for the column at each position, the number of rows in which it differs, named like `differs0`. ACCESS SHARE. Works best with
    an index that begins with the timestamp.
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
    """Copy out the temporary table's rows that have a version, as COPY text: it uses the types' output functions, not casts."""
    names = sql.SQL(", ").join(map(sql.Identifier, [*columns, xmin]))
    return sql.SQL("COPY (SELECT {} FROM {} WHERE {} IS NOT NULL) TO STDOUT").format(names, PROOF.identifier, sql.Identifier(xmin))


def _same_stored(name: str, pg_type: str) -> sql.Composed:
    same = "t.{0}::text IS NOT DISTINCT FROM given.{0}::text" if travels_as_text(pg_type) else "record_image_eq(ROW(t.{0}), ROW(given.{0}))"
    return sql.SQL(same).format(sql.Identifier(name))
