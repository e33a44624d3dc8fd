"""Loading one generation into its destination, within the caller's transaction.

What belongs here: which of its rows are loaded, how different rows with the same keys are treated, and the server's final comparison. What
does not: the order of generations and the commit (`restore.py`), and the statements (`source/destination.py`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from archiver_assets.errors import NotRestored
from archiver_assets.lifecycle.coverage import Coverage
from archiver_assets.lifecycle.generations import Generation
from archiver_assets.lifecycle.progress import Progress
from archiver_assets.lifecycle.restoring.overwriting import held
from archiver_assets.lifecycle.restoring.request import Conflict, RestoreTally
from archiver_assets.lifecycle.restoring.session import Session, archived_columns, whole_rows
from archiver_assets.lifecycle.task import log
from archiver_assets.lifecycle.verifying.readback import LocalCopy
from archiver_assets.source import destination as at
from archiver_assets.source.destination import Destination

_BATCH_ROWS = 10_000


@dataclass(frozen=True)
class Rows:
    """A generation's rows that no newer one supersedes, in batches of the named columns. Can be iterated repeatedly."""

    session: Session
    copy: LocalCopy
    names: list[str]
    superseded: Coverage
    progress: Progress

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Yield batches of at most 10,000 rows, with one row group in memory at a time."""
        for group in self.copy.row_groups():
            whole = group.columns(list(dict.fromkeys([*self.names, *self.session.key])))
            for start in range(0, whole.num_rows, _BATCH_ROWS):
                batch = whole.slice(start, _BATCH_ROWS)
                newest = batch.filter(self.superseded.uncovered(self.session.keys(batch))) if self.superseded else batch
                if newest.num_rows:
                    yield newest.select(self.names)


class Loading:
    """Loads one generation, within its transaction."""

    def __init__(self, session: Session, destination: Destination, generation: Generation, rows: Rows) -> None:
        """Prepare the load; nothing is read or written yet."""
        self._session = session
        self._connection = session.connection
        self._destination = destination
        self._generation = generation
        self._rows = rows
        self._types = {column.name: column.pg_type for column in archived_columns(session, generation.manifest)}
        self.rows_read = 0
        self.greatest: dict[str, int] = {}

    def load(self) -> RestoreTally:
        """Load all rows at once. If the table already has some of their keys, start over batch by batch, checking each key."""
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
        tally, conflict = RestoreTally(), self._session.request.conflict
        if conflict == Conflict.overwrite:
            tally = RestoreTally(overwritten=self._overwrite())
        for batch in self._rows:
            found = self._find(batch)
            other = _others(found)
            if other and conflict != Conflict.skip:
                raise self._conflict(batch, other)
            missing = batch.take(pa.array([each for each in range(batch.num_rows) if each not in found], pa.int64()))
            tally += RestoreTally(loaded=self._put([missing]), present=len(found) - len(other), skipped=len(other))
            self.rows_read += batch.num_rows - missing.num_rows
        return tally

    def _find(self, batch: pa.RecordBatch) -> dict[int, bool]:
        return at.find(self._connection, self._destination, batch, self._types)

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
        # The message is logged, and a text may be a person's name or address. A number identifies the row to anyone allowed to read it.
        numbers = all(pa.types.is_integer(each.type) or isinstance(each.type, pa.UuidType) for each in key.values())
        example = f", such as { {name: str(each[positions[0]].as_py()) for name, each in key.items()} }" if numbers else ""
        name = self._destination.relation.identifier.as_string()
        message = f"{name} has another row than the archive under {len(positions)} of the keys compared so far{example}"
        hint = "restore with conflict: skip (those rows stay as they are) or overwrite (they give way), or into another table"
        return NotRestored(message, hint=f"{hint}; nothing of generation {self._generation.number} was restored")

    def _overwrite(self) -> int:
        """Delete the table's different rows with the generation's keys, but only rows that another generation contains, byte for byte.

        Each generation is read at most once, newest first, until all these rows are deleted.
        """
        session = self._session
        wanted = Coverage(session.keys(batch.take(pa.array(_others(self._find(batch)), pa.int64()))) for batch in self._rows)
        left = len(wanted)
        for generation in session.live:
            if left and generation.number != self._generation.number:
                left -= self._delete_held_by(generation, wanted)
        if left:
            message = f"{left} rows of {self._destination.relation.identifier.as_string()} are in no generation of "
            message += f"{session.task.label}, or held: overwriting them would lose them"
            raise NotRestored(message, hint="archive the partition first, then restore again; or restore into another table")
        return len(wanted)

    def _delete_held_by(self, generation: Generation, wanted: Coverage) -> int:
        session, deleted = self._session, 0
        types = whole_rows(session, generation.manifest)
        names = [column.name for column in self._destination.columns]
        if not set(names) <= set(types):
            return 0  # it does not contain the table's complete row
        with session.proven(generation) as copy:
            for group in copy.row_groups():
                batch = group.columns(names)
                batch = batch.filter(pc.invert(wanted.uncovered(session.keys(batch))))
                if batch.num_rows:
                    kept = held(session.task, self._connection, self._destination)
                    deleted += at.delete_same(self._connection, self._destination, batch, types, kept)
        return deleted

    def require_same(self, tally: RestoreTally) -> None:
        """Have the server compare every archived row with the table's current row. Raises NotRestored."""
        same = sum(sum(self._find(batch).values()) for batch in self._rows)
        if same != tally.loaded + tally.present or same + tally.skipped != self.rows_read:
            expected = self.rows_read - tally.skipped
            name = self._destination.relation.identifier.as_string()
            message = f"expected {expected} rows of {self._session.task.label} in {name}, byte for byte, found {same}"
            hint = "a trigger, a generated column or a type of the table changes them: restore into another table"
            raise NotRestored(message, hint=f"{hint}; nothing of this generation was restored")


def _others(found: Mapping[int, bool]) -> list[int]:
    """Return the positions for whose keys the table has different rows."""
    return sorted(position for position, same in found.items() if not same)
