"""`make demo` and `make dev`: run the main job on embedded servers, or open the UI on them.

What belongs here: the command line, and its final output. What does not: servers, data, runs.
"""

import argparse
import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

from archiver_assets.config import config_path, load_config
from archiver_assets.demo.main_job import Line, Play, adds_up, perform, summary
from archiver_assets.demo.processes import free_ports
from archiver_assets.demo.stage import Stage, open_stage
from archiver_assets.orchestration.build import build_definitions
from archiver_assets.services import Services


def main() -> int:
    """Run the demo, and return 0 if every row is accounted for."""
    options = _options()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with open_stage(options.days, options.rows) as stage:
            if options.dev:
                return _open_ui(stage)
            return _demo(stage, days=options.days, keep=options.keep)
    except KeyboardInterrupt:
        print("\nstopped; the servers and their data have been removed")
        return 130


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m archiver_assets.demo", description=__doc__)
    parser.add_argument("--days", type=_positive, default=7, help="expired days per table, in addition to three that are not (default 7)")
    parser.add_argument("--rows", type=_positive, default=5_000, help="rows per day and table (default 5000)")
    parser.add_argument("--keep", action="store_true", help="keep the servers running until Ctrl-C")
    parser.add_argument("--dev", action="store_true", help="run no job: open Dagster's UI on the filled tables")
    return parser.parse_args()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        message = f"expected a number of at least 1, found {text}"
        raise argparse.ArgumentTypeError(message)
    return number


def _interrupt(_signum: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _demo(stage: Stage, *, days: int, keep: bool) -> int:
    started = time.monotonic()
    lines = _play(stage, days)
    print("== summary; rows left and bytes are counted in the tables and the bucket")
    print(summary(lines, days))
    complete = adds_up(lines, days)
    print(f"every row is accounted for ({time.monotonic() - started:.0f} s)" if complete else "THERE ARE MISSING OR EXTRA ROWS", flush=True)
    if keep:
        _wait(stage)
    return 0 if complete else 1


def _play(stage: Stage, days: int) -> list[Line]:
    config = load_config(config_path())
    services = Services(config)
    return list(perform(Play(stage, services, build_definitions(config, services)), days))


def _wait(stage: Stage) -> None:
    here = Path(sys.executable).parent
    print(
        f"""
The servers run until Ctrl-C. In another terminal:

  . {stage.env_file}
  {here}/dagster-webserver -m archiver_assets.definitions -p 3000     # the UI with these runs: http://127.0.0.1:3000
  {here}/python -m archiver_assets.demo.query "SELECT dt, count(*), sum(amount) FROM audit_logs GROUP BY dt ORDER BY dt"

The query runs in DuckDB directly on the Parquet objects. With DuckDB's own S3 client, read the same objects with
  read_parquet('s3://audit-archives/archives/shop/public/audit_logs/*/rows-*.parquet', hive_partitioning = true)""",
        flush=True,
    )
    # Set it again: after each run, Dagster replaces this handler with that of SIGINT, which is ignored in a shell's background jobs.
    signal.signal(signal.SIGTERM, _interrupt)
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()
    print("\nstopping the servers and removing their data")


def _open_ui(stage: Stage) -> int:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "dagster", "dev", "-m", "archiver_assets.definitions", "-h", "127.0.0.1", "-p", str(port)]
    print(f"== opening the UI: http://127.0.0.1:{port} (Ctrl-C stops the UI and the servers)")
    print(f"   for `archiver` in another terminal:  . {stage.env_file}", flush=True)
    with subprocess.Popen(command, env=None, cwd=stage.folder) as process:  # noqa: S603 - this interpreter and a fixed module
        try:
            return process.wait()
        finally:
            process.terminate()


if __name__ == "__main__":
    sys.exit(main())
