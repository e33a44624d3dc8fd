"""Prove that a generation can be restored: a server loads it into a temporary table, and the source compares the rows with its own.

What belongs here: the load and the comparison that `verification: restore` requires before a purge. What does not: reading the object back
(`verifying/readback.py`), and restores that operators request (`restoring/restore.py`).

An object's digest is taken after the driver has decoded the values, and a sample checks only some of them. Here every row goes all the way
back into PostgreSQL. A scratch database returns each loaded row as its own text, which the archiver passes to the source without decoding.
Rows deleted or changed since the archive have no counterpart and are not compared. Rows whose version is in doubt are compared by the purge
itself, each under its lock.
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
    """The number of rows loaded, and, by keys such as `differs0`, in how many compared rows the column at that position differs."""

    loaded: int
    differing: Mapping[str, int]


def require_restorable(session: Session, generation: Generation, copy: LocalCopy) -> None:
    """Reject the generation and raise NotVerified if a row of the object differs from the source's row of the same version.

    Creates a temporary table as large as the object, on the source or in its scratch database, and takes ACCESS SHARE on the source table.
    Raises TableRefused for a scratch database that cannot hold the rows, and the errors of the source and the scratch database.
    """
    scratch = session.task.source.scratch
    found = _compare_by_scratch(session, scratch, generation, copy) if scratch else _compare_on_source(session, generation, copy)
    expected = generation.manifest.rows
    mismatches = [] if found.loaded == expected else [f"rows: expected {expected} to be loaded, found {found.loaded}"]
    for position, column in enumerate(session.table.columns):
        if rows := found.differing[f"differs{position}"]:
            mismatches.append(f"column {column.name}: {rows} restored rows differ from the table's")
    if mismatches:
        # The object matches its manifest but not the table, so the next archive stores the same rows in another generation.
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
                with source.errors():  # or the scratch database's block would claim the source's errors
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
    if connection is session.connection:  # a scratch database holds only copies
        connection.execute(sql_restore.ONLY_PROOF)
    rows = (_with_believed_versions(session, generation, group.columns(names)) for group in copy.row_groups())
    return copy_rows(connection, sql_restore.PROOF, names, rows)


def _with_believed_versions(session: Session, generation: Generation, rows: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows with each doubtful version replaced by a null."""
    versions = rows.column(XMIN)
    if versions_believed(generation, session.server, session.table):
        believed = pc.invert(doubtful(versions, generation.manifest.source, session.server.next_xid))
        versions = pc.if_else(believed, versions, pa.scalar(None, versions.type))
    else:
        versions = pa.nulls(rows.num_rows, versions.type)
    columns = [versions if name == XMIN else rows.column(name) for name in rows.schema.names]
    return pa.RecordBatch.from_arrays(columns, names=rows.schema.names)
