"""Which row versions the generations of a partition hold already, so that the next one holds exactly the others.

What belongs here: comparing row versions by key and xmin, sorted in memory: as they are where they have one width, else as digests of 16
bytes. What does not: what a version proves, which `generations.py` says, and reading rows.
"""

import hashlib
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from archiver_assets.lifecycle.believed_versions import doubtful
from archiver_assets.lifecycle.generations import Generation, Generations, drift, reject, versions_believed
from archiver_assets.lifecycle.task import Task, log
from archiver_assets.lifecycle.verifying.readback import read_back
from archiver_assets.source.catalog import XMIN, Server, Table
from archiver_assets.source.identities import Identities, have_one_width, of_batch
from archiver_assets.source.literals import to_input_text

_DIGEST_BYTES = 16

Judge = Callable[[Task, Generation, tuple[str, ...]], object]
"""What becomes of a generation that is not what its manifest says, for the mismatches given."""


class Coverage:
    """The row versions that some generation covers."""

    def __init__(self, versions: Iterable[pa.RecordBatch] = ()) -> None:
        """Take all versions: batches of the key's columns and `_xmin`. In memory each takes the bytes of its key and 4, or 16."""
        # By their width: generations can have stored a column of the key in its own type, or as text.
        self._raw: dict[np.dtype[np.bytes_], bytearray] = {}
        self._sorted: dict[np.dtype[np.bytes_], Identities] = {}
        self.add(versions)

    def add(self, versions: Iterable[pa.RecordBatch]) -> None:
        """Take more versions, beside those that it has; no memory is needed for a second copy of these."""
        self._sorted = {}  # no array can be made longer that others look at
        for batch in versions:
            found = _identities(batch)
            self._raw.setdefault(found.dtype, bytearray()).extend(found.view(np.uint8))
        self._sorted = {kind: _in_order(np.frombuffer(data, kind)) for kind, data in self._raw.items()}

    def __len__(self) -> int:
        """Return the number of versions, those that several generations hold counted each time."""
        return sum(map(len, self._sorted.values()))

    @property
    def distinct(self) -> int:
        """The number of different versions."""
        return sum(int(np.count_nonzero(each[1:] != each[:-1])) + 1 for each in self._sorted.values() if len(each))

    def uncovered(self, versions: pa.RecordBatch) -> pa.BooleanArray:
        """Tell for each version of a batch whether no generation covers it."""
        return pa.array(~self.covers(_identities(versions)))

    def covers(self, asked: Identities) -> npt.NDArray[np.bool_]:
        """Tell for each version whether a generation covers it."""
        held = self._sorted.get(asked.dtype)
        if held is None or not len(held) or not len(asked):
            return np.zeros(len(asked), bool)
        first = int(np.searchsorted(held, asked[0]))
        if np.array_equal(held[first : first + len(asked)], asked):
            return np.ones(len(asked), bool)  # asked in the order of the keys, as mostly
        places = np.minimum(np.searchsorted(held, asked), len(held) - 1)
        found: npt.NDArray[np.bool_] = held[places] == asked
        return found


def _in_order(versions: Identities) -> Identities:
    if not (versions[1:] >= versions[:-1]).all():
        versions.sort()
    return versions


def read_coverage(task: Task, server: Server, table: Table, generations: Generations, judge: Judge = reject) -> Coverage:
    """Read which versions the open generations cover. One that has another shape or source, or that fails twice, covers nothing."""
    return Coverage(_versions(task, server, table, generations, judge))


def _versions(task: Task, server: Server, table: Table, generations: Generations, judge: Judge) -> Iterable[pa.RecordBatch]:
    names = [*(column.name for column in table.key), XMIN]
    for generation in generations.open:
        reasons = drift(task, table, generation)
        if reasons or not versions_believed(generation, server, table):
            log.info(
                "%s: generation %s does not hold the rows as they are now: %s", task.label, generation.number, reasons or "other source"
            )
            continue
        with read_back(task, generation) as copy:
            if not copy.verification.passed:
                judge(task, generation, copy.verification.mismatches)
                continue
            for batch in copy.batches(names):
                in_order = batch.select(names)
                yield in_order.filter(pc.invert(doubtful(in_order.column(XMIN), generation.manifest.source, server.next_xid)))


def _identities(versions: pa.RecordBatch) -> Identities:
    return of_batch(versions) if have_one_width(versions.schema.types) else _digests(versions)


def _digests(versions: pa.RecordBatch) -> Identities:
    # Each value with its length before it, and a letter for NULL, so that no two rows give the same text.
    texts = [to_input_text(column) for column in versions.columns]
    digests = bytearray()
    for row in zip(*texts, strict=True):
        identity = "".join("N" if value is None else f"{len(value)}:{value}" for value in row)
        digests += hashlib.blake2b(identity.encode(), digest_size=_DIGEST_BYTES).digest()
    return np.frombuffer(digests, f"S{_DIGEST_BYTES}")
