"""Targets that are not what they seem, or do not stay what they were: a restore is exact there, or refused by name."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import pytest

from archiver_assets.config import Hold
from archiver_assets.errors import ConfigError, NotRestored
from archiver_assets.lifecycle.archiving.archive import archive
from archiver_assets.lifecycle.purging.purge import purge
from archiver_assets.lifecycle.restoring.request import Conflict, Drift, RestoreRequest, Triggers, Versions
from archiver_assets.lifecycle.restoring.restore import restore
from archiver_assets.lifecycle.task import Step
from archiver_assets.store.hold_objects import place_hold
from archiver_assets_tests.lab import DAY, PREFIX, Lab
from archiver_assets_tests.restoring import INTO_ITSELF, TRIGGER, differing, two_generations

NEXT = date(2024, 3, 6)


@pytest.fixture(name="purged")
def purged_lab(lab: Lab) -> Lab:
    """A day of 100 rows that was archived and purged, and a copy of it in `before`."""
    lab.fill(rows=100)
    lab.execute("CREATE TABLE before AS SELECT * FROM audit_logs")
    archive(lab.task())
    purge(lab.task())
    return lab


def once(step: Step, action: Callable[[], object]) -> Callable[[Step], None]:
    """Do something the first time that a step is reached."""
    seen: list[Step] = []

    def reached(passed: Step) -> None:
        seen.append(passed)
        if passed is step and seen.count(step) == 1:
            action()

    return reached


SWAP = "ALTER TABLE audit_logs RENAME TO old; ALTER TABLE target RENAME TO audit_logs"


@pytest.mark.parametrize("change", [TRIGGER, SWAP, "ALTER TABLE audit_logs ALTER amount TYPE numeric(8,1)", "DROP TABLE audit_logs"])
def test_a_table_that_changes_meanwhile_takes_no_rows(purged: Lab, change: str) -> None:
    purged.execute("CREATE TABLE target (LIKE audit_logs INCLUDING ALL)")
    with pytest.raises(NotRestored):
        restore(purged.task(reached=once(Step.READ_BACK, lambda: purged.execute(change))), INTO_ITSELF)
    assert not [key for key in purged.objects() if "_holds" in key]
    if "DROP" not in change:
        assert purged.count() == 0


def test_restored_rows_are_held_under_another_time_zone_too(purged: Lab) -> None:
    table = purged.table(timezone="America/New_York")
    restore(purged.task(table=table), INTO_ITSELF)
    for day in ("2024-03-04", "2024-03-05"):
        archive(purged.task(day, table))
        purge(purged.task(day, table))
    assert differing(purged, "audit_logs") == 0


def test_rows_of_another_table_that_is_held_are_not_overwritten(lab: Lab) -> None:
    two_generations(lab)
    lab.execute("CREATE TABLE target (LIKE audit_logs INCLUDING ALL)")
    into = RestoreRequest(table_name="target", conflict=Conflict.overwrite)
    restore(lab.task(), into)
    lab.execute("UPDATE target SET action = 'action ' || (id - 1) WHERE id <= 5")
    place_hold(lab.store, PREFIX, Hold(id="case 1", reason="court", table_name="target"))
    with pytest.raises(NotRestored, match="legal holds case 1"):
        restore(lab.task(), into)
    assert lab.execute("SELECT count(*) FROM target WHERE action LIKE 'action %'") == [(10,)]


@pytest.mark.parametrize("column", ["amount numeric(8,1)", "created_at date", "actor text"])
def test_a_type_that_rounds_values_is_noticed(purged: Lab, column: str) -> None:
    purged.execute(f"CREATE TABLE target (id bigint PRIMARY KEY, {column})")
    with pytest.raises(NotRestored, match="byte for byte"):
        restore(purged.task(), RestoreRequest(table_name="target", drift=Drift.by_name))
    assert purged.count("target") == 0


@pytest.mark.parametrize(
    "column",
    [
        "amount numeric",
        "amount numeric(30,9)",
        "created_at timestamp",
        "action varchar(40)",
        "action char(40)",
        "address text",
        "tags text",
    ],
)
def test_a_type_that_keeps_values_is_filled(purged: Lab, column: str) -> None:
    purged.execute(f"CREATE TABLE target (id numeric PRIMARY KEY, {column})")
    into = RestoreRequest(table_name="target", drift=Drift.by_name)
    assert restore(purged.task(), into).tally.loaded == 100
    assert restore(purged.task(), into).tally.present == 100


LEAVES = """
CREATE TABLE fired (id bigint);
CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.fired VALUES (new.id); RETURN new; END $$;
CREATE TABLE parts (LIKE before, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE one PARTITION OF parts FOR VALUES FROM (1) TO (50);
CREATE TABLE other PARTITION OF parts DEFAULT;
CREATE TRIGGER on_insert AFTER INSERT ON parts FOR EACH ROW EXECUTE FUNCTION fire();
"""


@pytest.mark.parametrize(
    "switched", ["ALTER TABLE one DISABLE TRIGGER on_insert", "ALTER TABLE ONLY parts DISABLE TRIGGER on_insert", "SELECT 1"]
)
def test_triggers_of_leaves_are_on_their_own(purged: Lab, switched: str) -> None:
    purged.execute(LEAVES)
    purged.execute(switched)
    modes = "SELECT tgrelid::regclass::text, tgenabled FROM pg_trigger WHERE tgname = 'on_insert' ORDER BY 1"
    as_they_were = purged.execute(modes)
    with pytest.raises(NotRestored, match=r"fire triggers of \"public\".\"parts\": on_insert\n"):
        restore(purged.task(), RestoreRequest(table_name="parts"))
    restore(purged.task(), RestoreRequest(table_name="parts", triggers=Triggers.disable))
    assert (differing(purged, "parts"), purged.count("fired")) == (0, 0)
    assert purged.execute(modes) == as_they_were


def test_a_sequence_that_would_give_the_greatest_restored_number_goes_on_after_it(purged: Lab) -> None:
    purged.execute("ALTER SEQUENCE audit_logs_id_seq RESTART WITH 100")
    restore(purged.task(), INTO_ITSELF)
    purged.fill(rows=1)
    assert purged.execute("SELECT max(id) FROM audit_logs") == [(101,)]


def test_a_sequence_that_ends_before_the_restored_numbers_is_left_alone(purged: Lab) -> None:
    purged.execute("ALTER SEQUENCE audit_logs_id_seq MAXVALUE 50 RESTART WITH 1")
    assert restore(purged.task(), INTO_ITSELF).sequences == ()
    assert differing(purged, "audit_logs") == 0


def test_a_table_without_the_whole_key_is_refused(lab: Lab) -> None:
    two_generations(lab)
    lab.execute("CREATE TABLE target (LIKE after, PRIMARY KEY (id))")
    with pytest.raises(NotRestored, match="found no column _xmin"):
        restore(lab.task(), RestoreRequest(table_name="target", versions=Versions.all, drift=Drift.by_name))


def test_a_generation_without_the_newest_key_is_refused_by_name(lab: Lab) -> None:
    lab.fill(rows=5)
    archive(lab.task())
    lab.execute("ALTER TABLE audit_logs ADD other uuid DEFAULT gen_random_uuid() NOT NULL UNIQUE")
    archive(lab.task(table=lab.table(primary_key=("other",))))
    with pytest.raises(NotRestored, match=r"found other(?s:.*)generation 1 has: id"):
        restore(lab.task(), RestoreRequest(drift=Drift.by_name))


def test_days_from_before_and_after_a_column_became_not_null_go_into_one_table(lab: Lab) -> None:
    lab.fill(DAY, rows=2)
    archive(lab.task(DAY))
    lab.execute("UPDATE audit_logs SET details = NULL")
    archive(lab.task(DAY))
    purge(lab.task(DAY))
    lab.execute("ALTER TABLE audit_logs ALTER details SET NOT NULL")
    lab.fill(NEXT, rows=2)
    archive(lab.task(NEXT))
    restore(lab.task(NEXT), RestoreRequest())
    assert restore(lab.task(DAY), RestoreRequest()).tally.loaded == 2


@pytest.mark.parametrize("days", [-1, 3_000_000, 2**40])
def test_a_hold_that_cannot_be_is_refused_before_anything_is_restored(purged: Lab, days: int) -> None:
    with pytest.raises(ConfigError, match="hold_days"):
        restore(purged.task(), replace(INTO_ITSELF, hold_days=days))
