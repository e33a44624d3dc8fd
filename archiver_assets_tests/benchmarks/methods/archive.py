"""The archive step, as in a run: write one day to one object and its manifest on the S3 server.

Arguments: the prefix of its keys, and the number of readers. The times exclude imports and creating the S3 client, which take about a
second per process.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.task import Step
from archiver_assets_tests.benchmarks.measuring import Done, Meter, report_part
from archiver_assets_tests.benchmarks.methods.place import task


def archived(meter: Meter, prefix: str, readers: int) -> Done:
    """Archive the day; the figures are the size of the object, and the seconds of each part."""
    times: dict[Step, list[float]] = {}
    day = replace(task(prefix, parallelism=readers), reached=lambda step: times.setdefault(step, []).append(time.perf_counter()))
    meter.start()
    made = archive(day)
    meter.stop()
    if made.generation is None:
        message = f"expected a generation, found the day {made.outcome}"
        raise RuntimeError(message)
    return Done(made.rows, {"bytes": made.generation.manifest.object.bytes, **_parts(times)})


def _parts(times: Mapping[Step, Sequence[float]]) -> dict[str, float]:
    """Return the seconds of each part: until the first batch, streaming, the comparisons after it, and committing the generation."""
    began, streamed = times[Step.SNAPSHOT_TAKEN][0], times[Step.BATCH_STREAMED]
    encoded, created = times[Step.OBJECT_ENCODED][0], times[Step.MANIFEST_CREATED][0]
    edges = [began, streamed[0], streamed[-1], encoded, created]
    names = ("count s", "stream s", "compare s", "commit s")
    return {name: after - before for name, before, after in zip(names, edges, edges[1:], strict=False)}


if __name__ == "__main__":
    where, count = sys.argv[1:]
    report_part(lambda meter: archived(meter, where, int(count)))
