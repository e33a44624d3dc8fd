"""What a run of one method costs: measured inside a fresh process, handed to the parent as one line of JSON.

What belongs here: clocks, memory, and the way between the processes. What does not: what is measured. The parent must stay smaller than
its children, because Linux starts a child's peak memory with that of the process that started it.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

_PACKAGE = "archiver_assets_tests.benchmarks"
# https://man7.org/linux/man-pages/man2/getrusage.2.html: KiB on Linux, bytes on macOS.
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Cost:
    """One run. `seconds` and `cpu_seconds` (user and system, all threads of the client) leave out imports; `peak_rss` in bytes has them."""

    rows: int
    parquet_bytes: int
    seconds: float
    cpu_seconds: float
    peak_rss: int


@dataclass(frozen=True)
class Read:
    """What a method says that it did."""

    rows: int
    parquet_bytes: int


@dataclass(frozen=True)
class Speed:
    """Median bytes per second over `size` bytes of Arrow data."""

    size: int
    digest: float
    sha256: float


@dataclass(frozen=True)
class Window:
    """When a purge of `rows` rows deleted them: seconds since 1970."""

    rows: int
    began: float
    ended: float


def report(method: Callable[[], Read], who: int = resource.RUSAGE_SELF) -> None:
    """Run `method` and print its cost; `who` is whose: this process, or the ones that it starts."""
    cpu_before, started = _cpu_seconds(who), time.perf_counter()
    read = method()
    seconds, cpu_seconds = time.perf_counter() - started, _cpu_seconds(who) - cpu_before
    peak_rss = resource.getrusage(who).ru_maxrss * _MAXRSS_UNIT
    print(json.dumps(asdict(Cost(read.rows, read.parquet_bytes, seconds, cpu_seconds, peak_rss))))


def run_child(module: str, arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run a module of this package in a fresh interpreter and return what it printed. Raises CalledProcessError if it failed."""
    command = [sys.executable, "-m", f"{_PACKAGE}.{module}", *arguments]
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True).stdout


def measure(module: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Cost:
    """Return the cost that a module printed by `report`."""
    return Cost(**json.loads(run_child(module, arguments, environment)))


def _cpu_seconds(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime
