"""A process of its own that archives, verifies, purges and restores some days, and may end itself on the way.

What belongs here: starting such processes quickly, from a server that has imported everything and connected to nothing; and how one ends.
What does not: when and where one is to end, and what must be true afterwards.
"""

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import FrameType

# Imported here so that the server has them before it forks.
import pyarrow.parquet  # noqa: F401

from archiver_assets.config import TableConfig
from archiver_assets.errors import ArchiverError, PartitionBusy
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.restoring.request import RestoreRequest, Versions
from archiver_assets.lifecycle.restoring.restore import restore
from archiver_assets.lifecycle.task import Step, Task
from archiver_assets.lifecycle.verifying.verify import verify
from archiver_assets.partition import Partition
from archiver_assets.source.session import Source
from archiver_assets.store.s3 import S3ObjectStore
from archiver_assets_tests.forking import fork_server
from archiver_assets_tests.torture.death import Death

BUSY_TRIES, BUSY_SECONDS = 60, 0.05
DONE, FAILED, TERMINATED = 0, 3, 143
VERBS: Mapping[str, Callable[[Task], object]] = {
    "archive": archive,
    "verify": verify,
    "purge": purge,
    # Every version of a row, so that what writers did to it meanwhile is no conflict.
    "restore": partial(restore, request=RestoreRequest(versions=Versions.all)),
}
PURGES = ("archive", "verify", "purge")
"""The verbs of a run of the schedule."""


class Terminated(BaseException):
    """What SIGTERM raises in the main thread, as in a run of Dagster."""


class VerificationFailed(Exception):
    """A verification found mismatches, which in Dagster keeps the purge from running."""


@dataclass(frozen=True)
class Job:
    """What one process does: its verbs, in order, for each of its days. What it has to say it appends to `log`."""

    table: TableConfig
    source: Source
    bucket: str
    endpoint: str
    prefix: str
    days: tuple[str, ...]
    log: Path
    environ: Mapping[str, str] = field(repr=False)
    verbs: tuple[str, ...] = PURGES
    death: Death | None = None

    def tasks(self) -> Iterator[Task]:
        """Yield the tasks of the days, in order."""
        store = S3ObjectStore.connect(bucket=self.bucket, endpoint=self.endpoint, region="us-east-1", path_style=True)
        reached = _hook(self.death)
        for day in self.days:
            partition = Partition.from_key(day, self.table.timezone)
            run_id = f"job-{os.getpid()}"
            yield Task(self.table, partition, self.source, store, run_id, self.prefix, reached=reached, sleep=_briefly)


def _briefly(seconds: float) -> None:
    """Wait a tenth: between two tries at a leaf that writers are using, it is seconds."""
    time.sleep(seconds / 10)


def _hook(death: Death | None) -> Callable[[Step], None]:
    left = death.nth if death else 0

    def reached(step: Step) -> None:
        nonlocal left
        if death and step is death.step:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), death.signal)

    return reached


def run(job: Job) -> None:
    """Do the work and exit: 0 done, 3 an error of the archiver or a failed verification, 143 terminated. The process's main function."""
    signal.signal(signal.SIGTERM, _terminate)
    os.environ.update(job.environ)
    with job.log.open("a", buffering=1) as log:
        try:
            _work(job)
        except (ArchiverError, VerificationFailed) as error:
            log.write(f"{type(error).__name__}: {error}\n")
            sys.exit(FAILED)
        except Terminated:
            sys.exit(TERMINATED)
        except BaseException:
            traceback.print_exc(file=log)
            raise


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


def _work(job: Job) -> None:
    for task in job.tasks():
        for verb in job.verbs:
            result = _patiently(VERBS[verb], task)
            if verb == "verify" and not getattr(result, "passed", False):
                message = f"{task.label}: {getattr(result, 'mismatches', result)}"
                raise VerificationFailed(message)


def _patiently(verb: Callable[[Task], object], task: Task) -> object:
    """Wait for another job on the same day, as a retry of Dagster would; so two jobs alternate, verb by verb."""
    for _ in range(BUSY_TRIES):
        try:
            return verb(task)
        except PartitionBusy:
            time.sleep(BUSY_SECONDS)
    return verb(task)


def start(job: Job) -> ForkServerProcess:
    """Start a process that does `job`, inside `job_server`."""
    process = multiprocessing.get_context("forkserver").Process(target=run, args=(job,), daemon=True)
    process.start()
    return process


def job_server() -> AbstractContextManager[None]:
    """Have a process from which jobs are forked, for the block."""
    return fork_server("archiver_assets_tests.torture.warm")
