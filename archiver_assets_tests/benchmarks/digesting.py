"""How fast the content digest is, against SHA-256 alone over the same bytes, in one process that does nothing else.

What belongs here: that comparison. What does not: reading, which is not in the times. Called as a program: the number of runs.
"""

import hashlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import asdict

import pyarrow as pa

from archiver_assets.store.digest import content_digest
from archiver_assets_tests.benchmarks.extraction import adbc, opened, source
from archiver_assets_tests.benchmarks.measuring import Speed

_MOST_BYTES = 256 * 1024 * 1024


def speed(runs: int) -> Speed:
    """Digest the first batches of the day, and hash their Arrow IPC form, which holds the same values once."""
    batches, schema = _first_batches()
    flat = [memoryview(batch.serialize()) for batch in batches]
    size = sum(len(each) for each in flat)
    digests, hashes = [], []
    for _ in range(runs):
        digests.append(size / _seconds(lambda: content_digest(schema, batches)))
        hashes.append(size / _seconds(lambda: _sha256(flat)))
    return Speed(size, statistics.median(digests), statistics.median(hashes))


def _first_batches() -> tuple[list[pa.RecordBatch], pa.Schema]:
    database, batches, size = source(), [], 0
    with opened(database) as (table, snapshot_id), closing(adbc(database, table, snapshot_id)) as reader:
        for batch in reader:
            batches.append(batch)
            size += batch.nbytes
            if size >= _MOST_BYTES:
                break
    return batches, table.schema


def _sha256(buffers: Iterable[memoryview]) -> str:
    running = hashlib.sha256()
    for each in buffers:
        running.update(each)
    return running.hexdigest()


def _seconds(work: Callable[[], str]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    print(json.dumps(asdict(speed(int(sys.argv[1])))))
