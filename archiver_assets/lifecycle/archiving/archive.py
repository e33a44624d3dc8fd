"""Archive: copy a partition's rows that no generation contains, exactly, into one Parquet object, and commit it with a manifest.

What belongs here: the order of the steps that make a generation. What does not: which rows are already archived (`coverage.py`), the facts
gathered from the streamed rows (`content.py`), reading back (`verifying/readback.py`), and deleting (`purging/purge.py`).

The order is the guarantee: the object is complete before its manifest is created, and a generation exists if and only if its manifest does.
A crash before that leaves at most an object that no manifest names. The next archive removes it.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from archiver_assets.errors import ObjectExists, SourceChanged, SourceError, SourceUnavailable, StoreError, TableRefused
from archiver_assets.lifecycle.archiving.content import Content, TimestampRange
from archiver_assets.lifecycle.coverage import Coverage, read_coverage
from archiver_assets.lifecycle.generations import Generation, Generations, own_generations, remove_leftovers, remove_newest_leftovers
from archiver_assets.lifecycle.preflight import require_compliance, require_preflight
from archiver_assets.lifecycle.progress import Progress, of_generation
from archiver_assets.lifecycle.retrying import persistently
from archiver_assets.lifecycle.task import Step, Task, log
from archiver_assets.source import sql
from archiver_assets.source.catalog import (
    XMIN,
    Connection,
    Server,
    Table,
    count_rows,
    count_without_day,
    read_server,
    read_table,
    require_standby_of,
    split,
)
from archiver_assets.source.reading import read_rows, read_rows_ahead
from archiver_assets.source.session import Snapshot, Source, flushed, locked_table, open_snapshot, partition_lock, prompt_flush
from archiver_assets.store.digest import ContentDigest
from archiver_assets.store.keys import Mark
from archiver_assets.store.manifest import (
    FORMAT,
    ColumnFacts,
    EarlierFacts,
    Identity,
    LeafFacts,
    Manifest,
    ObjectFacts,
    PartitionFacts,
    SourceFacts,
    encode,
    sha256_of,
)
from archiver_assets.store.objects import read_whole
from archiver_assets.store.parquet import ParquetEncoder, Sink
from archiver_assets.threads import Behind

_FLUSH_SECONDS = 60
_BATCHES_TO_ENCODE = 2
"""The number of batches, of about 4 MiB each, that may wait while a row group is encoded."""


@dataclass(frozen=True)
class Archived:
    """The result of an archive. `rows` is the number of rows that this call archived.

    `rows_in_table` is the number of the partition's rows in the table, in the same snapshot. `rows_in_archive` counts the rows of all live
    generations.

    `generation` is the new one, or else the newest live one. `rows_without_day` counts the rows of the whole table whose timestamp is NULL
    or infinite: they belong to no partition, and nothing touches them. `rejected` is the number of generations found damaged; these are
    ignored from now on.
    """

    outcome: Literal["archived", "already archived", "empty"]
    generation: Generation | None
    table: Table
    rows: int
    rows_in_table: int
    rows_in_archive: int
    rows_without_day: int
    seconds: float
    rejected: int


@dataclass(frozen=True)
class Reader:
    """Where rows are read, in one snapshot: the primary or one of its standbys."""

    source: Source
    connection: Connection
    snapshot: Snapshot
    table: Table
    read_from: Literal["primary", "standby"]


@dataclass(frozen=True)
class _Work:
    """The rows of a new generation: those of the `rows` seen by `reader` that are not `covered`. `end_reading` ends the snapshot."""

    reader: Reader
    covered: Coverage
    rows: int
    new_rows: int
    end_reading: Callable[[], None]


def archive(task: Task) -> Archived:
    """Make a generation of the partition's rows that no generation covers. If there are no such rows, succeed without a new generation.

    Raises ConfigError if compliance forbids it, NotExpired, PartitionBusy, TableRefused, ValueRefused, SourceChanged if a generation of
    another database is stored there, and the errors of source and store. After an error no generation was made.
    """
    return persistently(task, "archive", lambda: _archive(task))


def _archive(task: Task) -> Archived:
    started = task.monotonic()
    require_compliance(task)
    with task.source.connect() as connection, partition_lock(connection, table=task.table.label, partition=task.partition):
        task.reached(Step.LOCKED)
        server = read_server(connection)
        task.partition.require_expired(now=server.now, retention_days=task.table.retention_days, table=task.table.label)
        require_preflight(task, connection, "archive")
        with locked_table(connection, _relation(task)):
            table = read_table(connection, task.table)
            without_day = count_without_day(connection, table)
        generations = own_generations(task, server)
        remove_leftovers(task, generations)
        covered, were_open = read_coverage(task, server, table, generations), len(generations.open)
        if were_open:
            generations = own_generations(task, server)  # without those just found damaged
        rejected = were_open - len(generations.open)
        with ExitStack() as reading:
            reader = reading.enter_context(open_reader(task, connection, server, table))
            task.reached(Step.SNAPSHOT_TAKEN)
            rows = count_rows(reader.connection, table.days(task.partition))
            new_rows = count_uncovered(task, reader, covered) if covered else rows
            generation = generations.live[-1] if generations.live else None
            if new_rows:
                work = _Work(reader, covered, rows, new_rows, end_reading=reading.close)
                with of_generation(generations.next_number):
                    generation = _make_generation(task, connection, server, work, generations)
            else:
                remove_newest_leftovers(task, generations)
        task.reached(Step.UNLOCKED)
    outcome: Literal["archived", "already archived", "empty"] = "archived" if new_rows else "already archived" if generation else "empty"
    facts = {"outcome": outcome, "rows": new_rows, "generation": generation.number if generation else None}
    log.info("%s: %s, %s rows archived, %s in the table", task.label, outcome, f"{new_rows:,}", f"{rows:,}", extra=facts)
    if without_day:
        log.warning("%s: %s rows have no day: their timestamp is NULL or infinite; they stay", task.table.label, f"{without_day:,}")
    in_archive = sum(each.manifest.rows for each in generations.live) + new_rows
    return Archived(outcome, generation, table, new_rows, rows, in_archive, without_day, task.monotonic() - started, rejected)


def _relation(task: Task) -> sql.Relation:
    return sql.Relation(task.table.schema_name, task.table.name)


@contextmanager
def open_reader(task: Task, primary: Connection, server: Server, table: Table) -> Iterator[Reader]:
    """Open the snapshot for reading rows: on the configured standby, or else on the primary in the session that holds the lock."""
    standby = task.source.replica
    if standby is None:
        with open_snapshot(primary, _relation(task)) as snapshot:
            yield Reader(task.source, primary, snapshot, _same_table(task, primary, table), "primary")
        return
    with standby.connect() as connection:
        require_standby_of(connection, server, task.table.label)
        with open_snapshot(connection, _relation(task)) as snapshot:
            yield Reader(standby, connection, snapshot, _same_table(task, connection, table), "standby")


def _same_table(task: Task, connection: Connection, table: Table) -> Table:
    found = read_table(connection, task.table)
    if (found.oid, found.fingerprint) != (table.oid, table.fingerprint):
        message = f"table {task.table.label} was altered or replaced while it was archived, or the standby lags behind that"
        raise SourceChanged(message, hint="run again; no generation was made")
    return found


def count_uncovered(task: Task, reader: Reader, covered: Coverage) -> int:
    """Count the partition's rows that no generation covers, as the reader sees them."""
    keys = reader.table.only([column.name for column in reader.table.key])
    with closing(read_rows(reader.source, keys, keys.days(task.partition), reader.snapshot.id)) as batches:
        return sum(int(pc.sum(covered.uncovered(batch)).as_py() or 0) for batch in batches)


def _make_generation(task: Task, connection: Connection, server: Server, work: _Work, before: Generations) -> Generation:
    _require_real_day(task)
    reader, identity = work.reader, _identity(task, server, work.reader, before.next_number)
    uploaded = _upload(task, work, identity)
    task.reached(Step.OBJECT_UPLOADED)
    remove_newest_leftovers(task, before)
    _require_conditions_kept(task, uploaded.object.key)
    if reader.read_from == "primary":  # a standby is sent nothing that is not flushed
        _wait_until_flushed(task, connection, reader.snapshot)
    task.reached(Step.WAL_FLUSHED)
    manifest = Manifest(
        **{name: getattr(identity, name) for name in Identity.model_fields},
        object=uploaded.object,
        rows=uploaded.rows,
        content_digest=uploaded.content_digest,
        timestamp_min=uploaded.timestamps.smallest,
        timestamp_max=uploaded.timestamps.largest,
        columns=_column_facts(reader.table),
        ddl=reader.table.ddl,
        archived_at=task.clock(),
        earlier=_earlier(before) if identity.generation > 1 else None,
    )
    _require_still_locked(connection)
    generation = _commit(task, manifest)
    task.reached(Step.MANIFEST_CREATED)
    return generation


@dataclass(frozen=True)
class _Uploaded:
    """A complete object that no manifest names yet, and the facts gathered from its rows while they streamed."""

    object: ObjectFacts
    rows: int
    content_digest: str
    timestamps: TimestampRange


def _upload(task: Task, work: _Work, identity: Identity) -> _Uploaded:
    """Stream the rows into an object. Before completing it, compare the rows with the server's in the same snapshot."""
    reader, table = work.reader, work.reader.table
    days, key = table.days(task.partition), task.keys.new_rows(identity.generation)
    content, digest, timestamps = Content(table), ContentDigest(table.schema), TimestampRange(table, task.partition.timezone)
    progress = task.progress("archive", work.new_rows)
    with progress, Behind("encoding", _BATCHES_TO_ENCODE) as encoding, task.store.upload(key) as upload:
        sink = _HashingSink(upload, progress)
        with ParquetEncoder(sink, table.schema, identity.footer()) as encoder:
            ranges = split(reader.connection, days, work.rows, task.table.parallelism)
            with closing(read_rows_ahead(reader.source, table, ranges, reader.snapshot.id)) as batches:
                for batch in batches:
                    content.add(batch)
                    new = _uncovered(table, work.covered, batch)
                    if new.num_rows:
                        encoding.call(partial(encoder.write, new))
                        digest.update(new)
                        timestamps.add(new)
                        progress.add(new.num_rows)
                    task.reached(Step.BATCH_STREAMED)
            _require_rows(task, work.new_rows, progress.done)
            content.require_same_as(task, reader.connection, days)
            # From here on the duration depends on the store, and an open transaction would hold back VACUUM on every table.
            work.end_reading()
            encoding.call(encoder.finish)
            encoding.wait()
        task.reached(Step.OBJECT_ENCODED)
        stored = upload.commit()
    facts = ObjectFacts(key=stored.key, bytes=stored.bytes, sha256=sink.sha256, etag=stored.etag, version_id=stored.version_id)
    return _Uploaded(facts, progress.done, digest.result(), timestamps)


def _uncovered(table: Table, covered: Coverage, batch: pa.RecordBatch) -> pa.RecordBatch:
    if not covered:
        return batch
    return batch.filter(covered.uncovered(batch.select([*(column.name for column in table.key), XMIN])))


def _require_rows(task: Task, counted: int, streamed: int) -> None:
    if counted != streamed:
        message = f"{task.label}: expected {counted} rows, as counted in the snapshot, found {streamed} in its stream"
        raise SourceError(message, hint="report this; no generation was made and nothing was deleted")


def _require_still_locked(connection: Connection) -> None:
    """Run a statement in the session that holds the lock: if the session was lost during a long upload, another archive may be running."""
    connection.execute("SELECT 1")


def _require_conditions_kept(task: Task, key: str) -> None:
    """Raise StoreError if the store overwrites an existing key: a manifest could not serve as a commit mark there.

    The probe uses the key of the data just uploaded, which no manifest names, so a store that fails the check does no harm. The object that
    such a store would create is not locked.
    """
    try:
        task.store.create(key, b"", locked=False)
    except ObjectExists:
        return
    message = f"expected {task.store.uri(key)} to be refused because the key is taken, found that the store ignores If-None-Match"
    raise StoreError(message, hint="use a store that knows conditional writes; no generation was made and nothing was deleted")


def _require_real_day(task: Task) -> None:
    if task.partition.start == task.partition.end:
        message = f"{task.label}: the table has rows on a day that {task.partition.timezone} never had"
        raise TableRefused(message, hint="compare timezone in the config with the zone in which the application writes its local times")


def _wait_until_flushed(task: Task, connection: Connection, snapshot: Snapshot) -> None:
    """Wait until a server crash can no longer undo what the snapshot saw and reassign its transaction ids.

    With synchronous_commit off, a transaction is visible before it is on disk, by default for at most 0.6 s.
    """
    if flushed(connection, snapshot):
        return
    prompt_flush(connection)
    deadline = task.monotonic() + _FLUSH_SECONDS
    while not flushed(connection, snapshot):
        if task.monotonic() > deadline:
            message = f"{task.label}: expected the server to flush its WAL to {snapshot.lsn} within {_FLUSH_SECONDS} s, found it behind"
            raise SourceUnavailable(message, hint="look at the server's disks, and archive again; no generation was made")
        task.sleep(0.1)


def _identity(task: Task, server: Server, reader: Reader, number: int) -> Identity:
    table, snapshot = reader.table, reader.snapshot
    return Identity(
        format=FORMAT,
        database=task.table.database,
        schema_name=task.table.schema_name,
        table=task.table.name,
        partition=PartitionFacts(
            column=table.timestamp.name, timezone=task.partition.timezone, start=task.partition.start, end=task.partition.end
        ),
        generation=number,
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
            read_from=reader.read_from,
            leaves=tuple(LeafFacts(oid=leaf.oid, columns=leaf.columns) for leaf in table.leaves),
        ),
        archiver_version=version("audit-archiver"),
        run_id=task.run_id,
    )


def _earlier(before: Generations) -> tuple[EarlierFacts, ...]:
    return tuple(EarlierFacts(generation=each.number, manifest_sha256=each.manifest_sha256) for each in before.committed)


def _column_facts(table: Table) -> tuple[ColumnFacts, ...]:
    return tuple(
        ColumnFacts(name=column.name, pg_type=column.pg_type, arrow_type=str(column.field.type), not_null=column.not_null)
        for column in table.columns
    )


def _commit(task: Task, manifest: Manifest) -> Generation:
    key, data = task.keys.mark(Mark.MANIFEST, manifest.generation), encode(manifest)
    try:
        task.store.create(key, data)
    except ObjectExists:
        # Our own create may have succeeded with only its answer lost: then the stored bytes are identical.
        if read_whole(task.store, key) != data:
            raise
    return Generation(manifest, sha256_of(data), manifest.object.key)


class _HashingSink:
    """Passes bytes on to a sink, hashes them, and counts them in `progress` alongside the rows."""

    def __init__(self, sink: Sink, progress: Progress | None = None) -> None:
        self._sink = sink
        self._progress = progress
        self._hash = hashlib.sha256()

    def write(self, data: bytes, /) -> None:
        self._hash.update(data)
        self._sink.write(data)
        if self._progress is not None:
            self._progress.others += len(data)

    @property
    def sha256(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"
