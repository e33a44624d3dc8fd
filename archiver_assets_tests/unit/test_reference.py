"""The generated parts of the reference are what the code says: `make docs` writes them anew."""

import pytest

from archiver_assets_tests.reference.all_parts import ALL
from archiver_assets_tests.reference.error_list import CLASSES, causes
from archiver_assets_tests.reference.parts import Part, written


@pytest.mark.parametrize("part", ALL, ids=str)
def test_a_generated_part_is_what_the_code_says(part: Part) -> None:
    assert written(part.page.read_text(), part.name) == part.make(), "run `make docs`"


def test_every_error_has_a_cause_and_a_next_step_but_those_that_others_stand_for() -> None:
    without = [name for name in CLASSES if f"### {name}\n" not in causes()]
    assert without == ["ArchiverError", "SourceLoginRefused", "SourceConflict"]
