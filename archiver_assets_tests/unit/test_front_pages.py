"""The pages that a newcomer opens first agree with the code: README, glossary, architecture, CONTRIBUTING, and the forms of issues.

What does not belong here: links and blocks, which `test_links.py` and `test_pages.py` check for every page.
"""

import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest
import yaml

from archiver_assets.lifecycle.generations import State
from archiver_assets.store.keys import Mark
from archiver_assets_tests.pages import NOTES, ROOT, read_page

DOCS, TESTS = ROOT / "docs", ROOT / "archiver_assets_tests"
GLOSSARY = (DOCS / "reference" / "glossary.md").read_text()
ARCHITECTURE = (DOCS / "explanation" / "architecture.md").read_text()
GUARANTEES = (DOCS / "explanation" / "guarantees.md").read_text()
WORDS = re.findall(r"^\| (?!word )([^|]+?) \| [^|]+ \| [^|]+ \|$", GLOSSARY, re.MULTILINE)
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def test_the_glossary_is_in_alphabetical_order_and_has_each_word_once() -> None:
    assert len(WORDS) > 40
    assert sorted(set(WORDS), key=str.casefold) == WORDS


def test_the_glossary_has_every_state_of_a_generation_and_every_mark() -> None:
    assert {*get_args(State), *Mark} - {"purged"} <= {*WORDS}
    assert "receipt" in WORDS, "the mark `purged`"


def test_the_layers_of_the_architecture_are_those_that_are_checked() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    (block,) = [each.text for each in read_page(Path("docs/explanation/architecture.md")).blocks]
    shown = [re.split(r" {2,}", line)[0] for line in block.splitlines()]
    assert shown == [layer.replace("archiver_assets.", "") for layer in contract["layers"]]


def test_every_file_of_the_architecture_is_there() -> None:
    named = set(re.findall(r"`([a-z_]+/[\w/]*\w+\.py)`", ARCHITECTURE))
    assert len(named) > 40
    assert [name for name in sorted(named) if not any((root / name).exists() for root in (ROOT, ROOT / "archiver_assets", TESTS))] == []


def test_guarantees_are_numbered_once_and_others_refer_to_these_numbers() -> None:
    numbers = [int(number) for number in re.findall(r"^## (\d+)\. ", GUARANTEES, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    word = NUMBERS[len(numbers)]
    assert f"There are {word} guarantees" in GUARANTEES
    assert f"[The {word} guarantees in full](docs/explanation/guarantees.md)" in (ROOT / "README.md").read_text()
    (defended,) = re.findall(r"^## What is defended\n(.*?)^## ", (ROOT / "SECURITY.md").read_text(), re.DOTALL | re.MULTILINE)
    referred = [int(number) for group in re.findall(r"\(([\d, ]+)\)", defended) for number in group.split(", ")]
    assert sorted(referred) == numbers


def test_the_comments_that_contributing_explains_are_those_that_pages_can_have() -> None:
    explained = re.findall(r"^\| `<!-- ([a-z ]+): .*? -->` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert sorted(explained) == sorted([*NOTES, "page not run"])


def test_the_test_that_contributing_shows_is_one() -> None:
    (shown,) = [block.text for block in read_page(Path("CONTRIBUTING.md")).blocks if block.language == "python"]
    assert f"\n\n{shown}\n\n" in (TESTS / "integration" / "test_archive_verify_purge.py").read_text()


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_a_form_of_issues_is_one_that_the_host_shows(path: Path) -> None:
    form = yaml.safe_load(path.read_text())
    fields = [each for each in form["body"] if each["type"] != "markdown"]
    assert {"name", "description", "body"} <= form.keys()
    assert {each["type"] for each in fields} <= {"textarea", "input", "dropdown", "checkboxes"}
    assert len({each["id"] for each in fields}) == len(fields) > 0
    assert all(each["attributes"]["label"] for each in fields)
    assert any(each.get("validations", {}).get("required") for each in fields)


def test_there_are_forms_of_issues() -> None:
    assert FORMS
