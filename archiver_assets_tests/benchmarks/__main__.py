"""`make bench`: what reading a day costs, by each candidate, as ratios to the physical limit; the speed of the content digest; a
restore beside the server's own COPY; what an application that writes to the table notices of a purge; and what a thousand tables cost.

What belongs here: the order of the runs and the tables that are printed. What does not: the workload, the candidates, the clocks; and any
verdict, because times on a busy machine prove nothing. Imports no Arrow: see `measuring.py`.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path

from archiver_assets.demo.postgres import EmbeddedPostgres, find_binaries
from archiver_assets_tests.benchmarks.latency import CLIENTS, RATE, Latency, find_pgbench, measure_latency
from archiver_assets_tests.benchmarks.measuring import Cost, Speed, Window, measure, run_child
from archiver_assets_tests.benchmarks.scale import measure_scale
from archiver_assets_tests.benchmarks.workload import DAY, bytes_of_day, environment, make_table, select_day

LIMIT = "limit"
CANDIDATES = {
    "adbc": "ADBC, the archiver's own path",
    "copy-csv": "psycopg COPY CSV, pyarrow.csv",
    "copy-binary": "psycopg COPY BINARY, Python rows",
    "cursor": "psycopg server-side cursor, Python rows",
}
_MIB = 1024 * 1024


def main() -> None:
    """Measure everything, or what was asked for, and print."""
    arguments = _arguments()
    if arguments.only != "scale":
        measure_rows(arguments)
    if arguments.only != "rows":
        print("\n".join(measure_scale(arguments.runs)))


def measure_rows(arguments: argparse.Namespace) -> None:
    """Make the table, measure all that is done with its rows, print."""
    with EmbeddedPostgres(durable=True) as server, tempfile.TemporaryDirectory() as folder:
        _say(f"making 3 days of {arguments.rows:,} rows")
        make_table(server, arguments.rows)
        size = bytes_of_day(server)
        psql = find_psql()
        costs = measure_all(server, Path(folder) / "day.parquet", psql, arguments.runs)
        speed = json.loads(run_child("digesting", [str(arguments.runs)], environment(server)))
        restored = measure_restores(server, arguments.runs)
        durable = measure_latencies(server, Path(folder) / "durable")
    # Again without fsync: on a disk that others use too, its noise can be larger than anything that a purge does.
    with EmbeddedPostgres() as server, tempfile.TemporaryDirectory() as folder:
        make_table(server, arguments.rows)
        volatile = measure_latencies(server, Path(folder) / "volatile")
    require_same_rows(costs, arguments.rows)
    titles = {LIMIT: f"binary COPY to nothing by {'psql' if psql else 'psycopg'}"} | CANDIDATES
    print(f"{arguments.rows:,} rows of {size / arguments.rows:.0f} bytes in binary COPY, cached; medians of {arguments.runs} runs;")
    print("CPU and RSS are those of the client, RSS with its imports\n")
    print("\n".join(_table(titles, costs)))
    print("\n" + _line(Speed(**speed)))
    print("\n" + _restores(restored))
    print(f"\np95 of {RATE} inserts/s by {CLIENTS} sessions of pgbench, during a purge at default settings and without:")
    print(_latencies("with fsync", durable))
    print(_latencies("without fsync", volatile) + "\n")


def measure_all(server: EmbeddedPostgres, path: Path, psql: str, runs: int) -> dict[str, list[Cost]]:
    """Run every method `runs` times, one after the other, each round beginning with another one."""
    reach = environment(server)
    methods = {LIMIT: partial(measure, "drain", [select_day(), psql], reach)}
    methods |= {name: partial(measure, "extraction", [name, str(path)], reach) for name in CANDIDATES}
    order = list(methods)
    costs: dict[str, list[Cost]] = {name: [] for name in order}
    for number in range(runs):
        first = number % len(order)
        for name in [*order[first:], *order[:first]]:
            costs[name].append(methods[name]())
            path.unlink(missing_ok=True)
            _say(f"run {number + 1} of {runs}: {name} {costs[name][-1].seconds:.2f} s")
    return costs


def measure_latencies(server: EmbeddedPostgres, folder: Path) -> list[Latency]:
    """Purge each of the three days beside pgbench, if the server came with one."""
    pgbench = find_pgbench()
    if pgbench is None:
        _say("no pgbench beside the server: nothing is known of latencies")
        return []
    found = []
    for offset in (-1, 0, 1):
        day = str(DAY + timedelta(days=offset))
        own = folder / day
        own.mkdir(parents=True)
        found.append(measure_latency(server, pgbench, own, day))
        _say(f"purge of {day}: {found[-1].during:.2f} ms during, {found[-1].without:.2f} ms without")
    return found


def measure_restores(server: EmbeddedPostgres, runs: int) -> list[tuple[Window, Window]]:
    """Load the day back, by the archiver and by the server's own COPY, by turns."""
    found = json.loads(run_child("restoring", [str(runs)], environment(server)))
    return [(Window(**restored), Window(**copied)) for restored, copied in found]


def find_psql() -> str:
    """Return the psql beside the server's binaries, or the one on PATH, or an empty word."""
    beside = find_binaries() / "psql"
    return str(beside) if beside.exists() else shutil.which("psql") or ""


def require_same_rows(costs: dict[str, list[Cost]], expected: int) -> None:
    """Exit if a method read another number of rows than the day has."""
    wrong = {name: cost.rows for name, runs in costs.items() for cost in runs if cost.rows != expected}
    if wrong:
        sys.exit(f"expected every method to read {expected} rows, found {wrong}")


def _table(titles: dict[str, str], costs: dict[str, list[Cost]]) -> list[str]:
    limit = statistics.median(cost.seconds for cost in costs[LIMIT])
    head = "| method | wall s (min-max) | ratio | client CPU s | peak RSS MiB | Parquet bytes |"
    return [head, "|---|---|---|---|---|---|", *(_row(title, costs[name], limit) for name, title in titles.items())]


def _row(title: str, costs: Sequence[Cost], limit: float) -> str:
    seconds = [cost.seconds for cost in costs]
    wall = statistics.median(seconds)
    cpu = statistics.median(cost.cpu_seconds for cost in costs)
    rss = max(cost.peak_rss for cost in costs) / _MIB
    written = f"{costs[0].parquet_bytes:,}" if costs[0].parquet_bytes else "-"
    return f"| {title} | {wall:.2f} ({min(seconds):.2f}-{max(seconds):.2f}) | {wall / limit:.2f} | {cpu:.2f} | {rss:.0f} | {written} |"


def _line(speed: Speed) -> str:
    ratio = speed.digest / speed.sha256
    rates = f"{speed.digest / 1e6:,.0f} MB/s, SHA-256 alone over the same: {speed.sha256 / 1e6:,.0f} MB/s, ratio {ratio:.2f}"
    return f"content digest over {speed.size / _MIB:.0f} MiB of Arrow data: {rates}"


def _restores(found: Sequence[tuple[Window, Window]]) -> str:
    ours, theirs = ([pair[which].ended - pair[which].began for pair in found] for which in (0, 1))
    ratio = statistics.median(ours) / statistics.median(theirs)
    pairs = ", ".join(f"{one:.2f} / {other:.2f} s" for one, other in zip(ours, theirs, strict=True))
    return f"restore, load only, and binary COPY FROM of {found[0][0].rows:,} rows: {pairs}; ratio of the medians {ratio:.2f}"


def _latencies(title: str, found: Sequence[Latency]) -> str:
    if not found:
        return f"{title}: not measured, for want of pgbench"
    rates = statistics.median(each.rows / each.seconds for each in found)
    pairs = ", ".join(f"{each.during:.2f} / {each.without:.2f} ms" for each in found)
    return f"{title}: {pairs}; ratio {statistics.median(each.ratio for each in found):.2f}; {rates:,.0f} rows purged/s (medians)"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m archiver_assets_tests.benchmarks", description="Speed as ratios to the physical limit."
    )
    parser.add_argument("--only", choices=["rows", "scale"], help="what is done with a day's rows, or what a thousand tables cost (both)")
    parser.add_argument("--rows", type=_positive, default=1_000_000, help="rows of the day that is read (%(default)s)")
    parser.add_argument("--runs", type=_positive, default=3, help="runs of each method (%(default)s)")
    return parser.parse_args()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        message = f"expected at least 1, found {number}"
        raise argparse.ArgumentTypeError(message)
    return number


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
