"""The load of one generation into its destination, within the transaction of the caller.

What belongs here: which of its rows go in, what becomes of others under the same keys, and the server's comparison at the end. What does
not: the order of generations and the commit (`restore.py`), and the statements (`source/destination.py`).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from archiver_assets.config import Hold
from archiver_assets.errors import NotRestored
from archiver_assets.lifecycle.coverage import Coverage
from archiver_assets.lifecycle.generations import Generation
from archiver_assets.lifecycle.progress import Progress
from archiver_assets.lifecycle.restoring.copied_bucket import original, readable
from archiver_assets.lifecycle.restoring.request import Conflict, RestoreRequest, RestoreTally, Versions
from archiver_assets.lifecycle.task import Task, log
from archiver_assets.lifecycle.verifying.readback import LocalCopy
from archiver_assets.source import destination as at
from archiver_assets.source import sql
from archiver_assets.source.catalog import XMIN, Connection, find_relation, read_table
from archiver_assets.source.destination import Destination, TargetColumn
from archiver_assets.source.hold_rows import held_rows, read_clock
from archiver_assets.source.session import locked_table
from archiver_assets.store.manifest import Manifest

HOLD_REQUESTOR = "archiver restore"
_HOLD_ID = re.compile(r"restored-[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9a-f]{16}")
_BATCH_ROWS = 10_000


@dataclass(frozen=True)
class Session:
    """A session that holds the lock, and the `generations` to restore of all that are `live`, newest first."""

    task: Task
    request: RestoreRequest
    connection: Connection
    generations: tuple[Generation, ...]
    live: tuple[Generation, ...]
    relation: sql.Relation

    @property
    def key(self) -> tuple[str, ...]:
        """The columns by which restored rows are told apart."""
        key = self.generations[0].manifest.primary_key
        return (*key, XMIN) if self.request.versions == Versions.all else key

    def proven(self, generation: Generation) -> AbstractContextManager[LocalCopy]:
        """Read a generation back. A bucket that is a copy will do, but to overwrite rows. Raises NotVerified."""
        reading = original if self.request.conflict == Conflict.overwrite else readable
        return reading(self.task, generation)


def archived_columns(session: Session, manifest: Manifest) -> list[TargetColumn]:
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


def _types(session: Session, generation: Generation) -> dict[str, str]:
    return {column.name: column.pg_type for column in archived_columns(session, generation.manifest)}


@dataclass(frozen=True)
class Rows:
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


def _is_of_a_restore(hold: Hold) -> bool:
    # Both, so that a person's hold with such a name is not taken for one of ours.
    return hold.requestor == HOLD_REQUESTOR and bool(_HOLD_ID.fullmatch(hold.id))


class Loading:
    """The load of one generation, within its transaction."""

    def __init__(self, session: Session, destination: Destination, generation: Generation, rows: Rows) -> None:
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
        return RestoreTally(loaded=self._put(self._rows))

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
            tally += RestoreTally(loaded=self._put([missing]), present=len(found) - len(other), skipped=len(other))
            self.rows_read += batch.num_rows - missing.num_rows
        return tally

    def _put(self, batches: Iterable[pa.RecordBatch]) -> int:
        return at.put(self._connection, self._destination, self._rows.names, map(self._counted, batches))

    def _counted(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        self.rows_read += batch.num_rows
        self._rows.progress.add(batch.num_rows)
        for name in batch.schema.names:
            if pa.types.is_integer(batch.schema.field(name).type) and batch.num_rows > batch.column(name).null_count:
                self.greatest[name] = max(self.greatest.get(name, 0), pc.max(batch.column(name)).as_py())
        return batch

    def _conflict(self, batch: pa.RecordBatch, positions: Sequence[int]) -> NotRestored:
        key = {name: batch.column(name) for name in self._session.key if name in batch.schema.names}
        # A text may be a person's name or address, and the message goes into logs; a number finds the row for who may read it.
        numbers = all(pa.types.is_integer(each.type) or isinstance(each.type, pa.UuidType) for each in key.values())
        example = f", such as { {name: str(each[positions[0]].as_py()) for name, each in key.items()} }" if numbers else ""
        name = self._destination.relation.identifier.as_string()
        message = f"{name} has another row than the archive under {len(positions)} of the keys compared so far{example}"
        hint = "restore with conflict: skip (those rows stay as they are) or overwrite (they give way), or into another table"
        return NotRestored(message, hint=f"{hint}; nothing of generation {self._generation.number} was restored")

    def _overwrite(self, rows: pa.RecordBatch) -> int:
        """Delete the table's rows under the keys of `rows`. Only what another generation holds, byte for byte, may go."""
        session, deleted = self._session, 0
        key = list(session.key)
        wanted = Coverage([rows.select(key)])
        for generation in session.live:
            if generation.number == self._generation.number:
                continue
            types = _types(session, generation)
            names = list(types)
            present = {column.name for column in self._destination.columns}
            with session.proven(generation) as copy:
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
