"""The table that rows are restored into: what it looks like, whether it fits, and putting rows there.

What belongs here: single steps within the transaction of the caller. What does not: which rows are restored, and the order of the steps
(`lifecycle/restoring/restore.py`).

What a manifest says of types becomes SQL, and whoever can write to the bucket can write a manifest: `require_types` takes only what can be
nothing but the name of a type.
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

# Words, quoted names, their dots, numbers and words in parentheses, and brackets, as format_type writes a type. All possessive,
# since a long text that is none would otherwise be tried in exponentially many ways.
_MODIFIER = r"(?:-?[0-9]++|[A-Za-z_][A-Za-z0-9_]*+)"
_TYPE = re.compile(rf'(?:[a-z_][a-z0-9_]*+|"(?:[^"\0\ud800-\udfff]|"")++"|\.|\({_MODIFIER}(?:,{_MODIFIER})*+\)|\[\]| )++')

_MISSING = (psycopg.errors.UndefinedObject, psycopg.errors.UndefinedTable, psycopg.errors.CannotCoerce)


@dataclass(frozen=True)
class TargetColumn:
    """A column of an archive or a destination: its type as PostgreSQL writes it; `given` is false where the table computes the value."""

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
    """A table as rows are restored into it. `key` is that of the archived rows, and the table has a unique index on some of it."""

    relation: sql.Relation
    oid: int
    columns: tuple[TargetColumn, ...]
    key: tuple[str, ...]

    def types(self, names: Sequence[str], archived: Mapping[str, str]) -> list[tuple[str, str, str]]:
        """Return names of the named columns, with their types in the table and in the archive."""
        by_name = {column.name: column.pg_type for column in self.columns}
        return [(name, by_name[name], archived[name]) for name in names]


def require_types(connection: Connection, types: Mapping[str, str]) -> None:
    """Require that each of `types`, texts with the columns that have them, can be nothing but the name of a type, known here or not.

    To be called before any of them becomes part of a statement. Raises ManifestInvalid.
    """
    for text, column in types.items():
        if not names_a_type(connection, text):
            message = f"expected {bounded(column)} to have a type of PostgreSQL, found {bounded(repr(text))}"
            raise ManifestInvalid(message, hint="compare the manifest with its older versions or a copy; nothing was restored")


def names_a_type(connection: Connection, text: str) -> bool:
    """Tell whether a text is the name of a type, with length or precision, and nothing more; the server may have no such type."""
    if not _TYPE.fullmatch(text):
        return False
    try:
        connection.execute(sql_restore.NAMES_A_TYPE, [text])
    except (psycopg.errors.SyntaxError, psycopg.DataError):
        return False  # words such as `integer references "a table"`, or a precision that no type has
    except (psycopg.errors.UndefinedObject, psycopg.errors.InvalidSchemaName, psycopg.errors.InsufficientPrivilege):
        return True  # it was parsed; what is stored as text needs no such type to be restored as text
    return True


def create_destination(connection: Connection, relation: sql.Relation, columns: Sequence[TargetColumn], key: Sequence[str]) -> None:
    """Create the table unless it is there, in a transaction of its own. Its generated columns hold what they held in the archive.

    The types passed `require_types`. Raises psycopg's errors, also where a type is not on the server.
    """
    # Nullable but for the key: the table is for other days too, when a column that is NOT NULL now may have had nulls.
    described = [(column.name, column.pg_type, column.name in key) for column in columns]
    with connection.transaction():
        connection.execute(sql_restore.LOCK_CREATION)
        if _find(connection, relation) is None:
            connection.execute(sql_restore.create_table(relation, described, key))


def read_destination(connection: Connection, relation: sql.Relation, key: Sequence[str]) -> Destination | None:
    """Return the table that rows with that `key` are to be restored into; None if there is nothing of its name.

    Raises NotRestored if it is no table, or has no unique index by which the rows are told apart.
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
    """Let the table stay as it is to the end of the transaction; `alone` keeps other writers out. Raises NotRestored if it changed."""
    connection.execute(sql_restore.lock_destination(destination.relation, alone=alone))
    if read_destination(connection, destination.relation, destination.key) != destination:
        message = f"{destination.relation.identifier.as_string()} was altered, or another table has its name, since the restore began"
        raise NotRestored(message, hint="run it again: what was restored before are whole generations")


def _find(connection: Connection, relation: sql.Relation) -> DictRow | None:
    return connection.execute(sql_catalog.RELATION, [relation.schema, relation.name]).fetchone()


def differences(archived: Sequence[TargetColumn], destination: Destination) -> list[str]:
    """Say, a line for each column, how the table is not of the shape of the archived rows; the order of columns does not matter."""
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
    """Tell whether the destination is the table with that oid, one of its leaves, or a table that it is a leaf of."""
    return any(row["related"] for row in connection.execute(sql_catalog.RELATED, [oid, destination.oid]))


def family(connection: Connection, destination: Destination) -> frozenset[sql.Relation]:
    """Return the destination, the tables that it is a leaf of, and its own leaves: its rows are, or can be, rows of each."""
    found = connection.execute(sql_restore.FAMILY, [destination.oid])
    return frozenset(sql.Relation(row["schema"], row["name"]) for row in found)


def insert_triggers(connection: Connection, destination: Destination) -> list[Trigger]:
    """Return the triggers that restored rows would fire."""
    found = connection.execute(sql_catalog.INSERT_TRIGGERS, [destination.oid])
    return [Trigger(sql.Relation(row["schema"], row["table"]), row["name"], row["always"]) for row in found]


@contextmanager
def disabled(connection: Connection, triggers: Sequence[Trigger]) -> Iterator[None]:
    """Switch triggers off for the block; others see them on throughout, since the caller's transaction ends after it."""
    for trigger in triggers:
        connection.execute(sql_restore.switch_trigger(trigger.table, trigger.name, "DISABLE"))
    yield
    for trigger in triggers:
        connection.execute(sql_restore.switch_trigger(trigger.table, trigger.name, "ENABLE ALWAYS" if trigger.always else "ENABLE"))


def side_effects_of_delete(connection: Connection, destination: Destination) -> list[str]:
    """Return what would make a DELETE in the table do more, or less, than delete the rows it names."""
    return [row["effect"] for row in connection.execute(sql_catalog.SIDE_EFFECTS, [destination.oid])]


def put(connection: Connection, destination: Destination, names: Sequence[str], rows: Iterable[pa.RecordBatch]) -> int:
    """Copy the named columns of all batches of `rows` into the table, but those that it computes, and return how many rows it took."""
    given = {column.name for column in destination.columns if column.given}
    return copy_rows(connection, destination.relation, [name for name in names if name in given], rows)


def find(connection: Connection, destination: Destination, rows: pa.RecordBatch, archived: Mapping[str, str]) -> dict[int, bool]:
    """Return, by the position of a row in `rows`, whether the table's row of the same key is the same in all columns of `rows`.

    `archived` gives the types of these, by name, in the archive. Of a key that the table does not have there is no entry.
    """
    columns = destination.types(rows.schema.names, archived)
    found = connection.execute(sql_restore.find_rows(destination.relation, destination.key, columns), _arrays(rows))
    return {row["position"] - 1: row["same"] for row in found}


def delete_same(
    connection: Connection, destination: Destination, rows: pa.RecordBatch, archived: Mapping[str, str], held: Sequence[sql.HeldRows]
) -> int:
    """Delete the rows of the table that are the same as one of `rows`, as `find` compares them, and not held; return how many."""
    columns = destination.types(rows.schema.names, archived)
    statement = sql_restore.delete_same(destination.relation, destination.key, columns, held)
    return connection.execute(statement, _arrays(rows)).rowcount


def advance_sequences(connection: Connection, destination: Destination, greatest: Mapping[str, int]) -> list[str]:
    """Let each sequence of the table that has not come as far as the `greatest` restored number go on after it; return their names.

    A number beyond a sequence's own greatest was not given by it: it is left alone.
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
    """Raise NotRestored for what the table itself refuses: a constraint, a value that its type does not take, a leaf that is not there."""
    try:
        yield
    except (psycopg.DataError, psycopg.IntegrityError, *_MISSING) as error:
        message = f"{destination.identifier.as_string()} did not take the rows: {said(error)}"
        hint = "create what is missing (a partition, a type, an enum label, a row that is referred to), or restore into another table"
        raise NotRestored(message, hint=f"{hint}; nothing of this generation was restored") from error


def _arrays(rows: pa.RecordBatch) -> list[str]:
    return [to_array_text(column) for column in rows.columns]
