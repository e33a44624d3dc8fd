"""The example of the reference is what a real run leaves in the bucket."""

import json
import re

from archiver_assets_tests.lab import Lab
from archiver_assets_tests.reference.objects import PAGE, example, masked
from archiver_assets_tests.reference.parts import written


def test_the_example_of_objects_is_what_a_run_leaves_but_for_what_differs_from_run_to_run(lab: Lab) -> None:
    shown = re.findall(r"`(_.*?)`:\n\n```json\n(.*?)```", written(PAGE.read_text(), "example"), re.DOTALL)

    found = example(lab)

    assert [name for name, _ in shown] == list(found)
    assert [masked(json.loads(content)) for _, content in shown] == [masked(each) for each in found.values()], "run `make docs`"
