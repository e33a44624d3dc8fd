"""A purge in a process of its own, at default settings, that says when its deletes began and ended.

What belongs here: archiving a day, waiting for a line on stdin, purging it. What does not: who else is at work on the server meanwhile
(`latency.py`). Called as a program: the day. The store is in memory, so that only the purge's own work and the server's are on the machine.
"""

import json
import sys
import time
from dataclasses import asdict

from archiver_assets.lifecycle.archive import archive
from archiver_assets.lifecycle.purge import purge
from archiver_assets.lifecycle.task import Step, Task
from archiver_assets.partition import Partition
from archiver_assets_tests.benchmarks.extraction import TABLE, source
from archiver_assets_tests.benchmarks.measuring import Window
from archiver_assets_tests.doubles import MemoryObjectStore


def purged(day: str) -> Window:
    """Archive the day, print a line, and purge it when a line comes."""
    times: dict[Step, float] = {}

    def note(step: Step) -> None:
        times[step] = time.time()

    partition = Partition.from_key(day, TABLE.timezone)
    task = Task(TABLE, partition, source(), MemoryObjectStore(), "bench", reached=note)
    archive(task)
    print("archived", flush=True)
    sys.stdin.readline()
    rows = purge(task).tally.purged
    return Window(rows, times[Step.PURGE_MARKED], times[Step.RECEIPT_WRITTEN])


if __name__ == "__main__":
    print(json.dumps(asdict(purged(sys.argv[1]))))
