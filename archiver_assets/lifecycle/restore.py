"""Restore: load the generations of a partition back into a table, and let the server say that they are there.

What belongs here: which rows are restored, the order of load, comparison and commit, and what stops them. What does not: the statements and
the look at the table (`source/destination.py`), reading back (`verify.py`).

Each generation is one transaction: proven by reading it back, loaded, compared row by row by the server, committed. Newer generations come
first, and of a key that several hold only the newest version is loaded. A crash leaves whole generations, and running the same restore
again finishes: a row that is there already, byte for byte, is no conflict.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from secrets import token_hex
from typing import Literal

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from archiver_assets.config import Hold
from archiver_assets.errors import ConfigError, NotRestored
from archiver_assets.lifecycle.coverage import Coverage
from archiver_assets.lifecycle.generations import Generation, read_generations
from archiver_assets.lifecycle.retrying import persistently
from archiver_assets.lifecycle.task import Progress, Step, Task, log
from archiver_assets.lifecycle.verify import LocalCopy, proven
from archiver_assets.partition import Partition
from archiver_assets.source import destination as at
from archiver_assets.source import sql
from archiver_assets.source.catalog import XMIN, Connection, find_relation, read_table
from archiver_assets.source.destination import Destination, TargetColumn
from archiver_assets.source.holding import held_rows, read_clock
from archiver_assets.source.session import locked_table, partition_lock
from archiver_assets.store.holding import place_hold
from archiver_assets.store.manifest import Manifest

_BATCH_ROWS = 10_000
_NAME_BYTES = 63
_MOST_HOLD_DAYS = 36_500
_HOLD_REQUESTOR = "archiver restore"
_HOLD_ID = re.compile(r"restored-[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9a-f]{16}")


class Conflict(StrEnum):
    """What becomes of another row that the target has under an archived key."""

    fail = "fail"
    skip = "skip"
    overwrite = "overwrite"


class Drift(StrEnum):
    """What becomes of a target of another shape."""

    refuse = "refuse"
    by_name = "by_name"


class Triggers(StrEnum):
    """What triggers on INSERT of the target do."""

    refuse = "refuse"
    fire = "fire"
    disable = "disable"


class Versions(StrEnum):
    """Which of the archived versions of a key are restored."""

    latest = "latest"
    all = "all"


@dataclass(frozen=True)
class RestoreRequest:
    """What is restored, and where to. `schema_name` None means the archived table's schema, `table_name` None means `{T}_restored` there.

    `columns` are those restored, the key's always among them; none means all. `versions` "all" keeps every archived version of a key, in
    a table whose key has the column `_xmin` too. `conflict` says what becomes of another row under an archived key, `drift` whether a
    table of another shape is refused or filled by the columns' names, `triggers` what those on INSERT do. `hold_days` is how long the rows
    are held from the next purge if the target is the archived table itself.
    """

    table_name: str | None = None
    schema_name: str | None = None
    columns: tuple[str, ...] = ()
    versions: Versions = Versions.latest
    conflict: Conflict = Conflict.fail
    drift: Drift = Drift.refuse
    triggers: Triggers = Triggers.refuse
    dry_run: bool = False
    hold_days: int = 30


@dataclass(frozen=True)
class RestoreTally:
    """What became of archived rows: `loaded`; `present` in the table before, byte for byte; `skipped` for another row of their key.

    `overwritten` counts other rows that gave way to loaded ones, `superseded` older versions that were not restored.
    """

    loaded: int = 0
    present: int = 0
    skipped: int = 0
    overwritten: int = 0
    superseded: int = 0

    def __add__(self, other: "RestoreTally") -> "RestoreTally":
        """Add each number."""
        return RestoreTally(**{name: getattr(self, name) + getattr(other, name) for name in RestoreTally.__dataclass_fields__})


@dataclass(frozen=True)
class Restored:
    """What a restore did, or with `dry_run` would do. `target` is the table's quoted name; `drift` has a line for each differing column.

    `hold` is the id of the hold that was placed, `sequences` are those that were moved on past restored numbers.
    """

    outcome: Literal["restored", "already there", "empty", "dry run"]
    target: str
    generations: tuple[int, ...]
    tally: RestoreTally
    seconds: float
    drift: tuple[str, ...] = ()
    hold: str | None = None
    sequences: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Session:
    """A session that holds the lock, and the partition's generations that count, newest first."""

    task: Task
    request: RestoreRequest
    connection: Connection
    generations: tuple[Generation, ...]
    relation: sql.Relation

    @property
    def key(self) -> tuple[str, ...]:
        """The columns by which restored rows are told apart."""
        key = self.generations[0].manifest.primary_key
        return (*key, XMIN) if self.request.versions == Versions.all else key


def restore(task: Task, request: RestoreRequest) -> Restored:
    """Restore a partition. Without a generation that counts there is nothing to restore, which is a success.

    Raises NotVerified for a generation that is not what its manifest says; NotRestored where the target has another shape, triggers, other
    rows under the same keys, or does not keep the rows as they were archived; PartitionBusy; and the errors of source and store.
    What was restored before an error are whole generations, newer ones than that of the error.
    """
    return persistently(task, "restore", lambda: _restore(task, request))


def _restore(task: Task, request: RestoreRequest) -> Restored:
    started = task.monotonic()
    if not 0 <= request.hold_days <= _MOST_HOLD_DAYS:
        message = f"expected hold_days of 0 to {_MOST_HOLD_DAYS}, found {request.hold_days}"
        raise ConfigError(message, hint="0 places no hold; for longer, place a legal hold of your own")
    relation = _target(task, request)
    with task.source.connect() as connection, partition_lock(connection, table=task.table.label, partition=task.partition):
        task.reached(Step.LOCKED)
        generations = tuple(reversed(read_generations(task).live))
        result = Restored("empty", relation.identifier.as_string(), (), RestoreTally(), 0.0)
        if generations:
            session = _Session(task, request, connection, generations, relation)
            result = _restore_all(session)
        task.reached(Step.UNLOCKED)
    tally = result.tally
    log.info(
        "restore %s into %s: %s, %s rows loaded, %s there before", task.label, result.target, result.outcome, tally.loaded, tally.present
    )
    return replace(result, seconds=task.monotonic() - started)


def _target(task: Task, request: RestoreRequest) -> sql.Relation:
    name = request.table_name or f"{task.table.name}_restored"
    if len(name.encode()) > _NAME_BYTES:
        message = f"expected the name of a target table of at most {_NAME_BYTES} bytes, found {name!r}"
        raise ConfigError(message, hint="name the target table of the restore")
    return sql.Relation(request.schema_name or task.table.schema_name, name)


def _restore_all(session: _Session) -> Restored:
    task, request = session.task, session.request
    columns = _archived_columns(session, session.generations[0].manifest)
    with at.errors_of(session.relation):
        if not request.dry_run and request.table_name is None:
            at.create_destination(session.connection, session.relation, columns, session.key)
        destination = at.read_destination(session.connection, session.relation, session.key)
    if destination is None and not (request.dry_run and request.table_name is None):
        message = f"expected a table {session.relation.identifier.as_string()} to restore {task.label} into, found none"
        raise NotRestored(message, hint="create it, or name none: then a table is made from what the archive knows of the original")
    if destination is not None:
        _require_safe(session, destination)
    results = _Results()
    restored: list[Generation] = []
    for generation in session.generations:
        _restore_one(session, destination, generation, restored, results)
        restored.append(generation)
    outcome: Literal["restored", "already there", "dry run"] = "restored" if results.tally.loaded else "already there"
    numbers = tuple(generation.number for generation in session.generations)
    return Restored(
        "dry run" if request.dry_run else outcome,
        session.relation.identifier.as_string(),
        numbers,
        results.tally,
        0.0,
        tuple(dict.fromkeys(results.drift)),
        results.hold,
        tuple(dict.fromkeys(results.sequences)),
    )


@dataclass
class _Results:
    """What the generations restored so far add up to."""

    tally: RestoreTally = field(default_factory=RestoreTally)
    drift: list[str] = field(default_factory=list)
    sequences: list[str] = field(default_factory=list)
    hold: str | None = None


def _archived_columns(session: _Session, manifest: Manifest) -> list[TargetColumn]:
    """Return the columns of a generation that are asked for, as a table of restored rows has them."""
    chosen = session.request.columns
    names = [column.name for column in manifest.columns]
    key = session.generations[0].manifest.primary_key  # which an older one may have no columns for
    if unknown := [name for name in (*chosen, *key) if name not in names]:
        message = f"expected columns of the archive of {session.task.label}, found {', '.join(unknown)}"
        raise NotRestored(message, hint=f"generation {manifest.generation} has: {', '.join(names)}")
    wanted = {*chosen, *key} if chosen else set(names)
    columns = [TargetColumn(each.name, each.pg_type, each.not_null) for each in manifest.columns if each.name in wanted]
    return [*columns, TargetColumn(XMIN, "bigint", not_null=True)] if session.request.versions == Versions.all else columns


def _types(session: _Session, generation: Generation) -> dict[str, str]:
    return {column.name: column.pg_type for column in _archived_columns(session, generation.manifest)}


def _require_safe(session: _Session, destination: Destination) -> None:
    name = destination.relation.identifier.as_string()
    triggers = at.insert_triggers(session.connection, destination)
    if triggers and session.request.triggers == Triggers.refuse:
        message = f"restored rows would fire triggers of {name}: {', '.join(dict.fromkeys(trigger.name for trigger in triggers))}"
        raise NotRestored(message, hint="say what they do: triggers: disable (as the table's owner) or fire; or restore into another table")
    effects = at.side_effects_of_delete(session.connection, destination) if session.request.conflict == Conflict.overwrite else []
    if effects:
        message = f"overwriting rows of {name} would do more, or less: {'; '.join(effects)}"
        raise NotRestored(message, hint="restore into another table, or with conflict: skip")


def _restore_one(
    session: _Session, destination: Destination | None, generation: Generation, newer: Sequence[Generation], results: _Results
) -> None:
    task = session.task
    columns = _archived_columns(session, generation.manifest)
    names = [column.name for column in columns]
    if destination is not None:
        results.drift += (drift := at.differences(columns, destination) if not session.request.columns else _retyped(columns, destination))
        if drift and session.request.drift == Drift.refuse:
            found = f"is not of the shape of generation {generation.number} of {task.label}: {'; '.join(drift)}"
            message = f"{destination.relation.identifier.as_string()} {found}"
            hint = "restore with drift: by_name (columns of the same name; what is archived and not in the table is left out), or elsewhere"
            raise NotRestored(message, hint=hint)
        present = {column.name for column in destination.columns}
        if missing := [name for name in session.key if name not in present]:
            message = f"expected the whole key in {destination.relation.identifier.as_string()}, found no column {', '.join(missing)}"
            raise NotRestored(message, hint="restore into another table: without its key a row cannot be told from others")
        names = [name for name in names if name in present]
    superseded = Coverage(_keys(session, newer))
    with proven(task, generation) as copy:
        task.reached(Step.READ_BACK)
        rows = _Rows(copy, session.key, names, superseded, task.progress("restore", generation.manifest.rows))
        if destination is None:
            loaded = sum(batch.num_rows for batch in rows)
            results.tally += RestoreTally(loaded=loaded, superseded=generation.manifest.rows - loaded)
            return
        _load_in_one_transaction(session, destination, generation, rows, results)


def _retyped(columns: Sequence[TargetColumn], destination: Destination) -> list[str]:
    """Return the differences of chosen columns: that others are not restored was asked for."""
    return [line for line in at.differences(columns, destination) if not line.startswith("+")]


def _keys(session: _Session, generations: Sequence[Generation]) -> Iterator[pa.RecordBatch]:
    for generation in generations:
        with proven(session.task, generation) as copy:
            for batch in copy.batches(list(session.key)):
                yield batch.select(list(session.key))


@dataclass(frozen=True)
class _Rows:
    """The rows of a generation that no newer one supersedes, in batches of some columns, again and again."""

    copy: LocalCopy
    key: tuple[str, ...]
    names: list[str]
    superseded: Coverage
    progress: Progress

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Read them, a row group in memory at a time, at most 10,000 rows each."""
        for group in self.copy.row_groups():
            whole = group.columns(list(dict.fromkeys([*self.names, *self.key])))
            for start in range(0, whole.num_rows, _BATCH_ROWS):
                batch = whole.slice(start, _BATCH_ROWS)
                newest = batch.filter(self.superseded.uncovered(batch.select(list(self.key)))) if self.superseded else batch
                if newest.num_rows:
                    yield newest.select(self.names)


def _load_in_one_transaction(session: _Session, destination: Destination, generation: Generation, rows: _Rows, results: _Results) -> None:
    task, connection = session.task, session.connection
    with at.errors_of(destination.relation), connection.transaction(force_rollback=session.request.dry_run):
        connection.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE")
        # From here to the commit the table is the one that was looked at: its name, its columns, and what an INSERT sets off.
        at.lock_unchanged(connection, destination, alone=session.request.triggers == Triggers.disable)
        _require_safe(session, destination)
        triggers = at.insert_triggers(connection, destination) if session.request.triggers == Triggers.disable else []
        loading = _Loading(session, destination, generation, rows)
        with at.disabled(connection, triggers):
            tally = loading.load()
        task.reached(Step.ROWS_LOADED)
        loading.require_same(tally)
        results.tally += replace(tally, superseded=generation.manifest.rows - loading.rows_read)
        if session.request.dry_run:
            return
        results.sequences += at.advance_sequences(connection, destination, loading.greatest)
        if tally.loaded and results.hold is None:
            results.hold = _hold(session, destination)
    task.reached(Step.ROWS_RESTORED)


def _hold(session: _Session, destination: Destination) -> str | None:
    """Keep the rows from the next purge, before they can be seen, if they went into the archived table itself."""
    task, held_for = session.task, session.request.hold_days
    original = find_relation(session.connection, task.table)
    if held_for <= 0 or original is None or not at.is_of(session.connection, destination, int(original["oid"])):
        return None
    now = read_clock(session.connection)
    # Under a time zone that was changed since, the rows are of neighbouring days too.
    manifests = [generation.manifest for generation in session.generations]
    ends = [instant for each in manifests for instant in (each.timestamp_min, each.timestamp_max)]
    days = [task.partition.day, *(Partition.containing(instant, task.table.timezone).day for instant in ends)]
    hold = Hold(
        id=f"restored-{task.partition.key}-{token_hex(8)}",
        reason=f"restored from the archive of {task.label} by run {task.run_id}",
        requestor=_HOLD_REQUESTOR,
        schema_name=task.table.schema_name,
        table_name=task.table.name,
        first_day=min(days),
        last_day=max(days),
        expiration_date=now + timedelta(days=held_for),
    )
    place_hold(task.store, task.prefix, hold)
    return hold.id


def _is_of_a_restore(hold: Hold) -> bool:
    # Both, so that a person's hold with such a name is not taken for one of ours.
    return hold.requestor == _HOLD_REQUESTOR and bool(_HOLD_ID.fullmatch(hold.id))


class _Loading:
    """The load of one generation, within its transaction."""

    def __init__(self, session: _Session, destination: Destination, generation: Generation, rows: _Rows) -> None:
        """Nothing is done yet."""
        self._session = session
        self._connection = session.connection
        self._destination = destination
        self._generation = generation
        self._rows = rows
        self._types = _types(session, generation)
        self.rows_read = 0
        self.greatest: dict[str, int] = {}

    def load(self) -> RestoreTally:
        """Load all rows at once; where the table has some of their keys already, again batch by batch, with a look at each key."""
        try:
            with self._connection.transaction():
                return self._load_all()
        except psycopg.errors.UniqueViolation:
            log.info("%s: the table has some of the keys already; comparing row by row", self._session.task.label)
        self.rows_read = 0
        return self._load_others()

    def _load_all(self) -> RestoreTally:
        loaded = 0
        for batch in self._rows:
            loaded += self._put(batch)
        return RestoreTally(loaded=loaded)

    def _load_others(self) -> RestoreTally:
        tally = RestoreTally()
        for batch in self._rows:
            found = at.find(self._connection, self._destination, batch, self._types)
            other = sorted(position for position, same in found.items() if not same)
            if other and self._session.request.conflict == Conflict.overwrite:
                tally += RestoreTally(overwritten=self._overwrite(batch.take(pa.array(other))))
                found = {position: same for position, same in found.items() if same}
                other = []
            if other and self._session.request.conflict == Conflict.fail:
                raise self._conflict(batch, other)
            missing = batch.take(pa.array([each for each in range(batch.num_rows) if each not in found], pa.int64()))
            tally += RestoreTally(loaded=self._put(missing), present=len(found) - len(other), skipped=len(other))
            self.rows_read += batch.num_rows - missing.num_rows
        return tally

    def _put(self, batch: pa.RecordBatch) -> int:
        self.rows_read += batch.num_rows
        for name in batch.schema.names:
            if pa.types.is_integer(batch.schema.field(name).type) and batch.num_rows > batch.column(name).null_count:
                self.greatest[name] = max(self.greatest.get(name, 0), pc.max(batch.column(name)).as_py())
        loaded = at.put(self._connection, self._destination, batch) if batch.num_rows else 0
        self._rows.progress.add(loaded)
        return loaded

    def _conflict(self, batch: pa.RecordBatch, positions: Sequence[int]) -> NotRestored:
        example = {name: str(batch.column(name)[positions[0]].as_py()) for name in self._session.key if name in batch.schema.names}
        name = self._destination.relation.identifier.as_string()
        message = f"{name} has another row than the archive under {len(positions)} of the keys compared so far, such as {example}"
        hint = "restore with conflict: skip (those rows stay as they are) or overwrite (they give way), or into another table"
        return NotRestored(message, hint=f"{hint}; nothing of generation {self._generation.number} was restored")

    def _overwrite(self, rows: pa.RecordBatch) -> int:
        """Delete the table's rows under the keys of `rows`. Only what another generation holds, byte for byte, may go."""
        session, deleted = self._session, 0
        key = list(session.key)
        wanted = Coverage([rows.select(key)])
        for generation in session.generations:
            if generation.number == self._generation.number:
                continue
            types = _types(session, generation)
            names = list(types)
            present = {column.name for column in self._destination.columns}
            with proven(session.task, generation) as copy:
                if not present <= set(names):
                    continue  # it does not hold the whole row of the table
                for group in copy.row_groups():
                    batch = group.columns(names).select([name for name in names if name in present])
                    batch = batch.filter(pc.invert(wanted.uncovered(batch.select(key))))
                    if batch.num_rows:
                        deleted += at.delete_same(self._connection, self._destination, batch, types, self._held())
        if deleted != rows.num_rows:
            message = f"{rows.num_rows - deleted} rows of {self._destination.relation.identifier.as_string()} are in no generation of "
            message += f"{session.task.label}, or held: overwriting them would lose them"
            raise NotRestored(message, hint="archive the partition first, then restore again; or restore into another table")
        return deleted

    def _require_not_held(self) -> None:
        """Raise NotRestored if a hold names the destination, which is another table than the archived one: its rows may be any."""
        task, relation = self._session.task, self._destination.relation
        names = {"schema_name": relation.schema, "name": relation.name}
        holds = task.hold_places().in_force(task.table.model_copy(update=names), read_clock(self._connection))
        if found := [hold.id for hold in holds if not _is_of_a_restore(hold)]:
            message = f"{relation.identifier.as_string()} is under the legal holds {', '.join(found)}: none of its rows is overwritten"
            raise NotRestored(message, hint="restore into another table, or with conflict: skip")

    def _held(self) -> tuple[sql.HeldRows, ...]:
        """Return the rows of the archived table that holds keep; those of restores keep rows from purges only."""
        task, connection = self._session.task, self._connection
        original = find_relation(connection, task.table)
        if original is None or not at.is_of(connection, self._destination, int(original["oid"])):
            self._require_not_held()
            return ()
        holds = [hold for hold in task.hold_places().in_force(task.table, read_clock(connection)) if not _is_of_a_restore(hold)]
        with locked_table(connection, sql.Relation(task.table.schema_name, task.table.name)):
            return held_rows(connection, task.table, read_table(connection, task.table), holds)

    def require_same(self, tally: RestoreTally) -> None:
        """Let the server compare every archived row with what the table has now. Raises NotRestored."""
        found = (at.find(self._connection, self._destination, batch, self._types) for batch in self._rows)
        same = sum(sum(each.values()) for each in found)
        if same != tally.loaded + tally.present or same + tally.skipped != self.rows_read:
            expected = self.rows_read - tally.skipped
            name = self._destination.relation.identifier.as_string()
            message = f"expected {expected} rows of {self._session.task.label} in {name}, byte for byte, found {same}"
            hint = "a trigger, a generated column or a type of the table changes them: restore into another table"
            raise NotRestored(message, hint=f"{hint}; nothing of this generation was restored")
