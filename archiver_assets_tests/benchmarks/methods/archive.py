"""The archive step: one day into one object and its manifest, on the S3 server, as a run does it.

What belongs here: that call. Called as a program: the prefix of its keys, and the number of readers. The times begin with the call: imports
and the S3 client, which take a second or so, once a process, are left out.
"""

import sys

from archiver_assets.config import TableConfig
from archiver_assets.lifecycle.archive import archive
from archiver_assets_tests.benchmarks.measuring import Done, Meter, NotMeasured, report_part
from archiver_assets_tests.benchmarks.methods.place import task


def archived(meter: Meter, prefix: str, readers: int) -> Done:
    """Archive the day; the figure is the size of the object."""
    if readers > 1 and "parallelism" not in TableConfig.model_fields:
        message = "the config has no `parallelism` yet"
        raise NotMeasured(message)
    changes = {"parallelism": readers} if readers > 1 else {}
    day = task(prefix, **changes)
    meter.start()
    made = archive(day)
    meter.stop()
    if made.generation is None:
        message = f"expected a generation, found the day {made.outcome}"
        raise RuntimeError(message)
    return Done(made.rows, {"bytes": made.generation.manifest.object.bytes})


if __name__ == "__main__":
    where, count = sys.argv[1:]
    report_part(lambda meter: archived(meter, where, int(count)))
