"""Which row versions the generations of a partition hold already, so that the next one holds exactly the others.

What belongs here: comparing row versions by key and xmin, in sorted digests of 16 bytes a version. What does not: what a version proves,
which `generations.py` says, and reading rows.
"""

import hashlib
from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from archiver_assets.lifecycle.generations import Generation, Generations, drift, reject, versions_believed
from archiver_assets.lifecycle.task import Task, log
from archiver_assets.lifecycle.verify import read_back
from archiver_assets.lifecycle.versions import doubtful
from archiver_assets.source.catalog import XMIN, Server, Table
from archiver_assets.source.literals import to_input_text

_DIGEST_BYTES = 16

Judge = Callable[[Task, Generation, tuple[str, ...]], object]
"""What becomes of a generation that is not what its manifest says, for the mismatches given."""


class Coverage:
    """The row versions that some generation covers."""

    def __init__(self, versions: Iterable[pa.RecordBatch] = ()) -> None:
        """Take all versions: batches of the key's columns and `_xmin`. The digests are sorted in place: 16 bytes a version in memory."""
        digests = bytearray()
        for batch in versions:
            digests += _digests(batch)
        self._sorted = np.frombuffer(digests, dtype=f"S{_DIGEST_BYTES}")
        self._sorted.sort()

    def __len__(self) -> int:
        """Return the number of versions, those that several generations hold counted each time."""
        return len(self._sorted)

    @property
    def distinct(self) -> int:
        """The number of different versions."""
        return int(np.count_nonzero(self._sorted[1:] != self._sorted[:-1])) + 1 if len(self._sorted) else 0

    def uncovered(self, versions: pa.RecordBatch) -> pa.BooleanArray:
        """Tell for each version of a batch whether no generation covers it."""
        asked = np.frombuffer(_digests(versions), dtype=f"S{_DIGEST_BYTES}")
        if not len(self._sorted):
            return pa.array(np.ones(len(asked), dtype=bool))
        places = np.minimum(np.searchsorted(self._sorted, asked), len(self._sorted) - 1)
        return pa.array(self._sorted[places] != asked)


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


def _digests(versions: pa.RecordBatch) -> bytearray:
    # Each value with its length before it, and a letter for NULL, so that no two rows give the same text.
    texts = [to_input_text(column) for column in versions.columns]
    digests = bytearray()
    for row in zip(*texts, strict=True):
        identity = "".join("N" if value is None else f"{len(value)}:{value}" for value in row)
        digests += hashlib.blake2b(identity.encode(), digest_size=_DIGEST_BYTES).digest()
    return digests
