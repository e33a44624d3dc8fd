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


def test_every_error_has_a_line_with_a_next_step() -> None:
    (section,) = re.findall(r"^## Errors, by class\n(.*?)^## ", TROUBLES, re.DOTALL | re.MULTILINE)
    assert set(re.findall(r"^\| `(\w+)` \| \S.* \|$", section, re.MULTILINE)) == CLASSES - {"ArchiverError"}


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
