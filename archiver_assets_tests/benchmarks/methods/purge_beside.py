"""A purge with default settings of an archived day, which begins when a line arrives on stdin.

What belongs here: archiving a day, waiting, and purging it. What does not: the other load on the server (`subjects/latency.py`).
Argument: the day. The figures are the times at which deleting began and ended, in seconds since 1970. The store is in memory, so that only
the purge and the server load the machine.
"""

import sys
import time

from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.task import Step, Task
from archiver_assets.partition import Partition
from archiver_assets_tests.benchmarks.measuring import Done, Meter, report_part
from archiver_assets_tests.benchmarks.methods.place import source, table
from archiver_assets_tests.doubles import MemoryObjectStore


def purged(meter: Meter, day: str) -> Done:
    """Archive the day, print a line, and purge it when a line arrives."""
    times: dict[str, float] = {}

    def note(step: Step) -> None:
        if step is Step.PURGE_MARKED:
            times["began"] = time.time()
            meter.start()
        if step is Step.RECEIPT_WRITTEN:
            meter.stop()
            times["ended"] = time.time()

    config = table()
    task = Task(config, Partition.from_key(day, config.timezone), source(config), MemoryObjectStore(), "bench", reached=note)
    archive(task)
    print("archived", flush=True)
    sys.stdin.readline()
    return Done(purge(task).tally.purged, times)


if __name__ == "__main__":
    report_part(lambda meter: purged(meter, sys.argv[1]))
