"""Measure the time, CPU seconds and memory of one run of a method, and pass the sample from a child process to its parent.

What belongs here: the sample, and taking it. What does not: the methods (`methods/`), and repeating and comparing them (`comparing.py`).

A method runs in a fresh process if its memory or CPU matters. Linux starts a child's peak memory at that of its parent, so the parent must
use less memory than the method: nothing that the harness imports may import Arrow.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from archiver_assets_tests.benchmarks.processes import cpu_seconds_of

_METHODS = "archiver_assets_tests.benchmarks.methods"
POSTGRES_PID = "BENCH_POSTGRES_PID"
STORE_PID = "BENCH_STORE_PID"
# https://man7.org/linux/man-pages/man2/getrusage.2.html: KiB on Linux, bytes on macOS.
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


class NotMeasured(Exception):
    """A method cannot run here, for example because a program is missing; the message gives the reason. Other methods still run."""


@dataclass(frozen=True)
class Done:
    """What a method reports: the number of rows, and named figures such as the `bytes` of an object or of `wal`."""

    rows: int
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """One run of one method.

    Times are in seconds, sizes in bytes. CPU is user and system time of all threads: `client_cpu` of the method's process, `server_cpu` of
    all PostgreSQL processes including background ones, `store_cpu` of the S3 server. The latter two are None if there is no /proc. Unlike
    the times, `peak_rss` includes the interpreter and all imports; it is None if the method has no process of its own.
    """

    rows: int
    wall: float
    client_cpu: float
    server_cpu: float | None = None
    store_cpu: float | None = None
    peak_rss: int | None = None
    figures: Mapping[str, float] = field(default_factory=dict)

    def figure(self, name: str) -> float | None:
        """Return a figure by name: a field, one of `figures`, `cpu` (client and PostgreSQL) or `rows_per_second`; None if unknown."""
        if name == "cpu":
            return None if self.server_cpu is None else self.client_cpu + self.server_cpu
        if name == "rows_per_second":
            return self.rows / self.wall
        found: float | None = self.figures[name] if name in self.figures else getattr(self, name, None)
        return found


@dataclass(frozen=True)
class _Reading:
    wall: float
    client: float
    server: float | None
    store: float | None


class Meter:
    """Measures everything between `start` and `stop`; another `start` begins again.

    `who` selects the client's CPU and memory: RUSAGE_SELF, or RUSAGE_CHILDREN in a process that starts one command.
    """

    def __init__(self, environ: Mapping[str, str], who: int = resource.RUSAGE_SELF) -> None:
        self._pids = {name: int(environ[name]) for name in (POSTGRES_PID, STORE_PID) if environ.get(name)}
        self._who = who
        self._began: _Reading | None = None
        self._ended: _Reading | None = None

    def start(self) -> None:
        """Start measuring."""
        self._began = self._read()

    def stop(self) -> None:
        """Stop measuring."""
        self._ended = self._read()

    def sample(self, done: Done, *, with_memory: bool = True) -> Sample:
        """Return the sample. Raises RuntimeError if the method did not start and stop the meter."""
        began, ended = self._began, self._ended
        if began is None or ended is None:
            message = "expected the method to start and stop the meter, found that it did not"
            raise RuntimeError(message)
        rss = resource.getrusage(self._who).ru_maxrss * _MAXRSS_UNIT if with_memory else None
        server, store = _between(began.server, ended.server), _between(began.store, ended.store)
        return Sample(done.rows, ended.wall - began.wall, ended.client - began.client, server, store, rss, dict(done.figures))

    def _read(self) -> _Reading:
        usage = resource.getrusage(self._who)
        server, store = (cpu_seconds_of(self._pids[name]) if name in self._pids else None for name in (POSTGRES_PID, STORE_PID))
        return _Reading(time.perf_counter(), usage.ru_utime + usage.ru_stime, server, store)


def _between(began: float | None, ended: float | None) -> float | None:
    return None if began is None or ended is None else ended - began


def report(method: Callable[[], Done], who: int = resource.RUSAGE_SELF) -> None:
    """Run a method, and print its sample for the parent process."""

    def whole(meter: Meter) -> Done:
        meter.start()
        done = method()
        meter.stop()
        return done

    report_part(whole, who)


def report_part(method: Callable[[Meter], Done], who: int = resource.RUSAGE_SELF) -> None:
    """Do as `report`, for a method that starts and stops the meter itself because only part of its work is measured."""
    meter = Meter(os.environ, who)
    try:
        answer = asdict(meter.sample(method(meter)))
    except NotMeasured as error:
        answer = {"not_measured": str(error)}
    print(json.dumps(answer), flush=True)


def run_child(module: str, arguments: Sequence[str], environ: Mapping[str, str]) -> Sample:
    """Run a module of `methods` in a fresh interpreter. Raises NotMeasured if the module did, and CalledProcessError if it failed."""
    command = [sys.executable, "-m", f"{_METHODS}.{module}", *arguments]
    return read_sample(subprocess.run(command, env=environ, stdout=subprocess.PIPE, check=True, text=True).stdout)


def read_sample(answer: str) -> Sample:
    """Return the sample that `report` printed. Raises NotMeasured if the method did."""
    found = json.loads(answer)
    if "not_measured" in found:
        raise NotMeasured(found["not_measured"])
    return Sample(**found)
