"""What the pages of operations and explanation list is all that there is, and what they name is there.

What does not belong here: commands and links, which `test_pages.py` and `test_links.py` check for every page.
"""

import re

import pytest

from archiver_assets import errors
from archiver_assets.config import ACCEPTABLE_RISKS
from archiver_assets.source import sql_catalog
from archiver_assets_tests.pages import ROOT

DOCS, TESTS = ROOT / "docs", ROOT / "archiver_assets_tests"
FOLDERS = (ROOT, ROOT / "archiver_assets", TESTS)
TROUBLES = (DOCS / "operations" / "troubleshooting.md").read_text()
CLASSES = {name for name, found in vars(errors).items() if isinstance(found, type) and issubclass(found, errors.ArchiverError)}


def test_every_error_has_a_line_that_says_whether_it_passes() -> None:
    lines = dict(re.findall(r"^\| `(\w+)` \| .* \| (yes|no) \| .* \|$", TROUBLES, re.MULTILINE))
    assert lines.keys() == CLASSES - {"ArchiverError"}
    assert {name for name, passes in lines.items() if passes == "yes"} == {name for name in lines if getattr(errors, name).transient}


def test_every_finding_of_preflight_has_a_line() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "archiver_assets" / "source").glob("*.py"))
    made = {*re.findall(r'Finding\(\s*"(\w+)"', sources), *re.findall(r"(?:THEN|ELSE|SELECT) '(\w+)'(?: END|,)", sql_catalog.SIDE_EFFECTS)}
    made |= set(re.findall(r"THEN '(\w+)' ELSE", sql_catalog.SIDE_EFFECTS))
    (section,) = re.findall(r"^## Findings of preflight\n(.*?)^## ", TROUBLES, re.DOTALL | re.MULTILINE)
    listed = {name for row in re.findall(r"^\| .*? \| (`.*?`) \| ", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert len(made) > 20
    assert set(ACCEPTABLE_RISKS) <= made
    assert listed == made


@pytest.mark.parametrize("page", ["guarantees.md", "protocol.md"])
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    named = re.findall(r"`([a-z_]+/[\w/]*\w+\.py)`", (DOCS / "explanation" / page).read_text())
    assert len(named) > 5
    assert [name for name in named if not any((root / name).exists() for root in FOLDERS)] == []


@pytest.mark.parametrize("page", ["guarantees.md", "row-versions.md", "limits.md"])
def test_every_test_that_a_page_names_is_there(page: str) -> None:
    named = set(re.findall(r"`(test_\w+)`", (DOCS / "explanation" / page).read_text()))
    tests = "".join(path.read_text() for path in TESTS.rglob("test_*.py"))
    assert named
    assert named - set(re.findall(r"\bdef (test_\w+)", tests)) == set()


def test_every_attack_on_a_guarantee_is_in_the_file_that_is_named_with_it() -> None:
    (attacks,) = re.findall(r"^## 1\..*?^## What", (DOCS / "explanation" / "guarantees.md").read_text(), re.DOTALL | re.MULTILINE)
    rows = re.findall(r"^\| .* \| (`.*) \|$", attacks, re.MULTILINE)
    assert len(rows) == len(re.findall(r"^\| (?!attack )", attacks, re.MULTILINE)) > 30
    for where in (where for row in rows for where in row.split("; ")):
        files = re.findall(r"`(\w+/\w+\.py)`", where)
        text = "".join((TESTS / file).read_text() for file in files)
        assert files
        assert [test for test in re.findall(r"`(test_\w+)`", where) if f"def {test}(" not in text] == [], where


SIZING = (DOCS / "operations" / "sizing.md").read_text()
MEASURED = (DOCS / "explanation" / "performance.md").read_text()


def measured(title: str, workload: str, method: str, column: str) -> float:
    """Return the median that the newest benchmark found."""
    (part,) = re.findall(
        rf"^### {re.escape(title)}\n\n[\d,]+ rows a day, {re.escape(workload)};.*?\n\n(.*?)\n\n", MEASURED, re.DOTALL | re.MULTILINE
    )
    head, _, *rows = ([cell.strip() for cell in line.strip("| ").split(" | ")] for line in part.splitlines())
    (row,) = (row for row in rows if row[0] == method)
    return float(row[[name.partition(" (")[0] for name in head].index(column)].partition(" ")[0].replace(",", ""))


WIDE, NARROW, LEAVES = (
    "15 columns, about 530 bytes a row in binary COPY",
    "5 scalar columns",
    "15 columns, about 530 bytes a row in binary COPY, a leaf for each day",
)
DELETES, DROP = "purge, batches of 10,000, without its verification", "purge by drop_partition, without its verification"
JOB = "archive, check and purge, by Dagster"


@pytest.mark.parametrize(
    ("step", "column", "factor", "source"),
    [
        ("archive", 1, 1, ("The archive step", WIDE, "archive", "wall s")),
        ("archive", 2, 1, ("The archive step", NARROW, "archive", "wall s")),
        ("one proof: read back, decode, compare; a run makes two", 1, 1, ("Verify: the whole object, read back", WIDE, "verify", "wall s")),
        (
            "one proof: read back, decode, compare; a run makes two",
            2,
            1,
            ("Verify: the whole object, read back", NARROW, "verify", "wall s"),
        ),
        ("purge by deletes", 1, 1, ("Purge by deletes", WIDE, DELETES, "wall s")),
        ("purge by dropping the day's leaf", 1, 1, ("Purge by dropping the leaf", LEAVES, DROP, "wall s")),
        ("the whole run: archive, check, purge, Dagster", 1, 1, ("The whole job", WIDE, JOB, "wall s")),
        ("restore, without the proof", 1, 1, ("Restore, the load alone", WIDE, "restore, load only", "wall s")),
        ("object in the bucket", 1, 1e6, ("The archive step", WIDE, "archive", "bytes")),
        ("object in the bucket", 2, 1e6, ("The archive step", NARROW, "archive", "bytes")),
        ("CPU of the run", 1, 1, ("The whole job", WIDE, JOB, "client CPU s")),
        ("CPU of the database", 1, 1, ("The whole job", WIDE, JOB, "server CPU s")),
        ("WAL of a purge by deletes", 1, 1e6, ("Purge by deletes", WIDE, DELETES, "wal")),
        ("WAL of a drop", 1, 1e6, ("Purge by dropping the leaf", LEAVES, DROP, "wal")),
    ],
)
def test_the_figures_of_sizing_are_those_of_the_newest_benchmark(
    step: str, column: int, factor: float, source: tuple[str, str, str, str]
) -> None:
    (row,) = re.findall(rf"^\| {re.escape(step)} \| (.*?) \| ?(.*?) ?\|$", SIZING, re.MULTILINE)
    said = float(row[column - 1].split()[0]) * factor
    assert said == pytest.approx(measured(*source), rel=0.25)
