"""The tests that docs/explanation/guarantees.md names are there, in the files it names."""

import re

from archiver_assets_tests.pages import ROOT

TESTS = ROOT / "archiver_assets_tests"


def test_every_guarantee_names_tests_that_are_there() -> None:
    sections = (ROOT / "docs" / "explanation" / "guarantees.md").read_text().split("\n## ")[1:]
    for section in sections:
        entries = re.findall(r"^- `([\w/]+\.py)`: ((?:`test_\w+`,?\s*)+)", section, re.MULTILINE)
        assert entries, section.partition("\n")[0]
        assert section.count("`test_") == sum(names.count("`test_") for _, names in entries)
        for file, names in entries:
            code = (TESTS / file).read_text()
            assert [name for name in re.findall(r"test_\w+", names) if f"\ndef {name}(" not in code] == [], file
