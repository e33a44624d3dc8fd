"""The content digest, or SHA-256 alone, of the first batches of the day.

Argument: `digest` or `sha256`. The times exclude reading the batches.
"""

import hashlib
import sys
from collections.abc import Iterable
from contextlib import closing

import pyarrow as pa

from archiver_assets.store.digest import content_digest
from archiver_assets_tests.benchmarks.measuring import Done, Meter, report_part
from archiver_assets_tests.benchmarks.methods.extraction import adbc, opened
from archiver_assets_tests.benchmarks.methods.place import source, table

_MOST_ROWS = 500_000
"""The number of rows hashed: about 250 MiB."""


def hashed(meter: Meter, method: str) -> Done:
    """Hash the values of the batches, or their Arrow IPC form, which has each value once. The figure is the size of that form."""
    batches, schema = _first_batches()
    flat = [memoryview(batch.serialize()) for batch in batches]
    meter.start()
    if method == "digest":
        content_digest(schema, batches)
    else:
        _sha256(flat)
    meter.stop()
    return Done(sum(batch.num_rows for batch in batches), {"bytes": sum(len(each) for each in flat)})


def _first_batches() -> tuple[list[pa.RecordBatch], pa.Schema]:
    config, batches, left = table(), [], _MOST_ROWS
    database = source(config)
    with opened(database, config) as (found, snapshot_id), closing(adbc(database, found, snapshot_id)) as reader:
        for batch in reader:
            # The ends of batches depend on the order in which the server happens to read.
            batches.append(batch.slice(0, left))
            left -= batches[-1].num_rows
            if not left:
                break
    return batches, found.schema


def _sha256(buffers: Iterable[memoryview]) -> str:
    running = hashlib.sha256()
    for each in buffers:
        running.update(each)
    return running.hexdigest()


if __name__ == "__main__":
    report_part(lambda meter: hashed(meter, sys.argv[1]))
