"""Results as Markdown: a table of the methods of one comparison, and a table of all targets.

What belongs here: labels and units. What does not: charts (`chart.py`).
"""

from collections.abc import Sequence

from archiver_assets_tests.benchmarks.comparing import Found, Result, Spread

_MIB = 1024 * 1024
_BYTES = ("peak_rss", "bytes", "wal")
_SECONDS = ("wall", "cpu", "client_cpu", "server_cpu", "store_cpu")
_CPU = ("client_cpu", "server_cpu", "store_cpu")
FIGURES = {
    "wall": "wall",
    "cpu": "CPU",
    "client_cpu": "client CPU",
    "server_cpu": "server CPU",
    "store_cpu": "S3 CPU",
    "peak_rss": "peak memory",
    "bytes": "bytes",
    "wal": "WAL",
    "rows_per_second": "rows/s",
}


def methods_table(result: Result) -> list[str]:
    """Return the lines of a comparison: a heading, the medians of each method's figures, and the methods that were not measured."""
    extra = list(dict.fromkeys(name for runs in result.samples.values() for sample in runs for name in sample.figures))
    titles = [
        "method",
        "rows",
        "wall s (min-max)",
        f"ratio of {FIGURES.get(result.main, result.main)} (of rounds)",
        *(f"{FIGURES[name]} s" for name in _CPU),
        "peak MiB",
        *extra,
    ]
    lines = [f"### {result.title}", "", f"{about(result)}; {_runs(result)}", ""]
    lines += [_row(titles), _row(["---"] * len(titles))]
    lines += [_row([_name(result, name), *_cells(result, name, extra)]) for name in result.samples]
    return [*lines, *(f"\nNot measured: {name}: {reason}." for name, reason in result.not_measured.items())]


def targets_table(results: Sequence[Result]) -> list[str]:
    """Return the lines of a table of all targets, met or missed."""
    titles = ["what", "workload", "rows a day", "figure", "target", "found", ""]
    found = [(result, each) for result in results for each in result.found()]
    return [_row(titles), _row(["---"] * len(titles)), *(_row(_target_cells(result, each)) for result, each in found)]


def _target_cells(result: Result, found: Found) -> list[str]:
    where = [_what(result, found), result.workload, f"{result.rows:,}" if result.rows else "-"]
    verdict = f"**{found.verdict}**" if found.verdict == "missed" else found.verdict
    return [*where, _figure(found), _bound(found), _value(result, found), verdict]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _runs(result: Result) -> str:
    counts = sorted({len(runs) for runs in result.samples.values()})
    return "one run" if counts == [1] else f"medians of {'-'.join(str(count) for count in counts)} runs"


def about(result: Result) -> str:
    """Return a description of the workload."""
    return f"{result.rows:,} rows a day, {result.about}" if result.rows else result.about


def _name(result: Result, name: str) -> str:
    return f"{name} (the limit)" if name == result.limit else name


def _cells(result: Result, name: str, extra: Sequence[str]) -> list[str]:
    ratio = result.ratio(name, result.main)
    rows = f"{result.samples[name][0].rows:,}"
    figures = [_median(result, name, each) for each in (*_CPU, "peak_rss", *extra)]
    return [rows, _spread(result.spread(name, "wall")), _spread(ratio) if name != result.limit else "1.00", *figures]


def _median(result: Result, name: str, figure: str) -> str:
    spread = result.spread(name, figure)
    return "-" if spread is None else plain(figure, spread.median)


def plain(figure: str, value: float) -> str:
    """Return a figure as text without its unit: seconds with two digits, memory in MiB, others with two digits below 100, else none."""
    if figure == "peak_rss":
        return f"{value / _MIB:.0f}"
    return f"{value:.2f}" if figure in _SECONDS or abs(value) < 100 else f"{value:,.0f}"


def _spread(spread: Spread | None) -> str:
    return "-" if spread is None else f"{spread.median:.2f} ({spread.least:.2f}-{spread.most:.2f})"


def _what(result: Result, found: Found) -> str:
    target = found.target
    other = target.against or result.limit
    return target.method if target.of == "value" or not other else f"{target.method}, against {other}"


def _figure(found: Found) -> str:
    return FIGURES.get(found.target.figure, found.target.figure)


def _bound(found: Found) -> str:
    target = found.target
    sign = "≥" if target.least else "≤"
    stretch = "" if target.stretch is None else f", stretch {_with_unit(found, target.stretch)}"
    return f"{sign} {_with_unit(found, target.bound)}{stretch}"


def _value(result: Result, found: Found) -> str:
    if found.found is None:
        return "-"
    target, text = found.target, _with_unit(found, found.found)
    ratio = result.ratio(target.method, target.figure, target.against) if target.of == "ratio" else None
    return f"{text} ({ratio.least:.2f}-{ratio.most:.2f})" if ratio else text


def _with_unit(found: Found, value: float) -> str:
    figure, of = found.target.figure, found.target.of
    if of == "ratio":
        return f"{value:.2f} x"
    unit = " s" if figure in _SECONDS else " MiB" if figure == "peak_rss" else ""
    return f"{plain(figure, value)}{unit}{' more' if of == 'more' else ''}"
