"""Settings that a role or a database brings to every session decide nothing about what is deleted: the sessions of the archiver pin them.

What belongs here: settings under which the server reads or finds values in another way. What does not: the text of values
(`integration/test_reading.py`).
"""

import time

import psycopg
import pytest

from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.task import Step
from archiver_assets.source.sql_session import pin
from archiver_assets_tests.lab import Lab

FIRST_WITH_TRANSACTION_TIMEOUT = 170_000
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


def test_both_ways_to_pin_switch_the_timeout_of_transactions_off_where_there_is_one(lab: Lab) -> None:
    source, shown = lab.task().source, "SELECT current_setting('transaction_timeout', true) AS timeout"
    with source.connect() as connection:
        row = connection.execute(shown).fetchone()
    with psycopg.connect(lab.database.dsn) as connected:
        if known := connected.info.server_version >= FIRST_WITH_TRANSACTION_TIMEOUT:
            connected.execute("SET transaction_timeout = '500s'")
        connected.execute(pin(source.settings))
        assert connected.execute(shown).fetchone() == tuple((row or {}).values()) == ("0" if known else None,)


def test_no_transaction_of_an_archive_or_a_purge_ends_by_the_timeout_of_the_database(lab: Lab) -> None:
    lab.fill(rows=3)
    with psycopg.connect(lab.database.dsn) as connection:
        if connection.info.server_version < FIRST_WITH_TRANSACTION_TIMEOUT:
            pytest.skip("PostgreSQL has transaction_timeout from 17 on")
    lab.execute(f"""ALTER DATABASE "{lab.database.name}" SET transaction_timeout = '500ms'""")

    def take_longer(step: Step) -> None:
        if step in {Step.SNAPSHOT_TAKEN, Step.BATCH_STREAMED}:
            time.sleep(0.7)

    assert archive(lab.task(reached=take_longer)).rows == 3
    slowly = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.7); RETURN NULL; END'"
    lab.execute(f"{slowly}; CREATE TRIGGER t AFTER DELETE ON audit_logs EXECUTE FUNCTION f()")
    table = lab.table(accepted_risks=("after_delete_trigger",))
    assert (purge(lab.task(table=table)).tally.purged, lab.count()) == (3, 0)


@pytest.mark.parametrize("setting", ODD)
def test_no_setting_of_the_database_changes_what_is_archived_and_purged(lab: Lab, setting: str) -> None:
    lab.execute("CREATE TYPE mood AS ENUM ('calm'); ALTER TABLE audit_logs ADD note text DEFAULT 'a\\b', ADD mood mood DEFAULT 'calm'")
    lab.fill(rows=3)
    archive(lab.task())
    lab.execute(f'ALTER DATABASE "{lab.database.name}" SET {setting}')
    assert archive(lab.task()).rows == 0
    assert purge(lab.task()).tally.purged == 3
    assert lab.count() == 0
