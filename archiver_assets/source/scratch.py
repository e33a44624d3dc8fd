"""The scratch database: rows are loaded into it only to be read back as the text that its server writes for them.

What belongs here: whether it can take a table's rows, and reading them back. What does not: loading (`copying.py`), and comparing, which
only the source does: a scratch server shows what became of a row, never whether that is right.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from archiver_assets.errors import TableRefused
from archiver_assets.source import sql_catalog, sql_restore, sql_session
from archiver_assets.source.catalog import Connection
from archiver_assets.source.literals import to_array_text
from archiver_assets.source.session import Source, is_pooled

_BATCH_ROWS = 8_192
_BATCH_CHARACTERS = 4 * 1024 * 1024


@contextmanager
def open_scratch(scratch: Source) -> Iterator[Connection]:
    """Open a session in a transaction that is rolled back at the end of the block, so that nothing remains.

    Raises TableRefused for a database that could change text on the way, and what `Source.connect` raises.
    """
    with scratch.connect() as connection, connection.transaction(force_rollback=True):
        _require_faithful(scratch, connection)
        yield connection


def _require_faithful(scratch: Source, connection: Connection) -> None:
    row = connection.execute(sql_session.ENCODING).fetchone()
    encoding = row["encoding"] if row else None
    if encoding != "UTF8":
        message = f"expected the {scratch.title} {scratch.config.name} to have the encoding UTF8, found {encoding}"
        raise TableRefused(message, hint="create it with ENCODING 'UTF8' TEMPLATE template0; nothing was deleted")
    if is_pooled(connection):
        place = f"the {scratch.title} {scratch.config.name}"
        message = f"expected a direct connection to {place}, found a pooler, which could lose the session's settings"
        raise TableRefused(message, hint="point its host and port at the server itself; nothing was deleted")


def read_definitions(connection: Connection, types: Sequence[str]) -> dict[str, str | None]:
    """Return the definition of each type, None for one that does not exist. Definitions of two servers are comparable."""
    found = connection.execute(sql_catalog.TYPE_DEFINITIONS, [list(types)])
    return {row["name"]: row["definition"] for row in found}


def require_same_types(scratch: Source, there: dict[str, str | None], here: dict[str, str | None]) -> None:
    """Raise TableRefused, naming each type of the source that the scratch database lacks or defines differently."""
    wrong = [f"no {name}" if there.get(name) is None else f"a different {name}" for name in here if there.get(name) != here[name]]
    if wrong:
        message = f"expected the {scratch.title} {scratch.config.name} to have the types of the table's columns, found {', '.join(wrong)}"
        hint = "create these types there as they are in the source (CREATE TYPE, DOMAIN or EXTENSION), or remove scratch_database"
        raise TableRefused(message, hint=f"{hint}; nothing was deleted")


def read_texts(connection: Connection, columns: Sequence[str], xmin: str) -> Generator[list[str], None, None]:
    """Yield the loaded rows that have a version: an array of texts for each column, then one of the xmins, as their input text.

    Each batch has at most 8,192 rows, and ends with the row that brings it to 4 Mi characters.
    """
    with connection.cursor().copy(sql_restore.copy_proof(columns, xmin)) as copy:
        rows: list[tuple[str | None, ...]] = []
        size = 0
        for row in copy.rows():
            rows.append(row)
            size += sum(len(text) for text in row if text is not None)
            if len(rows) >= _BATCH_ROWS or size >= _BATCH_CHARACTERS:
                yield _by_column(rows)
                rows, size = [], 0
        if rows:
            yield _by_column(rows)


def _by_column(rows: Sequence[tuple[str | None, ...]]) -> list[str]:
    return [to_array_text(pa.array(column, pa.string())) for column in zip(*rows, strict=True)]
