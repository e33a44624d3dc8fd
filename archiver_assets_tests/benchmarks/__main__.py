"""`make bench`: measure how close the archiver comes to the limits of the machine, as ratios, and report which targets were met.

What belongs here: the order of work. Each workload's servers are started once, and its comparisons run on them one after the other. What
does not: the comparisons (`registry.py`), and any verdict by exit code. Must not import Arrow: see `measuring.py`.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from archiver_assets_tests.benchmarks.chart import save_charts
from archiver_assets_tests.benchmarks.comparing import Comparison, Result, compare
from archiver_assets_tests.benchmarks.machine import describe_machine, described
from archiver_assets_tests.benchmarks.places import RESULTS
from archiver_assets_tests.benchmarks.registry import choose
from archiver_assets_tests.benchmarks.site import open_site
from archiver_assets_tests.benchmarks.tables import methods_table, targets_table
from archiver_assets_tests.benchmarks.workload import DEFAULT_ROWS, LARGE, LARGE_ROWS, Workload


def main() -> None:
    """Measure all comparisons, or the selected ones; print each result as it is ready, and all targets at the end."""
    arguments = _arguments()
    # Make SIGTERM raise SystemExit, so that an interrupted run still removes its servers and folders.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    large = arguments.size == LARGE
    rows, into = arguments.rows or (LARGE_ROWS if large else DEFAULT_ROWS), arguments.into / (LARGE if large else "")
    try:
        comparisons = choose(arguments.only, large=large)
    except ValueError as error:
        sys.exit(str(error))
    results: list[Result] = []
    for workload, group in by_workload(comparisons):
        results += measure_workload(workload, group, rows, arguments.runs, into)
    print("\n".join(["## Targets", "", *targets_table(results)]))
    machine = described(results[0].machine) if results else "nothing"
    print(f"\nMeasured with {machine}.\nJSON and charts lie in {into}")


def by_workload(comparisons: Sequence[Comparison]) -> list[tuple[Workload, list[Comparison]]]:
    """Return the comparisons of each workload in their order. Workloads are in the order of their first comparison."""
    workloads = {each.workload.name: each.workload for each in comparisons}
    return [(workload, [each for each in comparisons if each.workload.name == name]) for name, workload in workloads.items()]


def measure_workload(workload: Workload, comparisons: Sequence[Comparison], rows: int, runs: int, into: Path) -> list[Result]:
    """Start the workload's servers, and run its comparisons."""
    rows = workload.rows(rows)
    say(f"{workload.name}: making {f'days of {rows:,} rows, ' if rows else ''}{workload.title}")
    results = []
    with open_site(workload, rows) as site:
        machine = describe_machine(site)
        for comparison in comparisons:
            result = compare(comparison, site, runs, machine, say)
            result.save(into / f"{comparison.id}.json")
            print("\n".join([*methods_table(result), ""]), flush=True)
            results.append(result)
    save_charts(results, into)
    return results


def say(text: str) -> None:
    """Print progress to stderr."""
    print(text, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m archiver_assets_tests.benchmarks", description="Speed as ratios to the physical limit."
    )
    parser.add_argument("--only", default="", help="subjects, or subject-workload, separated by commas (all)")
    parser.add_argument(
        "--size", choices=["default", LARGE], default="default", help="large: ten times the rows, of the wide workload alone"
    )
    parser.add_argument("--rows", type=_positive, help="rows of the wide workload's day, in place of those of the size")
    parser.add_argument("--runs", type=_positive, default=3, help="rounds (%(default)s)")
    parser.add_argument("--into", type=Path, default=RESULTS, help="the folder of JSON and charts (%(default)s)")
    return parser.parse_args()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        message = f"expected at least 1, found {number}"
        raise argparse.ArgumentTypeError(message)
    return number


if __name__ == "__main__":
    main()
