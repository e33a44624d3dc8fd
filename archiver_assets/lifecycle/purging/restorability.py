"""Proof that a generation can be restored: loaded into a temporary table by a server, and compared with the source by the source itself.

What belongs here: the load and the comparison that `verification: restore` asks for before a purge. What does not: reading the object back
(`verifying/readback.py`), and restoring for people (`restoring/restore.py`).

The digest of an object starts after the driver's decoding, and a sample only guesses at what that did to a value: here every row goes the
whole way back into PostgreSQL. Where that is a scratch database, what it makes of a row comes back as its own text, which nothing here
decodes. Rows that were deleted or changed since the archive have no partner, and are not compared; rows whose version proves nothing are
compared by the purge itself, each under its lock.
"""

from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from archiver_assets.lifecycle.believed_versions import doubtful
from archiver_assets.lifecycle.generations import Generation, reject, versions_believed
from archiver_assets.lifecycle.purging.deletion import Session
from archiver_assets.lifecycle.task import log
from archiver_assets.lifecycle.verifying.readback import LocalCopy
from archiver_assets.source import sql, sql_restore
from archiver_assets.source.catalog import XMIN, Connection
from archiver_assets.source.copying import copy_rows
from archiver_assets.source.scratch import open_scratch, read_definitions, read_texts, require_same_types
from archiver_assets.source.session import Source


@dataclass(frozen=True)
class _Found:
    """How many rows were loaded, and in how many of those compared the column at each position differs, as `differs0`."""

    loaded: int
    differing: Mapping[str, int]


def require_restorable(session: Session, generation: Generation, copy: LocalCopy) -> None:
    """Raise NotVerified, having rejected the generation, if a row of the object is another than the source's row of that version.

    Takes a temporary table as large as the object, on the source or in its scratch database, for as long as it lasts; ACCESS SHARE on the
    table. Raises TableRefused for a scratch database that cannot take the rows, and what source and scratch database raise.
    """
    scratch = session.task.source.scratch
    found = _compare_by_scratch(session, scratch, generation, copy) if scratch else _compare_on_source(session, generation, copy)
    expected = generation.manifest.rows
    mismatches = [] if found.loaded == expected else [f"rows: expected {expected}, {found.loaded} were loaded"]
    for position, column in enumerate(session.table.columns):
        if rows := found.differing[f"differs{position}"]:
            mismatches.append(f"column {column.name}: {rows} rows are restored otherwise than the table has them")
    if mismatches:
        # It is what its manifest says and not what the table has: the next archive makes another one of the same rows.
        rejected = reject(session.task, generation, tuple(mismatches))
        raise copy.verification.failing(mismatches).failure(session.task.label, rejected=rejected)
    log.info("%s: generation %s was loaded and compared by the server: %s rows", session.task.label, generation.number, f"{found.loaded:,}")


def _compare_on_source(session: Session, generation: Generation, copy: LocalCopy) -> _Found:
    connection = session.connection
    days = session.table.days(session.task.partition)
    with connection.transaction():
        loaded = _load(session, generation, copy, connection)
        connection.execute(sql_restore.ANALYZE_PROOF)
        found = connection.execute(sql_restore.compare_proof(days, _key(session), _columns(session), XMIN)).fetchone()
    return _Found(loaded, found or {})


def _compare_by_scratch(session: Session, scratch: Source, generation: Generation, copy: LocalCopy) -> _Found:
    source, columns = session.task.source, _columns(session)
    types = [pg_type for _, pg_type in columns]
    here = read_definitions(session.connection, types)
    statement = sql.compare_rows(session.table.days(session.task.partition), _key(session), columns)
    differing: Counter[str] = Counter()
    with open_scratch(scratch) as connection:
        require_same_types(scratch, read_definitions(connection, types), here)
        loaded = _load(session, generation, copy, connection)
        with closing(read_texts(connection, [name for name, _ in columns], XMIN)) as batches:
            for texts in batches:
                with source.errors():  # inside the block of the scratch database, which would take them for its own
                    differing.update(session.connection.execute(statement, texts).fetchone() or {})
    return _Found(loaded, differing)


def _key(session: Session) -> list[str]:
    return [column.name for column in session.table.key]


def _columns(session: Session) -> list[tuple[str, str]]:
    return [(column.name, column.pg_type) for column in session.table.columns]


def _load(session: Session, generation: Generation, copy: LocalCopy, connection: Connection) -> int:
    columns = _columns(session)
    names = [*(name for name, _ in columns), XMIN]
    connection.execute(sql_restore.create_proof([*columns, (XMIN, "bigint")]))
    if connection is session.connection:  # a scratch database has nothing but copies
        connection.execute(sql_restore.ONLY_PROOF)
    rows = (_with_believed_versions(session, generation, group.columns(names)) for group in copy.row_groups())
    return copy_rows(connection, sql_restore.PROOF, names, rows)


def _with_believed_versions(session: Session, generation: Generation, rows: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows with a null in place of each version that does not name the archived row for sure."""
    versions = rows.column(XMIN)
    if versions_believed(generation, session.server, session.table):
        believed = pc.invert(doubtful(versions, generation.manifest.source, session.server.next_xid))
        versions = pc.if_else(believed, versions, pa.scalar(None, versions.type))
    else:
        versions = pa.nulls(rows.num_rows, versions.type)
    columns = [versions if name == XMIN else rows.column(name) for name in rows.schema.names]
    return pa.RecordBatch.from_arrays(columns, names=rows.schema.names)
