"""Settings that a role or a database brings to every session decide nothing about what is deleted: the sessions of the archiver pin them.

What belongs here: settings under which the server reads or finds values in another way. What does not: the text of values
(`integration/test_reading.py`).
"""

import pytest

from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets_tests.lab import Lab

ODD = ("array_nulls = off", "standard_conforming_strings = off", "gin_fuzzy_search_limit = 1")


def test_a_null_is_no_text_of_four_letters(lab: Lab) -> None:
    """Without `array_nulls` the server would read the NULL of an archived row as a text, and delete the row that came to have it."""
    lab.execute("ALTER TABLE audit_logs ADD note text")
    lab.fill(rows=3)
    archive(lab.task())
    lab.execute("UPDATE audit_logs SET note = 'NULL'")
    lab.execute(f'ALTER DATABASE "{lab.database.name}" SET array_nulls = off')
    purged = purge(lab.task())
    assert (purged.tally.purged, lab.count()) == (0, 3)


@pytest.mark.parametrize("setting", ODD)
def test_no_setting_of_the_database_changes_what_is_archived_and_purged(lab: Lab, setting: str) -> None:
    lab.execute("CREATE TYPE mood AS ENUM ('calm'); ALTER TABLE audit_logs ADD note text DEFAULT 'a\\b', ADD mood mood DEFAULT 'calm'")
    lab.fill(rows=3)
    archive(lab.task())
    lab.execute(f'ALTER DATABASE "{lab.database.name}" SET {setting}')
    assert archive(lab.task()).rows == 0
    assert purge(lab.task()).tally.purged == 3
    assert lab.count() == 0
