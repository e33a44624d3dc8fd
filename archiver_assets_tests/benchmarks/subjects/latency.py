"""The effect of a purge on an application that writes to the same table: the latency of inserts with and without a purge, in one run.

What belongs here: running pgbench during a purge, and separating its transactions by their times. What does not: the purge
(`methods/purge_beside.py`). https://www.postgresql.org/docs/current/pgbench.html describes the log, which has one line per transaction.

Each run purges the oldest of the workload's three days that is left. A variant without fsync runs only if named: on a shared disk, the
noise of fsync can exceed the effect of a purge.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from archiver_assets_tests.benchmarks.comparing import Comparison, Method
from archiver_assets_tests.benchmarks.measuring import NotMeasured, Sample, read_sample
from archiver_assets_tests.benchmarks.site import Site, environ_of_programs
from archiver_assets_tests.benchmarks.workload import WIDE, WIDE_ROWS, Workload, days

RATE = 200
CLIENTS = 4
_QUIET_SECONDS = 10
_WARM_UP_SECONDS = 2.0
_MOST_SECONDS = 120
_DAYS = 3
# Inserts a new latest row, with values like those in the table.
_INSERT = """
INSERT INTO public.audit_logs (created_at, tenant_id, actor_id, request_id, action, resource_type, user_agent, succeeded, state_after)
VALUES (now(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'login', 'invoice', 'Mozilla/5.0', true, '{"status": "approved"}');
"""


@dataclass(frozen=True)
class _Transaction:
    ended: float
    milliseconds: float


@contextmanager
def purging_beside_pgbench(site: Site) -> Iterator[Mapping[str, Method]]:
    """Purges of one day after the other."""
    yield {f"purge, beside {RATE} inserts/s": lambda: measure_latency(site)}


def measure_latency(site: Site) -> Sample:
    """Run pgbench inserts at a fixed rate: 10 s undisturbed, then during the purge of a day, then 10 s undisturbed.

    At a fixed rate, latency is measured from the time at which the transaction was due, so that the time it waits to start is included.
    """
    pgbench = site.program("pgbench")
    with tempfile.TemporaryDirectory(dir=site.folder) as name, _purging(site.environ, _oldest_day(site)) as purging:
        folder = Path(name)
        (folder / "insert.sql").write_text(_INSERT)
        with _inserting(site, pgbench, folder) as inserting:
            time.sleep(_WARM_UP_SECONDS + _QUIET_SECONDS)
            answer, _ = purging.communicate("go\n", timeout=_MOST_SECONDS)
            time.sleep(_QUIET_SECONDS)
            inserting.terminate()
        return compared(read_sample(answer), read_log(folder))


def _oldest_day(site: Site) -> str:
    with site.connect() as connection:
        query = (
            "SELECT (created_at AT TIME ZONE 'UTC')::date::text FROM public.audit_logs WHERE created_at < '2024-04-01' ORDER BY 1 LIMIT 1"
        )
        row = connection.execute(query).fetchone()
    if row is None:
        message = "no day is left to purge"
        raise NotMeasured(message)
    return str(row[0])


@contextmanager
def _purging(environ: Mapping[str, str], day: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "archiver_assets_tests.benchmarks.methods.purge_beside", day]
    with subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None or not process.stdout.readline():
                message = "expected the day to be archived, found that its process ended"
                raise RuntimeError(message)
            yield process
        finally:
            process.kill()


@contextmanager
def _inserting(site: Site, pgbench: str, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    options = ["-n", "-c", str(CLIENTS), "-j", "1", "-R", str(RATE), "-T", str(_MOST_SECONDS), "-f", "insert.sql", "-l"]
    environ = {**site.environ, **environ_of_programs()}
    with subprocess.Popen([pgbench, *options], cwd=folder, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def read_log(folder: Path) -> list[_Transaction]:
    """Return the transactions that pgbench logged in a folder."""
    # Client, number, microseconds, script, then the end time in seconds and microseconds. The last line may be cut off.
    lines = [line.split() for path in folder.glob("pgbench_log.*") for line in path.read_text().splitlines()[:-1]]
    return [_Transaction(float(each[4]) + float(each[5]) / 1e6, float(each[2]) / 1e3) for each in lines]


def compared(purge: Sample, transactions: Sequence[_Transaction]) -> Sample:
    """Return the purge's sample with the 95th percentiles of insert latency in milliseconds, during it and without, and their ratio."""
    began, ended = purge.figures["began"], purge.figures["ended"]
    begin = min(each.ended for each in transactions) + _WARM_UP_SECONDS
    during = _p95([each.milliseconds for each in transactions if began <= each.ended <= ended])
    others = (each for each in transactions if begin <= each.ended < began or each.ended > ended + _WARM_UP_SECONDS)
    without = _p95([each.milliseconds for each in others])
    figures = {"p95 ms": during, "p95 ms without": without, "ratio of p95": during / without}
    return replace(purge, figures=figures)


def _p95(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


_ABOUT = f"The latency of {RATE} inserts/s by {CLIENTS} sessions of pgbench, during a purge at default settings and without"
_TITLE = "three days of as many rows, 15 columns"
BUSY = Workload("busy", _TITLE, days(WIDE, WIDE_ROWS, neighbours=1), weight=3)
VOLATILE = replace(BUSY, name="busy-volatile", title=f"{_TITLE}, without fsync", durable=False)
COMPARISONS = (
    Comparison("latency", BUSY, _ABOUT, purging_beside_pgbench, rounds=_DAYS),
    Comparison("latency", VOLATILE, _ABOUT, purging_beside_pgbench, rounds=_DAYS, by_default=False),
)
