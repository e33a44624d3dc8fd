"""Proof that a generation can be restored: loaded into a temporary table, and compared there with the source by the server itself.

What belongs here: the load and the comparison that `verification: restore` asks for before a purge. What does not: reading the object back
(`verify.py`), and restoring for people (`restore.py`).

The digest of an object starts after the driver's decoding, and a sample only guesses at what that did to a value: here every row goes the
whole way back into PostgreSQL. Rows that were deleted or changed since the archive have no partner, and are not compared; rows whose
version proves nothing are compared by the purge itself, each under its lock.
"""

import pyarrow as pa
import pyarrow.compute as pc

from archiver_assets.lifecycle.emptying import Session
from archiver_assets.lifecycle.generations import Generation, reject, versions_believed
from archiver_assets.lifecycle.task import log
from archiver_assets.lifecycle.verify import LocalCopy
from archiver_assets.lifecycle.versions import doubtful
from archiver_assets.source import sql_restore
from archiver_assets.source.catalog import XMIN
from archiver_assets.source.copying import copy_rows


def require_restorable(session: Session, generation: Generation, copy: LocalCopy) -> None:
    """Raise NotVerified, having rejected the generation, if a row of the object is another than the source's row of that version.

    Takes a temporary table as large as the object on the source, for as long as it lasts; ACCESS SHARE on the table.
    """
    with session.connection.transaction():
        loaded = _load(session, generation, copy)
        mismatches = [] if loaded == generation.manifest.rows else [f"rows: expected {generation.manifest.rows}, {loaded} were loaded"]
        mismatches += _differences(session)
        session.connection.execute(sql_restore.DROP_PROOF)
    if mismatches:
        # It is what its manifest says and not what the table has: the next archive makes another one of the same rows.
        reject(session.task, generation, tuple(mismatches))
        raise copy.verification.failing(mismatches).failure(session.task.label)
    log.info("%s: generation %s was loaded and compared by the server: %s rows", session.task.label, generation.number, f"{loaded:,}")


def _load(session: Session, generation: Generation, copy: LocalCopy) -> int:
    columns = [(column.name, column.pg_type) for column in session.table.columns]
    names = [*(name for name, _ in columns), XMIN]
    session.connection.execute(sql_restore.create_proof([*columns, (XMIN, "bigint")]))
    rows = (_with_believed_versions(session, generation, group.columns(names)) for group in copy.row_groups())
    loaded = copy_rows(session.connection, sql_restore.PROOF, names, rows)
    session.connection.execute(sql_restore.ANALYZE_PROOF)
    return loaded


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


def _differences(session: Session) -> list[str]:
    columns = [(column.name, column.pg_type) for column in session.table.columns]
    days = session.table.days(session.task.partition)
    found = session.connection.execute(
        sql_restore.compare_proof(days, [column.name for column in session.table.key], columns, XMIN)
    ).fetchone()
    differing = {name: (found or {})[f"differs{position}"] for position, (name, _) in enumerate(columns)}
    return [f"column {name}: {rows} rows are restored otherwise than the table has them" for name, rows in differing.items() if rows]
