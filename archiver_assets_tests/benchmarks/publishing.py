"""`make figures`: put the newest results in `.bench` into docs/explanation/performance.md and its charts.

What belongs here: placing the results. What does not: measuring. A target in the registry that has no result appears as not yet measured,
so that the page lists every target in the code.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from archiver_assets_tests.benchmarks.chart import bars_of, save_charts
from archiver_assets_tests.benchmarks.comparing import Comparison, Result, load_result
from archiver_assets_tests.benchmarks.machine import described
from archiver_assets_tests.benchmarks.places import RESULTS, ROOT
from archiver_assets_tests.benchmarks.registry import COMPARISONS
from archiver_assets_tests.benchmarks.tables import methods_table, targets_table
from archiver_assets_tests.benchmarks.workload import DEFAULT_ROWS, LARGE, LARGE_ROWS

PAGE = ROOT / "docs" / "explanation" / "performance.md"
CHARTS = ROOT / "docs" / "pictures" / "bench"


def main() -> None:
    """Update the figures of the page, and write all charts."""
    results = read_results(RESULTS, DEFAULT_ROWS)
    if not results:
        sys.exit(f"expected results of {DEFAULT_ROWS:,} rows in {RESULTS}, found none\nHINT: run `make bench` first")
    PAGE.write_text(rewritten(PAGE.read_text(), [*results, *read_results(RESULTS / LARGE, LARGE_ROWS)]))
    save_charts(results, CHARTS)


def read_results(folder: Path, rows: int) -> list[Result]:
    """Return the results in a folder with this number of rows, in the order of the registry and with its current targets."""
    places = [(each, folder / f"{each.id}.json") for each in COMPARISONS]
    found = [(each, replace(load_result(path), targets=each.targets)) for each, path in places if path.exists()]
    return [result for comparison, result in found if result.rows == comparison.workload.rows(rows)]


def rewritten(page: str, results: Sequence[Result]) -> str:
    """Return the page with its generated parts built from these results."""
    found = {result.id for result in results}
    missing = [_not_yet(each) for each in COMPARISONS if each.targets and each.id not in found]
    machines = dict.fromkeys(f"Measured with {described(result.machine)}.\n" for result in results)
    tables = [line for result in results for line in [*methods_table(result), ""]]
    drawn = dict.fromkeys(result.workload for result in results if bars_of(result))
    pictures = [f"![Ratios on the workload {name}](../pictures/bench/{name}.svg)\n" for name in drawn]
    parts = {"targets": [*targets_table([*results, *missing]), "", *machines, *pictures], "methods": tables}
    for name, lines in parts.items():
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
        before, rest = page.split(begin)
        page = "".join([before, begin, "\n", "\n".join(lines).strip(), "\n\n", end, rest.split(end)[1]])
    return page


def _not_yet(comparison: Comparison) -> Result:
    workload = comparison.workload
    return comparison.result(workload.rows(DEFAULT_ROWS), {}, {}, {})


if __name__ == "__main__":
    main()
