"""The table that rows are restored into: its shape, whether it fits, and loading rows into it.

What belongs here: single steps within the caller's transaction. What does not: which rows are restored, and the order of the steps
(`lifecycle/restoring/restore.py`).

A manifest's types become SQL, and anyone with write access to the bucket can write a manifest: `require_types` accepts only a text that can
be nothing but a type name.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
import pyarrow as pa
from psycopg.rows import DictRow

from archiver_assets.errors import ManifestInvalid, NotRestored
from archiver_assets.source import sql, sql_catalog, sql_restore
from archiver_assets.source.catalog import Connection
from archiver_assets.source.copying import copy_rows
from archiver_assets.source.error_text import said
from archiver_assets.source.literals import to_array_text
from archiver_assets.untrusted_text import bounded

# Words, quoted names, dots between them, numbers and words in parentheses, and brackets, as format_type writes a type. All quantifiers
# are possessive: a long text that does not match would otherwise cause exponential backtracking.
_MODIFIER = r"(?:-?[0-9]++|[A-Za-z_][A-Za-z0-9_]*+)"
_TYPE = re.compile(rf'(?:[a-z_][a-z0-9_]*+|"(?:[^"\0\ud800-\udfff]|"")++"|\.|\({_MODIFIER}(?:,{_MODIFIER})*+\)|\[\]| )++')

_MISSING = (psycopg.errors.UndefinedObject, psycopg.errors.UndefinedTable, psycopg.errors.CannotCoerce)


@dataclass(frozen=True)
class TargetColumn:
    """A column of an archive or a destination: its type in PostgreSQL's notation; `given` is false if the table computes the value."""

    name: str
    pg_type: str
    not_null: bool
    given: bool = True


@dataclass(frozen=True)
class Trigger:
    """A trigger that an INSERT fires."""

    table: sql.Relation
    name: str
    always: bool


@dataclass(frozen=True)
class Destination:
    """A table to restore rows into. `key` is the archived rows' key; the table has a unique index on some or all of its columns."""

    relation: sql.Relation
    oid: int
    columns: tuple[TargetColumn, ...]
    key: tuple[str, ...]

    def types(self, names: Sequence[str], archived: Mapping[str, str]) -> list[tuple[str, str, str]]:
        """Return the named columns as tuples of name, type in the table, and type in the archive."""
        by_name = {column.name: column.pg_type for column in self.columns}
        return [(name, by_name[name], archived[name]) for name in names]


def require_types(connection: Connection, types: Mapping[str, str]) -> None:
    """Require that each text in `types`, given with its columns, can be nothing but a type name, whether the server knows it or not.

    Call this before any of the texts becomes part of a statement. Raises ManifestInvalid.
    """
    for text, column in types.items():
        if not names_a_type(connection, text):
            message = f"expected {bounded(column)} to have a type of PostgreSQL, found {bounded(repr(text))}"
            raise ManifestInvalid(message, hint="compare the manifest with its older versions or a copy; nothing was restored")


def names_a_type(connection: Connection, text: str) -> bool:
    """Return whether a text is only a type name, with length or precision; the server need not have the type."""
    if not _TYPE.fullmatch(text):
        return False
    try:
        connection.execute(sql_restore.NAMES_A_TYPE, [text])
    except (psycopg.errors.SyntaxError, psycopg.DataError):
        return False  # such as `integer references "a table"`, or a precision that no type has
    except (psycopg.errors.UndefinedObject, psycopg.errors.InvalidSchemaName, psycopg.errors.InsufficientPrivilege):
        return True  # it was parsed; values stored as text can be restored as text without the type
    return True


def create_destination(connection: Connection, relation: sql.Relation, columns: Sequence[TargetColumn], key: Sequence[str]) -> None:
    """Create the table if it does not exist, in a separate transaction. Its generated columns take the archived values as ordinary columns.

    The types must have passed `require_types`. Raises psycopg's errors, also if the server does not have a type.
    """
    # Only the key is NOT NULL: the table also takes other days, on which a column that is NOT NULL now may have had nulls.
    described = [(column.name, column.pg_type, column.name in key) for column in columns]
    with connection.transaction():
        connection.execute(sql_restore.LOCK_CREATION)
        if _find(connection, relation) is None:
            connection.execute(sql_restore.create_table(relation, described, key))


def read_destination(connection: Connection, relation: sql.Relation, key: Sequence[str]) -> Destination | None:
    """Return the table to restore rows with that `key` into; None if no relation has its name.

    Raises NotRestored if it is not a table, or has no unique index that identifies the rows.
    """
    found = _find(connection, relation)
    if found is None:
        return None
    name = relation.identifier.as_string()
    if found["kind"] not in {"r", "p"}:
        message = f"expected {name} to be a table, found a relation of kind {found['kind']!r}"
        raise NotRestored(message, hint="name another target")
    unique = [set(row["columns"]) for row in connection.execute(sql_catalog.UNIQUE_KEYS, [found["oid"]])]
    if not any(columns <= set(key) for columns in unique):
        message = f"expected a unique index on ({', '.join(key)}), or on some of these, in {name}, found none"
        raise NotRestored(message, hint="create it, or name another target: without it rows would be restored twice")
    columns = tuple(TargetColumn(**row) for row in connection.execute(sql_catalog.DESTINATION_COLUMNS, [found["oid"]]))
    return Destination(relation, found["oid"], columns, tuple(key))


def lock_unchanged(connection: Connection, destination: Destination, *, alone: bool) -> None:
    """Keep the table unchanged until the transaction ends; `alone` also blocks other writers. Raises NotRestored if it has changed."""
    connection.execute(sql_restore.lock_destination(destination.relation, alone=alone))
    if read_destination(connection, destination.relation, destination.key) != destination:
        message = f"{destination.relation.identifier.as_string()} was altered, or another table has its name, since the restore began"
        raise NotRestored(message, hint="run it again: what was restored before are whole generations")


def _find(connection: Connection, relation: sql.Relation) -> DictRow | None:
    return connection.execute(sql_catalog.RELATION, [relation.schema, relation.name]).fetchone()


def differences(archived: Sequence[TargetColumn], destination: Destination) -> list[str]:
    """Return a line for each column that differs between the table and the archived rows; the order of columns is ignored."""
    then, now = ({column.name: column for column in columns} for columns in (archived, destination.columns))
    lines = [f"- {name} {column.pg_type}: archived, and not in the table" for name, column in then.items() if name not in now]
    lines += [f"+ {name} {column.pg_type}: in the table, and not archived" for name, column in now.items() if name not in then]
    lines += [
        f"~ {name}: archived as {then[name].pg_type}, in the table {now[name].pg_type}"
        for name in then
        if name in now and then[name].pg_type != now[name].pg_type
    ]
    return [bounded(line) for line in lines]


def is_of(connection: Connection, destination: Destination, oid: int) -> bool:
    """Return whether the destination is the table with that oid, one of its leaves, or a table of which it is a leaf."""
    return any(row["related"] for row in connection.execute(sql_catalog.RELATED, [oid, destination.oid]))


def family(connection: Connection, destination: Destination) -> frozenset[sql.Relation]:
    """Return the destination, the tables of which it is a leaf, and its own leaves: its rows are, or can be, rows of each."""
    found = connection.execute(sql_restore.FAMILY, [destination.oid])
    return frozenset(sql.Relation(row["schema"], row["name"]) for row in found)


def insert_triggers(connection: Connection, destination: Destination) -> list[Trigger]:
    """Return the triggers that restored rows would fire."""
    found = connection.execute(sql_catalog.INSERT_TRIGGERS, [destination.oid])
    return [Trigger(sql.Relation(row["schema"], row["table"]), row["name"], row["always"]) for row in found]


@contextmanager
def disabled(connection: Connection, triggers: Sequence[Trigger]) -> Iterator[None]:
    """Disable triggers for the block. Other sessions always see them enabled, because the caller's transaction ends later."""
    for trigger in triggers:
        connection.execute(sql_restore.switch_trigger(trigger.table, trigger.name, "DISABLE"))
    yield
    for trigger in triggers:
        connection.execute(sql_restore.switch_trigger(trigger.table, trigger.name, "ENABLE ALWAYS" if trigger.always else "ENABLE"))


def side_effects_of_delete(connection: Connection, destination: Destination) -> list[str]:
    """Return whatever would make a DELETE in the table do more, or less, than delete the given rows."""
    return [row["effect"] for row in connection.execute(sql_catalog.SIDE_EFFECTS, [destination.oid])]


def put(connection: Connection, destination: Destination, names: Sequence[str], rows: Iterable[pa.RecordBatch]) -> int:
    """Copy the named columns of all batches of `rows` into the table, except computed ones, and return the number of rows stored."""
    given = {column.name for column in destination.columns if column.given}
    return copy_rows(connection, destination.relation, [name for name in names if name in given], rows)


def find(connection: Connection, destination: Destination, rows: pa.RecordBatch, archived: Mapping[str, str]) -> dict[int, bool]:
    """Return, by position in `rows`, whether the table's row with the same key is the same in all columns of `rows`.

    `archived` gives the columns' archived types by name. A key that is not in the table has no entry.
    """
    columns = destination.types(rows.schema.names, archived)
    found = connection.execute(sql_restore.find_rows(destination.relation, destination.key, columns), _arrays(rows))
    return {row["position"] - 1: row["same"] for row in found}


def delete_same(
    connection: Connection, destination: Destination, rows: pa.RecordBatch, archived: Mapping[str, str], held: Sequence[sql.HeldRows]
) -> int:
    """Delete the table's rows that equal one of `rows`, as `find` compares them, and are not held; return their number."""
    columns = destination.types(rows.schema.names, archived)
    statement = sql_restore.delete_same(destination.relation, destination.key, columns, held)
    return connection.execute(statement, _arrays(rows)).rowcount


def advance_sequences(connection: Connection, destination: Destination, greatest: Mapping[str, int]) -> list[str]:
    """Advance each sequence of the table that is behind the `greatest` restored number past that number; return the sequences' names.

    If the number exceeds the sequence's maximum, it did not come from the sequence, which is left unchanged.
    """
    advanced = []
    for row in connection.execute(sql_catalog.SEQUENCES, [destination.oid]).fetchall():
        sequence, number = sql.Relation(row["schema"], row["name"]), greatest.get(row["column"])
        if number is None or number > row["greatest"]:
            continue
        if connection.execute(sql_restore.advance_sequence(sequence), [number]).fetchall():
            advanced.append(sequence.identifier.as_string())
    return advanced


@contextmanager
def errors_of(destination: sql.Relation) -> Iterator[None]:
    """Raise NotRestored for what the table itself refuses: a violated constraint, a value invalid for its type, a missing leaf."""
    try:
        yield
    except (psycopg.DataError, psycopg.IntegrityError, *_MISSING) as error:
        message = f"{destination.identifier.as_string()} did not take the rows: {said(error)}"
        hint = "create what is missing (a partition, a type, an enum label, a row that is referred to), or restore into another table"
        raise NotRestored(message, hint=f"{hint}; nothing of this generation was restored") from error


def _arrays(rows: pa.RecordBatch) -> list[str]:
    return [to_array_text(column) for column in rows.columns]
