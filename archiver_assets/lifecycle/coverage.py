"""The row versions that a partition's generations already hold, so that the next generation holds exactly the others.

What belongs here: comparing row versions by key and xmin, sorted in memory. Versions of a fixed width are compared directly, others by
digests of 16 bytes. What does not: whether a version can be believed (`generations.py`, `believed_versions.py`), and reading rows.
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
"""What to do with a generation that does not match its manifest, given the mismatches."""


class Coverage:
    """The row versions that at least one generation covers."""

    def __init__(self, versions: Iterable[pa.RecordBatch] = ()) -> None:
        """Collect the versions from batches of the key's columns and `_xmin`. Each takes the bytes of its key plus 4, or 16 as a digest."""
        # Grouped by width: one generation may have stored a key column in its own type, another as text.
        self._raw: dict[np.dtype[np.bytes_], bytearray] = {}
        self._sorted: dict[np.dtype[np.bytes_], Identities] = {}
        self.add(versions)

    def add(self, versions: Iterable[pa.RecordBatch]) -> None:
        """Add more versions, without copying the present ones."""
        self._sorted = {}  # a bytearray cannot grow while an array uses its memory
        for batch in versions:
            found = _identities(batch)
            self._raw.setdefault(found.dtype, bytearray()).extend(found.view(np.uint8))
        self._sorted = {kind: _in_order(np.frombuffer(data, kind)) for kind, data in self._raw.items()}

    def __len__(self) -> int:
        """Return the number of versions. A version that several generations hold is counted once for each."""
        return sum(map(len, self._sorted.values()))

    @property
    def distinct(self) -> int:
        """The number of distinct versions."""
        return sum(int(np.count_nonzero(each[1:] != each[:-1])) + 1 for each in self._sorted.values() if len(each))

    def uncovered(self, versions: pa.RecordBatch) -> pa.BooleanArray:
        """Return, for each version of a batch, whether no generation covers it."""
        return pa.array(~self.covers(_identities(versions)))

    def covers(self, asked: Identities) -> npt.NDArray[np.bool_]:
        """Return, for each version, whether a generation covers it."""
        held = self._sorted.get(asked.dtype)
        if held is None or not len(held) or not len(asked):
            return np.zeros(len(asked), bool)
        first = int(np.searchsorted(held, asked[0]))
        if np.array_equal(held[first : first + len(asked)], asked):
            return np.ones(len(asked), bool)  # versions usually arrive in key order
        places = np.minimum(np.searchsorted(held, asked), len(held) - 1)
        found: npt.NDArray[np.bool_] = held[places] == asked
        return found


def _in_order(versions: Identities) -> Identities:
    if not (versions[1:] >= versions[:-1]).all():
        versions.sort()
    return versions


def read_coverage(task: Task, server: Server, table: Table, generations: Generations, judge: Judge = reject) -> Coverage:
    """Read the versions that the open generations cover. A generation with another shape or source, or that fails twice, covers none."""
    return Coverage(_versions(task, server, table, generations, judge))


def _versions(task: Task, server: Server, table: Table, generations: Generations, judge: Judge) -> Iterable[pa.RecordBatch]:
    names = [*(column.name for column in table.key), XMIN]
    for generation in generations.open:
        reasons = drift(task, table, generation)
        if reasons or not versions_believed(generation, server, table):
            log.info(
                "%s: generation %s covers none of the table's current rows: %s", task.label, generation.number, reasons or "other source"
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
    # Each value is prefixed with its length, and NULL is a letter, so different rows never give the same text.
    texts = [to_input_text(column) for column in versions.columns]
    digests = bytearray()
    for row in zip(*texts, strict=True):
        identity = "".join("N" if value is None else f"{len(value)}:{value}" for value in row)
        digests += hashlib.blake2b(identity.encode(), digest_size=_DIGEST_BYTES).digest()
    return np.frombuffer(digests, f"S{_DIGEST_BYTES}")
