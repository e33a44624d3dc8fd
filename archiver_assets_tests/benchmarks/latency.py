"""What an application notices of a purge of the table that it writes to: the latency of its inserts, with and without, in one run.

What belongs here: running pgbench beside a purge, and telling its transactions apart by their times. What does not: the purge
(`purging.py`). See https://www.postgresql.org/docs/current/pgbench.html for the log, a line a transaction.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from archiver_assets.demo.postgres import EmbeddedPostgres, find_binaries, icu_data
from archiver_assets_tests.benchmarks.measuring import Window
from archiver_assets_tests.benchmarks.workload import environment

RATE = 200
CLIENTS = 4
_QUIET_SECONDS = 10
_WARM_UP_SECONDS = 2.0
_MOST_SECONDS = 120
# The newest row of the table, with values as those that are there.
_INSERT = """
INSERT INTO public.audit_logs (created_at, tenant_id, actor_id, request_id, action, resource_type, user_agent, succeeded, state_after)
VALUES (now(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'login', 'invoice', 'Mozilla/5.0', true, '{"status": "approved"}');
"""


@dataclass(frozen=True)
class Latency:
    """The 95th percentile of the inserts' latency in milliseconds, without and during a purge of `rows` rows in `seconds`."""

    without: float
    during: float
    transactions: int
    rows: int
    seconds: float

    @property
    def ratio(self) -> float:
        """How many times as long an insert takes."""
        return self.during / self.without


@dataclass(frozen=True)
class _Transaction:
    ended: float
    milliseconds: float


def find_pgbench() -> Path | None:
    """Return the pgbench beside the server's binaries, if there is one."""
    beside = find_binaries() / "pgbench"
    return beside if beside.exists() else None


def measure_latency(server: EmbeddedPostgres, pgbench: Path, folder: Path, day: str) -> Latency:
    """Let pgbench insert at a fixed rate, undisturbed for 10 s, then during the purge of a day, then undisturbed for 10 s again.

    At a fixed rate a latency is counted from the time at which the transaction was due, so that one that had to wait is not left out.
    """
    with _purging(environment(server), day) as purging:
        script = folder / "insert.sql"
        script.write_text(_INSERT)
        with _inserting(server, pgbench, folder) as inserting:
            time.sleep(_WARM_UP_SECONDS + _QUIET_SECONDS)
            answer, _ = purging.communicate("go\n", timeout=_MOST_SECONDS)
            time.sleep(_QUIET_SECONDS)
            inserting.terminate()
    window = Window(**json.loads(answer))
    return _compare(_read_log(folder), window)


@contextmanager
def _purging(reach: Mapping[str, str], day: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "archiver_assets_tests.benchmarks.purging", day]
    with subprocess.Popen(command, env=reach, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None or not process.stdout.readline():
                message = "expected the day to be archived, found that its process ended"
                raise RuntimeError(message)
            yield process
        finally:
            process.kill()


@contextmanager
def _inserting(server: EmbeddedPostgres, pgbench: Path, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    options = ["-n", "-c", str(CLIENTS), "-j", "1", "-R", str(RATE), "-T", str(_MOST_SECONDS), "-f", "insert.sql", "-l"]
    reach = {**environment(server), **icu_data(pgbench.parent)}
    with subprocess.Popen([pgbench, *options], cwd=folder, env=reach, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def _read_log(folder: Path) -> list[_Transaction]:
    # Client, number, microseconds, script, then the time at which it ended in seconds and microseconds. The last line may be cut.
    lines = [line.split() for path in folder.glob("pgbench_log.*") for line in path.read_text().splitlines()[:-1]]
    return [_Transaction(float(each[4]) + float(each[5]) / 1e6, float(each[2]) / 1e3) for each in lines]


def _compare(transactions: Sequence[_Transaction], window: Window) -> Latency:
    begin = min(each.ended for each in transactions) + _WARM_UP_SECONDS
    during = [each.milliseconds for each in transactions if window.began <= each.ended <= window.ended]
    without = [
        each.milliseconds for each in transactions if begin <= each.ended < window.began or each.ended > window.ended + _WARM_UP_SECONDS
    ]
    return Latency(_p95(without), _p95(during), len(during), window.rows, window.ended - window.began)


def _p95(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]
