"""The figures of the sizing guide, taken from docs/explanation/performance.md, which `make figures` writes.

What belongs here: which figures, in which words. What does not: measuring.
"""

from collections.abc import Iterator, Mapping

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
ROWS = (
    ("archive", "1,000,000 rows of 15 columns", WIDE, "archive"),
    ("archive", "1,000,000 rows of 5 columns", NARROW, "archive"),
    ("archive", "500 rows of 1 MB", LARGE, "archive"),
    ("reading back and proving", "1,000,000 rows of 15 columns", WIDE, "verify"),
    ("deleting, proof left out", "1,000,000 rows of 15 columns", WIDE, "purge, batches of 10,000, without its verification"),
    ("dropping the leaf, proof left out", "1,000,000 rows of 15 columns", LEAVES, "purge by drop_partition, without its verification"),
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


PARTS = (Part(PAGE, "figures", figures),)
