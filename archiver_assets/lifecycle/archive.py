"""Archive: copy a partition's rows, exactly, into one Parquet object, and commit it with a manifest.

What belongs here: the order of the steps that make a generation. What does not: reading it back (`verify.py`), deleting (`purge.py`).

The order is the guarantee: the object is whole before the manifest is created, and a generation exists if and only if its manifest does.
A crash before that leaves at most an object that no manifest names.
"""

import hashlib
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime
from importlib.metadata import version
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from archiver_assets.errors import ObjectExists, SourceError, SourceUnavailable, TableRefused
from archiver_assets.lifecycle.generations import Generation, find_generation, read_whole, require_same_source
from archiver_assets.lifecycle.task import Progress, Task, log
from archiver_assets.source import sql
from archiver_assets.source.catalog import Connection, Server, Table, count_rows, read_server, read_table
from archiver_assets.source.reading import read_rows
from archiver_assets.source.session import Snapshot, flushed, open_snapshot, partition_lock
from archiver_assets.store.digest import ContentDigest
from archiver_assets.store.keys import Mark
from archiver_assets.store.manifest import (
    FORMAT,
    ColumnFacts,
    Identity,
    LeafFacts,
    Manifest,
    ObjectFacts,
    PartitionFacts,
    SourceFacts,
    encode,
    sha256_of,
)
from archiver_assets.store.objects import StoredObject
from archiver_assets.store.parquet import ParquetEncoder, Sink

_FLUSH_SECONDS = 60


@dataclass(frozen=True)
class Archived:
    """What an archive did. `rows` is what this call archived, `rows_in_table` what the table held of the partition in the same snapshot."""

    outcome: Literal["archived", "already archived", "empty"]
    generation: Generation | None
    table: Table
    rows: int
    rows_in_table: int
    seconds: float


def archive(task: Task) -> Archived:
    """Make generation 1 of the partition, unless it exists. A partition without rows gets no object, and that is a success.

    Raises NotExpired, PartitionBusy, TableRefused, ValueRefused, SourceChanged where a generation of another table lies there, and the
    errors of source and store; then no generation was made.
    """
    started = task.monotonic()
    with task.source.connect() as connection, partition_lock(connection, table=task.table.label, partition=task.partition):
        server = read_server(connection)
        task.partition.require_expired(now=server.now, retention_days=task.table.retention_days, table=task.table.label)
        generation = find_generation(task)
        relation = sql.Relation(task.table.schema_name, task.table.name)
        with open_snapshot(connection, relation) as snapshot:
            table = read_table(connection, task.table)
            rows = count_rows(connection, table.days(task.partition))
            outcome: Literal["archived", "already archived", "empty"] = "already archived" if generation else "empty"
            archived_rows = 0
            if generation is None and rows > 0:
                generation = _make_generation(task, connection, server, table, snapshot, rows)
                outcome, archived_rows = "archived", rows
            elif generation is not None:
                require_same_source(task, server, table, generation)
    log.info("%s: %s, %s rows archived, %s in the table", task.label, outcome, f"{archived_rows:,}", f"{rows:,}")
    return Archived(outcome, generation, table, archived_rows, rows, task.monotonic() - started)


def _make_generation(task: Task, connection: Connection, server: Server, table: Table, snapshot: Snapshot, rows: int) -> Generation:
    _require_real_day(task)
    identity = _identity(task, server, table, snapshot)
    content = _Content(table, task.progress("archive", rows))
    key = task.keys.new_rows(identity.generation)
    with task.store.upload(key) as upload, closing(read_rows(task.source, table, table.days(task.partition), snapshot.id)) as batches:
        sink = _HashingSink(upload)
        with ParquetEncoder(sink, table.schema, identity.footer()) as encoder:
            for batch in batches:
                content.add(batch)
                encoder.write(batch)
            content.require_rows(rows, task.label)
            encoder.finish()
        stored = upload.commit()
    _wait_until_flushed(task, connection, snapshot)
    manifest = _manifest(task, identity, content, stored, sink.sha256)
    return _commit(task, manifest)


def _require_real_day(task: Task) -> None:
    if task.partition.start == task.partition.end:
        message = f"{task.label}: the table has rows on a day that {task.partition.timezone} never had"
        raise TableRefused(message, hint="compare timezone in the config with the zone in which the application writes its local times")


def _wait_until_flushed(task: Task, connection: Connection, snapshot: Snapshot) -> None:
    """Wait until a crash of the server cannot undo what the snapshot saw, and give its transaction ids to others.

    With synchronous_commit off a transaction is seen before it is on disk, by default for 0.6 s at most.
    """
    deadline = task.monotonic() + _FLUSH_SECONDS
    while not flushed(connection, snapshot):
        if task.monotonic() > deadline:
            message = f"{task.label}: expected the server to flush its WAL to {snapshot.lsn} within {_FLUSH_SECONDS} s, found it behind"
            raise SourceUnavailable(message, hint="look at the server's disks, and archive again; no generation was made")
        task.sleep(0.1)


def _identity(task: Task, server: Server, table: Table, snapshot: Snapshot) -> Identity:
    return Identity(
        format=FORMAT,
        database=task.table.database,
        schema_name=task.table.schema_name,
        table=task.table.name,
        partition=PartitionFacts(
            column=table.timestamp.name, timezone=task.partition.timezone, start=task.partition.start, end=task.partition.end
        ),
        generation=1,
        primary_key=task.table.primary_key,
        fingerprint=table.fingerprint,
        source=SourceFacts(
            system_identifier=server.system_identifier,
            database_oid=server.database_oid,
            table_oid=table.oid,
            timeline=server.timeline,
            server_version=server.server_version,
            snapshot=snapshot.snapshot,
            lsn=snapshot.lsn,
            read_from="primary",
            leaves=tuple(LeafFacts(oid=leaf.oid, columns=leaf.columns) for leaf in table.leaves),
        ),
        archiver_version=version("audit-archiver"),
        run_id=task.run_id,
    )


def _manifest(task: Task, identity: Identity, content: "_Content", stored: StoredObject, sha256: str) -> Manifest:
    table = content.table
    return Manifest(
        **{name: getattr(identity, name) for name in Identity.model_fields},
        object=ObjectFacts(key=stored.key, bytes=stored.bytes, sha256=sha256, etag=stored.etag, version_id=stored.version_id),
        rows=content.progress.rows,
        content_digest=content.digest.result(),
        timestamp_min=table.instant(content.smallest, task.partition.timezone),
        timestamp_max=table.instant(content.largest, task.partition.timezone),
        columns=tuple(
            ColumnFacts(name=column.name, pg_type=column.pg_type, arrow_type=str(column.field.type), not_null=column.not_null)
            for column in table.columns
        ),
        ddl=table.ddl,
        archived_at=task.clock(),
    )


def _commit(task: Task, manifest: Manifest) -> Generation:
    key, data = task.keys.mark(Mark.MANIFEST, manifest.generation), encode(manifest)
    try:
        task.store.create(key, data)
    except ObjectExists:
        # Our own create may have succeeded and only its answer been lost: then the very same bytes lie there.
        if read_whole(task.store, key) != data:
            raise
    return Generation(manifest, sha256_of(data), manifest.object.key, receipt=None)


class _HashingSink:
    """Passes bytes on to a sink, and hashes them on the way."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._hash = hashlib.sha256()

    def write(self, data: bytes, /) -> None:
        self._hash.update(data)
        self._sink.write(data)

    @property
    def sha256(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


class _Content:
    """What is learned of the rows while they stream: their number, digest, and the extremes of the timestamp."""

    def __init__(self, table: Table, progress: Progress) -> None:
        self.table = table
        self.progress = progress
        self.digest = ContentDigest(table.schema)
        self._extremes: list[datetime | date] = []

    def add(self, batch: pa.RecordBatch) -> None:
        self.digest.update(batch)
        extremes = pc.min_max(batch.column(self.table.timestamp.name)).as_py()
        self._extremes = _outermost([*self._extremes, *extremes.values()])
        self.progress.add(batch.num_rows)

    @property
    def smallest(self) -> datetime | date:
        return self._extremes[0]

    @property
    def largest(self) -> datetime | date:
        return self._extremes[-1]

    def require_rows(self, counted: int, label: str) -> None:
        if self.progress.rows != counted:
            message = f"{label}: expected {counted} rows, as counted in the snapshot, found {self.progress.rows} in its stream"
            raise SourceError(message, hint="report this; no generation was made and nothing was deleted")


def _outermost(values: Iterable[datetime | date | None]) -> list[datetime | date]:
    present = [value for value in values if value is not None]
    return [min(present), max(present)] if present else []
