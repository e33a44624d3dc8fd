"""The figures of the sizing guide, taken from docs/explanation/performance.md, which `make figures` writes.

What belongs here: which figures, in which words, and examples by them. What does not: measuring.
"""

from collections.abc import Callable, Iterator, Mapping

from archiver_assets_tests.pages import ROOT
from archiver_assets_tests.reference.parts import Part, table

PAGE = ROOT / "docs" / "operations" / "sizing.md"
FIGURES = ROOT / "docs" / "explanation" / "performance.md"
WIDE, NARROW, LARGE, LEAVES = (
    "15 columns, about 530 bytes a row in binary COPY;",
    "5 scalar columns;",
    "values of 1 MB of jsonb",
    "a leaf for each day",
)
_DELETES, _DROP = "purge, batches of 10,000, without its verification", "purge by drop_partition, without its verification"
ROWS = (
    ("archive", "1,000,000 rows of 15 columns", WIDE, "archive"),
    ("archive", "1,000,000 rows of 5 columns", NARROW, "archive"),
    ("archive", "500 rows of 1 MB", LARGE, "archive"),
    ("reading back and proving", "1,000,000 rows of 15 columns", WIDE, "verify"),
    ("deleting, proof left out", "1,000,000 rows of 15 columns", WIDE, _DELETES),
    ("dropping the leaf, proof left out", "1,000,000 rows of 15 columns", LEAVES, _DROP),
    ("archive, check and purge, one run", "1,000,000 rows of 15 columns", WIDE, "run process"),
    ("archive, check and purge, one run", "10,000,000 rows of 15 columns", "10,000,000 rows a day", "run process"),
    ("archive, check and purge, one run", "500 rows of 1 MB", LARGE, "run process"),
    ("archive, check and purge, one run", "a day without rows", "a thousand rows;", "archive, check and purge of an empty day"),
    ("restore, the load alone", "1,000,000 rows of 15 columns", WIDE, "restore, load only"),
    ("loading the code location", "1,000 tables in 50 databases", "1,000 tables", "code location"),
)


def figures() -> str:
    """Return what each step took when it was last measured."""
    found = list(_measured(FIGURES.read_text()))
    rows = [(what, of, *_values(found, workload, method)) for what, of, workload, method in ROWS]
    return table(("what", "of", "seconds", "CPU s here", "CPU s in PostgreSQL", "peak MiB", "bytes of the object", "bytes of WAL"), rows)


def _values(found: list[tuple[str, Mapping[str, str]]], workload: str, method: str) -> tuple[str, ...]:
    row = next(row for described, row in found if workload in described and row["method"] == method)
    seconds = row["wall s (min-max)"].partition(" ")[0]
    return (seconds, *(row.get(name, "-") for name in ("client CPU s", "server CPU s", "peak MiB", "bytes", "wal")))


def _measured(page: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield each row of the page's tables of figures, with the sentence that says what was measured."""
    for section in page.split("\n### ")[1:]:
        lines = section.splitlines()
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
        yield from ((lines[2], dict(zip(cells[0], row, strict=True))) for row in cells[2:])


_DAYS = (1, 50, 500)
"""Millions of wide rows a day."""
_YEAR, _HISTORY, _RETENTION, _START = 365, 3 * 365, 90, 6.0
_GIB, _INFREQUENT = 1 << 30, 0.0125
"""Bytes, and USD a GiB and month in STANDARD_IA, as docs/reference/cli.md has it."""


def examples() -> str:
    """Return what a table of so many wide rows a day takes, in proportion to what a million took."""
    found = list(_measured(FIGURES.read_text()))
    run, delete, drop = (
        _measured_of(found, workload, method)
        for workload, method in ((WIDE, "archive, check and purge, by Dagster"), (WIDE, _DELETES), (LEAVES, _DROP))
    )
    size = float(_measured_of(found, WIDE, "archive")["bytes"])
    seconds, by_drop = run["wall"], run["wall"] - delete["wall"] + drop["wall"]
    rows: tuple[tuple[str, Callable[[int], str]], ...] = (
        ("a day's run, by deletes", lambda n: _time(n * seconds)),
        ("the same with daily leaves, `drop_partition`", lambda n: _time(n * by_drop)),
        ("CPU of the database, by deletes", lambda n: _time(n * run["server"])),
        ("batches of 10,000 rows", lambda n: f"{n * 100:,}"),
        ("WAL of the purge, by deletes", lambda n: _bytes(n * delete["wal"])),
        ("the object", lambda n: _bytes(n * size)),
        ("the bucket after a year", lambda n: _bytes(n * size * _YEAR)),
        ("its price a month then, in `STANDARD_IA`", lambda n: f"{_rounded(n * size * _YEAR / _GIB * _INFREQUENT)} USD"),
        ("rows in the table, at 90 days of retention", lambda n: f"{n * _RETENTION:,} million"),
        ("three years of history, day after day", lambda n: _time(_HISTORY * (n * seconds + _START))),
    )
    heads = ("wide rows a day", *(f"{n} million" for n in _DAYS))
    return table(heads, [(what, *(of(n) for n in _DAYS)) for what, of in rows])


def _measured_of(found: list[tuple[str, Mapping[str, str]]], workload: str, method: str) -> dict[str, float]:
    row = next(row for described, row in found if workload in described and row["method"] == method)
    names = {"wall s (min-max)": "wall", "server CPU s": "server", "bytes": "bytes", "wal": "wal"}
    values = {name: row[column].partition(" ")[0].replace(",", "") for column, name in names.items() if column in row}
    return {name: float(value) for name, value in values.items() if value != "-"}


def _time(seconds: float) -> str:
    for unit, name in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 1.5 * unit:
            return f"{_rounded(seconds / unit)} {name}"
    return f"{_rounded(seconds)} s"


def _bytes(size: float) -> str:
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{_rounded(size / unit)} {name}"
    return f"{_rounded(size / 1e3)} kB"


def _rounded(number: float) -> str:
    return f"{float(f'{number:.2g}'):,g}"


PARTS = (Part(PAGE, "figures", figures), Part(PAGE, "examples", examples))
